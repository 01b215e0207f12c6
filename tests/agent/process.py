"""`agent-bridge agent` as a process of its own, for the tests that kill it and for those that run foreign clients."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import httpx2

_START_SECONDS: Final = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class AgentProcess:
    """`kill` is kill -9; `start` after it is a new process over the same database at the same address."""

    def __init__(self, database: Path, *, port: int | None = None) -> None:
        self._database = database
        self._listen = f"127.0.0.1:{port or free_port()}"
        self._process: asyncio.subprocess.Process | None = None
        self.address = f"http://{self._listen}"

    async def start(self) -> None:
        database = f"sqlite:///{self._database}"
        options = ["--listen", self._listen, "--api-key", "key-1", "--database", database]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "agent", *options, stdout=asyncio.subprocess.DEVNULL, env={**os.environ}
        )
        async with asyncio.timeout(_START_SECONDS):
            while not await self._answers():
                assert self._process.returncode is None, "the agent did not start"
                await asyncio.sleep(0.02)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None, "it was started"
        return self._process.pid

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            async with httpx2.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{self.address}/health")).status_code == 200
        except httpx2.TransportError:
            return False
