"""The vendor's SDK against our server, on an ordinary port and on 9016, where its paths begin with an organization.

python -m tests.agent.sdk.run INTERPRETER_WITH_THE_SDK
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.agent.process import AgentProcess, free_port

CHECKS = Path(__file__).with_name("checks.py")


async def run(interpreter: str, port: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        agent = AgentProcess(Path(folder) / "agent.db", port=port)
        await agent.start()
        try:
            checks = await asyncio.create_subprocess_exec(interpreter, str(CHECKS), agent.address)
            return await asyncio.wait_for(checks.wait(), 300)
        finally:
            await agent.terminate()


async def main() -> int:
    return max([await run(sys.argv[1], port) for port in (free_port(), 9016)])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
