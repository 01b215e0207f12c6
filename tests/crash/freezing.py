"""Starts the bridge in a process that freezes itself (SIGSTOP) the moment a write has committed, once.

The product knows nothing of it: here, in the child process alone, the writer is wrapped from outside.
"""

import os
import signal
import sys
from typing import Any

from bridge import cli
from bridge.store.writer import Write, Writer
from tests.crash.launcher import WRITES


def freeze_after(name: str) -> None:
    """Not one line of the process runs between the commit and the freeze."""
    target, write_through = WRITES[name], Writer.__call__
    left = [target]

    async def frozen(self: Writer, write: Write[Any, Any], args: Any) -> Any:
        outcome = await write_through(self, write, args)
        if write in left and outcome is not None:
            left.clear()
            os.kill(os.getpid(), signal.SIGSTOP)
        return outcome

    Writer.__call__ = frozen  # type: ignore[method-assign]  # the point of this file


if __name__ == "__main__":
    freeze_after(sys.argv.pop(1))
    cli.main()
