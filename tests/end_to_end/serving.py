"""The bridge as a process of its own, and what can happen to one."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
SERVE = ("-m", "bridge", "serve")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until_listening(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait for a process that tells by nothing else that it is ready."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            return
    raise AssertionError(f"the process ended with {process.returncode}")


class Served:
    """A running `agent-bridge serve`, reached over its port."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.http = httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False)

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL by pid: no line of the process runs any more."""
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self.http.aclose()

    async def ledger(self) -> dict[str, Any]:
        books: dict[str, Any] = (await self.http.get("/v1/ledger", headers=ADMIN)).raise_for_status().json()
        return books

    async def settled(self, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The books once nothing is in flight any more."""
        return await self.books(lambda books: not books["in_flight"], seconds)

    async def books(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            while not wanted(books := await self.ledger()):  # noqa: ASYNC110 - another process's rows
                await asyncio.sleep(0.05)
        return books


@asynccontextmanager
async def serving(config: Path, port: int, *, command: Sequence[str] = SERVE) -> AsyncIterator[Served]:
    """Start it, wait until it is ready, and see to it that it is gone afterwards."""
    log = config.with_suffix(".log")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--config", str(config), cwd=ROOT, stdout=output, stderr=output
        )
    served = Served(process, f"http://127.0.0.1:{port}", log)
    try:
        await _until_ready(served)
        yield served
    finally:
        await served.kill()


async def _until_ready(served: Served) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if served.process.returncode is not None:
                raise AssertionError(f"the bridge did not start:\n{served.log.read_text()}")
            try:
                if (await served.http.get("/readyz")).is_success:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)


async def run_command(*arguments: str) -> tuple[int, Any]:
    """An `agent-bridge` command: its exit code, and its stdout as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return process.returncode or 0, json.loads(output or b"null")
