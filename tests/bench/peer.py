"""What a bridge talks with in the benchmarks, as a process of its own: an agent that answers at once, and a receiver.

REST v1 as far as a bridge needs it, written on bare sockets so that it takes little of the machine. A prompt that
begins with `hold` is begun and never ended; one that begins with `stream` is told a chunk every half second.

    python -m tests.bench.peer    prints its port
"""

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from tests.end_to_end.serving import ROOT

CHUNK_SECONDS: Final = 0.5
_numbers = itertools.count()


class Connection(asyncio.Protocol):
    """One request after the other, each whole before it is answered."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"\r\ncontent-length:")
            needed = int(length.split(b"\r\n", 1)[0] or b"0")
            if not found or len(rest) < needed:
                return
            self._buffer = rest[needed:]
            method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            self._answer(method, path, rest[:needed])

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if path == "/counts":
            self._json(dict(self._counts))
        elif path == "/answers":
            self._counts["answers"] += 1
            self._transport.write(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
        elif method == "GET":
            self._json({"id": path.rpartition("/")[2], "status": "executing", "input": {"text": "", "files": []}})
        else:
            self._invoke(path, json.loads(body))

    def _invoke(self, path: str, asked: dict[str, Any]) -> None:
        kind, prompt = path.partition("?")[0].rpartition("/")[2], asked["input"]["text"]
        task = {
            "id": asked.get("id") or f"task-{next(_numbers)}",
            "status": "completed",
            "input": asked["input"],
            "payload_extension": asked.get("payload_extension"),
            "result": "done",
        }
        held = prompt.startswith(("hold", "stream"))
        self._counts["held" if held else "asked"] += 1
        if kind == "stream":
            self._stream(task, held=held, chunks=prompt.startswith("stream"))
        else:
            self._json({**task, "status": "executing", "result": None} if held else task)

    def _stream(self, task: dict[str, Any], *, held: bool, chunks: bool) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        begun = _event("task_created", task, {**task, "status": "executing", "result": None})
        if held:
            self._transport.write(f"{head}connection: close\r\n\r\n".encode() + begun)
            if chunks:
                self._chunk(task)
            return
        content = begun + _event("task_finished", task, task)
        self._transport.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)

    def _chunk(self, task: dict[str, Any]) -> None:
        if not self._transport.is_closing():
            self._transport.write(_event("chunk", task, "some twenty characters "))
            asyncio.get_running_loop().call_later(CHUNK_SECONDS, self._chunk, task)

    def _json(self, document: object) -> None:
        content = json.dumps(document).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self._transport.write(head.encode() + content)


def _event(kind: str, task: dict[str, Any], data: object) -> bytes:
    return b"data: " + json.dumps({"type": kind, "task_id": task["id"], "data": data}).encode() + b"\n\n"


@dataclass(frozen=True, slots=True)
class Peer:
    """The running process."""

    pid: int
    url: str
    http: httpx2.AsyncClient

    async def count(self, what: str) -> int:
        """How many turns are `held`, were `asked` for, or how many `answers` came."""
        found: dict[str, int] = (await self.http.get("/counts")).raise_for_status().json()
        return found.get(what, 0)

    async def until(self, what: str, number: int, *, seconds: float) -> None:
        """Raises TimeoutError where it does not come to that many."""
        async with asyncio.timeout(seconds):
            while await self.count(what) < number:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.05)


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    """Start it, and see to it that it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.peer", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(await process.stdout.readline())}"
    try:
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            yield Peer(process.pid, url, http)
    finally:
        process.terminate()
        await process.wait()


async def main() -> None:
    """Serve until terminated."""
    counts = Counter[str]()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(counts), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
