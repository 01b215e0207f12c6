"""The vendor's SDK against our server, on an ordinary port and on 9016, where its paths begin with an organization.

python -m tests.agent.sdk.run INTERPRETER_WITH_THE_SDK
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bridge import Backend
from bridge.agent.request import InvokeRequest
from tests.agent.process import AgentProcess, free_port

CHECKS = Path(__file__).with_name("checks.py")
WORKER = Path(__file__).with_name("worker.py")


async def run(interpreter: str, port: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        agent = AgentProcess(Path(folder) / "agent.db", port=port)
        await agent.start()
        try:
            checks = await asyncio.create_subprocess_exec(interpreter, str(CHECKS), agent.address)
            failures = await asyncio.wait_for(checks.wait(), 300)
            return failures + await host_a_worker(interpreter, agent.address)
        finally:
            await agent.terminate()


async def host_a_worker(interpreter: str, address: str) -> int:
    """An agent written for the SDK answers instead of the demo as soon as it is connected."""
    environment = {**os.environ, "XPANDER_STREAMING_PORT": str(free_port())}
    worker = await asyncio.create_subprocess_exec(interpreter, str(WORKER), address, env=environment)
    backend = Backend(base_url=address, api_key="key-1", agent_id="demo")
    try:
        for _ in range(60):
            task = await backend.invoke(InvokeRequest(prompt="hello"))
            async for _ in task.aevents():
                pass
            if task.result == "worker says: hello":
                print(f"ok      the SDK's worker answers at {address}")  # noqa: T201 - a report
                return 0
            await asyncio.sleep(1)
        print(f"FAILED  no worker at {address}")  # noqa: T201 - a report
        return 1
    finally:
        worker.terminate()
        await worker.wait()


async def main() -> int:
    return max([await run(sys.argv[1], port) for port in (free_port(), 9016)])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
