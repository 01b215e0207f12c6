"""An agent written for xpander-sdk, unchanged: the vendor's worker against our server.

python worker.py ADDRESS
"""

import os
import sys

os.environ.update({"XPANDER_BASE_URL": sys.argv[1], "XPANDER_API_KEY": "key-1", "XPANDER_ORGANIZATION_ID": "o1"})
os.environ["XPANDER_AGENT_ID"] = "demo"

from xpander_sdk import Task, on_task


@on_task  # type: ignore[untyped-decorator]
def answer(task: Task) -> Task:
    task.result = f"worker says: {task.input.text}"
    return task
