"""A reader of server-sent events that talks to the ASGI app itself: httpx2's transport gathers a whole answer first."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message

from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands between two empty lines."""

    id: int | None
    event: str
    data: Any
    comment: str = ""


@dataclass
class Stream:
    """One open response."""

    status: int
    headers: Mapping[str, str]
    chunks: asyncio.Queue[bytes | None]
    _rest: str = ""
    frames: list[Frame] = field(default_factory=list)
    """Everything read so far."""

    async def next(self) -> Frame | None:
        """The next frame, or None at the end."""
        while "\n\n" not in self._rest:
            async with asyncio.timeout(PATIENCE_SECONDS):
                chunk = await self.chunks.get()
            if chunk is None:
                return None
            self._rest += chunk.decode()
        text, _, self._rest = self._rest.partition("\n\n")
        self.frames.append(_frame(text.split("\n")))
        return self.frames[-1]

    async def until(self, event: str) -> Frame:
        """The next frame of this name. Heartbeats are no reason to wait for ever."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (frame := await self.next()) is not None:
                if frame.event == event:
                    return frame
        raise AssertionError(f"the stream ended without {event!r}: {self.frames}")

    async def all(self) -> list[Frame]:
        """Every frame with a name, once the stream is over."""
        while await self.next() is not None:
            pass
        return [frame for frame in self.frames if frame.event]


async def until_state(http: httpx2.AsyncClient, state: str) -> None:
    """Wait until the newest message is there and its turn in this state."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            listed = (await http.get("/v1/messages", headers=ADMIN)).json()["messages"]
            if listed and listed[0]["state"] == state:
                return
            await asyncio.sleep(0.01)


def text_of(frames: Iterable[Frame]) -> str:
    return "".join(frame.data["data"] for frame in frames if frame.event == "chunk")


def _frame(lines: Iterable[str]) -> Frame:
    fields = dict(line.split(": ", 1) for line in lines)
    data = json.loads(fields["data"]) if "data" in fields else None
    return Frame(
        id=int(fields["id"]) if "id" in fields else None,
        event=fields.get("event", ""),
        data=data,
        comment=fields.get("", ""),
    )


@asynccontextmanager
async def streaming(
    app: ASGIApp, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> AsyncIterator[Stream]:
    """Send a request and read its answer as it comes; leaving the block is a caller who hangs up."""
    started: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
    gone = asyncio.Event()
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.set_result(message)
            return
        if message.get("body"):
            chunks.put_nowait(message["body"])
        if not message.get("more_body"):
            chunks.put_nowait(None)

    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "server": ("bridge", 80),
        "client": ("127.0.0.1", 1),
    }
    serving = asyncio.ensure_future(app(scope, receive, send))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait((started, serving), return_when=asyncio.FIRST_COMPLETED)
        start = started.result()
        named = {name.decode(): value.decode() for name, value in start["headers"]}
        yield Stream(start["status"], named, chunks)
    finally:
        gone.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await serving
