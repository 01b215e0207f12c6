"""What the agent's tests are made of: a clock that leaps, and an agent service that follows a script to the byte."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import uvicorn

from bridge.agent_rows import Begun, NewTurn, TaskTurn, TurnChange
from bridge.errors import StoreUnavailable
from bridge.store.embedded import EmbeddedRows


class LeapingClock:
    """Waiting takes no time: whoever sleeps finds the clock where he wanted it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=max(seconds, 0))
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Bytes for the wire. `cut` breaks the connection off behind them, `silent` leaves it hanging."""

    head: bytes
    pieces: tuple[bytes, ...] = ()
    cut: bool = False
    silent: bool = False


def answer(document: Any, status: int = 200, **headers: str) -> Answer:
    content = json.dumps(document).encode()
    return Answer(head=_head(status, len(content), "application/json", headers), pieces=(content,))


def text_answer(content: bytes, status: int = 200, media_type: str = "text/html") -> Answer:
    return Answer(head=_head(status, len(content), media_type, {}), pieces=(content,))


def stream(*events: Mapping[str, Any] | bytes, cut: bool = False) -> Answer:
    """An event stream in chunked encoding; a `cut` one ends without its last chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = [
        event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n" for event in events
    ]
    chunks = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    return Answer(head=head, pieces=(*chunks, *([] if cut else [b"0\r\n\r\n"])), cut=cut)


HANGS_UP = Answer(head=b"", cut=True)
"""Before any answer. aiohttp repeats a GET once by itself then."""
BREAKS_OFF = Answer(head=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", pieces=(b"{",), cut=True)


def _head(status: int, length: int, media_type: str, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Status",
        f"content-type: {media_type}",
        f"content-length: {length}",
        "connection: close",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class ScriptedService:
    """An HTTP server that gives its answers in turn, whatever it is asked, and notes the questions."""

    answers: Iterator[Answer] = field(default_factory=lambda: iter(()))
    calls: list[Call] = field(default_factory=list)
    url: str = ""

    def script(self, answers: Iterable[Answer]) -> None:
        self.answers = iter(answers)

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.calls.append(await _read(reader))
            reply = next(self.answers)
            for piece in (reply.head, *reply.pieces):
                writer.write(piece)
                await writer.drain()
            if reply.silent:
                await reader.read()
            if reply.cut:
                writer.transport.abort()
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Call:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(method=method, path=path, headers=headers, body=json.loads(body) if body else None)


def task(status: str = "pending", **more: Any) -> dict[str, Any]:
    """A record as the service shows it."""
    return {
        "id": "t1",
        "agent_id": "a1",
        "organization_id": "o1",
        "status": status,
        "input": {"text": "hello", "files": []},
        "created_at": "2026-11-22T09:00:00Z",
        "result": "the answer" if status == "completed" else None,
        **more,
    }


def event(kind: str, data: Any) -> dict[str, Any]:
    return {"type": kind, "task_id": "t1", "organization_id": "o1", "time": "2026-11-22T09:00:00Z", "data": data}


class HeldClock:
    """Stands still; whoever sleeps is woken by `release` once its time has come."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
        self.sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.time + timedelta(seconds=seconds), future))
        await future

    async def release(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        due = [sleeper for sleeper in self.sleepers if sleeper[0] <= self.time]
        self.sleepers = [sleeper for sleeper in self.sleepers if sleeper[0] > self.time]
        for _, future in due:
            if not future.done():
                future.set_result(None)
        await asyncio.sleep(0)

    async def until_someone_sleeps(self, seconds: float) -> None:
        for _ in range(5000):
            if any(at == self.time + timedelta(seconds=seconds) for at, _ in self.sleepers):
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"nobody sleeps for {seconds} s")


class FailingRows(EmbeddedRows):
    """The real rows, behind a database that can be taken away: so many writes fail."""

    failures = 0
    doubts = 0
    """So many turns are stored, but nobody learns of it."""

    async def begin(self, turn: NewTurn) -> Begun:
        self._fail()
        begun = await super().begin(turn)
        if self.doubts:
            self.doubts -= 1
            raise StoreUnavailable("no answer")
        return begun

    async def change(self, change: TurnChange) -> TaskTurn | None:
        self._fail()
        return await super().change(change)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("no database")


class Served:
    """An ASGI app behind a real socket, and a client for it."""

    def __init__(self, app: Any, http: httpx2.AsyncClient, rows: FailingRows) -> None:
        self.rows = rows
        self._http = http
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none", lifespan="on")
        self._server = uvicorn.Server(config)
        self._running: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        self._running = asyncio.create_task(self._server.serve())
        while not self._server.started:
            assert not self._running.done(), "the server did not start"
            await asyncio.sleep(0.001)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()  # instead of `should_exit`, which is looked at every 100 ms only
            await asyncio.gather(self._running, return_exceptions=True)
        for server in self._server.servers:
            server.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await self._server.lifespan.shutdown()

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._http.request(
            method, self.url + path, content=content, headers={"x-api-key": "key-1", **named}, timeout=10
        )

    async def settled(self, task_id: str) -> dict[str, Any]:
        """The task once it no longer runs."""
        for _ in range(2000):
            shown: dict[str, Any] = (await self.call("GET", f"/v1/tasks/{task_id}")).json()
            if shown.get("status", "pending") not in {"pending", "executing"}:
                return shown
            await asyncio.sleep(0.002)
        raise AssertionError(f"{task_id} still runs")

    async def invoke(self, text: str, **more: Any) -> dict[str, Any]:
        body = {"input": {"text": text, **more.pop("input", {})}, **more}
        response = await self.call("POST", "/v1/agents/demo/invoke", body)
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document
