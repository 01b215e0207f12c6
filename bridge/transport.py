"""Carries requests over our own connections, guarded where a gate stands before them.

Two ways in: httpx2's own, and `exchange`, which spares the cost of httpx2's request and response objects (about as
much as the call itself, measured by tests/bench/agent.py). Both go through the same gate.
"""

import asyncio
import functools
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import httpx2

from bridge.dialling import Dials, Origin, Pool
from bridge.gate import Dial, Gate, denied
from bridge.http1 import CHUNK_BYTES, Connection, Content, Headers

_PORTS: Final = {"http": 80, "https": 443}
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_NEVER: Final = float("inf")

Seconds: TypeAlias = Mapping[str, float | None]
"""Limits in httpx2's form: `connect`, `pool`, `read` and `write`; None or absent is no limit."""


class ResponseTooLarge(httpx2.ReadError):
    """A guarded response went on past its cap. Its status was readable before."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose head has come. `chunks` can be read once; `aclose` is owed in any case, and may come twice."""

    status: int
    raw_headers: Headers
    chunks: AsyncIterator[bytes]
    aclose: Callable[[], Awaitable[None]]

    @property
    def headers(self) -> Mapping[str, str]:
        """Read with any spelling of a name. Made when it is asked for: an answer as expected is not."""
        return httpx2.Headers(self.raw_headers)


@dataclass(slots=True)  # frozen would triple the time it takes to make one, and every call does
class _Call:
    method: str
    origin: Origin
    head: bytes
    content: Content
    seconds: Seconds
    ends_at: float
    """On the loop's clock."""
    max_response_bytes: int | None
    dial: Dial | None

    def left(self, kind: str) -> float | None:
        """Seconds until this limit, or the end of the whole exchange, strikes."""
        if self.ends_at == _NEVER:
            return self.seconds.get(kind)
        return self._at_most(kind, self._whole())

    def to_connect(self) -> float | None:
        """A deadline that strikes while dialling would look like one that strikes after sending: half of it at most."""
        return self._at_most("connect", self._whole() / 2)

    def _whole(self) -> float:
        return max(self.ends_at - asyncio.get_running_loop().time(), 0.0)

    def _at_most(self, kind: str, left: float) -> float | None:
        limit = self.seconds.get(kind)
        soonest = left if limit is None else min(limit, left)
        return None if soonest == _NEVER else soonest


class Transport(httpx2.AsyncBaseTransport):
    """Requests in, answers out; at most `max_connections` at a time."""

    def __init__(self, *, gate: Gate | None, dial: Dials, max_connections: int) -> None:
        self._gate = gate
        self._dial = dial
        self._pool = Pool()
        self._slots = asyncio.Semaphore(max_connections)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        dial = self._gate.admit(request.url) if self._gate else None
        guard, asked = self._gate.guard if self._gate else None, request.extensions
        call = _Call(
            method=request.method,
            origin=_origin(request.url),
            head=_head(request.method, request.url.raw_path, request.headers.raw),
            content=_content(request),
            seconds=asked.get("timeout", {}),
            ends_at=_end(asked.get("deadline_seconds", guard.deadline_seconds if guard else None)),
            max_response_bytes=asked.get("max_response_bytes", guard.max_response_bytes if guard else None),
            dial=dial,
        )
        body = await self._answer(call)
        return httpx2.Response(
            status_code=body.connection.status,
            headers=self._shown(body.connection.headers),
            stream=body,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": body.connection.reason},
        )

    async def exchange(
        self, method: str, address: str, *, headers: Mapping[str, str], content: bytes | None, seconds: Seconds
    ) -> Answer:
        """One request as it is given, nothing added; the answer is neither read nor followed elsewhere."""
        guard = self._gate.guard if self._gate else None
        url, origin, host = _parsed(address)
        dial = self._gate.admit(url) if self._gate else None
        call = _Call(
            method,
            origin,
            _short_head(method, url, host, headers, content),
            _framed(content),
            seconds,
            _end(guard.deadline_seconds if guard else None),
            guard.max_response_bytes if guard else None,
            dial,
        )
        body = await self._answer(call)
        connection, chunks = body.connection, aiter(body)
        if not self._gate and b"content-encoding" in {name.lower() for name, _ in connection.headers}:
            chunks = httpx2.Response(200, headers=connection.headers, stream=body).aiter_bytes()
        return Answer(connection.status, connection.headers, chunks, body.aclose)

    async def aclose(self) -> None:
        await self._pool.close()

    async def _answer(self, call: _Call) -> "_Body":
        if self._slots.locked():
            await self._wait_for_slot(call.left("pool"))
        else:
            await self._slots.acquire()
        try:
            connection = await self._asked(call)
        except BaseException:
            self._slots.release()
            raise
        return _Body(connection, call, self._pool, self._slots)

    async def _wait_for_slot(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise httpx2.PoolTimeout("Every connection this client may open is in use.") from error

    async def _asked(self, call: _Call) -> Connection:
        """A connection that has the head of the answer."""
        if connection := self._pool.take(call.origin):
            try:
                return await _ask(connection, call)
            except (httpx2.ReadError, httpx2.RemoteProtocolError):
                # It was closed while it lay idle, most likely. RFC 9110 9.2.2 allows to repeat these.
                if call.method not in _REPEATABLE or not (call.content is None or isinstance(call.content, bytes)):
                    raise
        return await _ask(await self._dialled(call), call)

    async def _dialled(self, call: _Call) -> Connection:
        dial = call.dial
        factory = functools.partial(self._gate.open_socket, dial) if self._gate and dial else None
        try:
            connection = await self._dial(call.origin, call.to_connect(), factory)
        except httpx2.ConnectError as error:
            if dial and dial.refusal:
                raise denied(dial.refusal) from error
            raise
        self._pool.add(connection)
        return connection

    def _shown(self, headers: Headers) -> Headers:
        if not self._gate:
            return headers
        # Identity was asked for. What comes compressed all the same stays as it is: it could be a bomb.
        return [(name, value) for name, value in headers if name.lower() != b"content-encoding"]


class _Body(httpx2.AsyncByteStream):
    """The response's bytes as they come, and the slot of its connection."""

    def __init__(self, connection: Connection, call: _Call, pool: Pool, slots: asyncio.Semaphore) -> None:
        self.connection = connection
        self._call = call
        self._pool = pool
        self._slots: asyncio.Semaphore | None = slots

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received, cap = 0, self._call.max_response_bytes
        while chunk := await self.connection.chunk(self._call.left("read")):
            received += len(chunk)
            if cap is not None and received > cap:
                raise ResponseTooLarge(f"The response is larger than the {cap} bytes allowed here.")
            yield chunk

    async def aclose(self) -> None:
        if self._slots:
            self._slots.release()
            self._slots = None
            self._pool.give(self._call.origin, self.connection)


async def _ask(connection: Connection, call: _Call) -> Connection:
    try:
        await connection.ask(
            call.method, call.head, call.content, write_seconds=call.left("write"), read_seconds=call.left("read")
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _end(deadline_seconds: float | None) -> float:
    return _NEVER if deadline_seconds is None else asyncio.get_running_loop().time() + deadline_seconds


@functools.lru_cache(maxsize=256)
def _parsed(address: str) -> tuple[httpx2.URL, Origin, str]:
    """Once for the addresses that come again and again."""
    url = httpx2.URL(address)
    return url, _origin(url), url.netloc.decode("ascii")


def _origin(url: httpx2.URL) -> Origin:
    if url.scheme not in _PORTS or not url.raw_host:
        raise httpx2.UnsupportedProtocol(f"{url.scheme or 'no'} scheme, {url.host or 'no'} host")
    return Origin(url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])


def _head(method: str, path: bytes, headers: Headers) -> bytes:
    return _checked_head(method, path, b"".join([b"%b: %b\r\n" % pair for pair in headers]), len(headers))


def _short_head(method: str, url: httpx2.URL, host: str, headers: Mapping[str, str], content: bytes | None) -> bytes:
    lines = [f"Host: {host}\r\n", *[f"{name}: {value}\r\n" for name, value in headers.items()]]
    if content is not None or method in _WITH_BODY:
        lines.append(f"Content-Length: {len(content or b'')}\r\n")
    try:
        block = "".join(lines).encode("ascii")
    except UnicodeEncodeError as error:
        raise httpx2.LocalProtocolError("a header holds what is not ASCII") from error
    return _checked_head(method, url.raw_path, block, len(lines))


def _checked_head(method: str, path: bytes, block: bytes, headers: int) -> bytes:
    if block.count(b"\n") != headers or block.count(b"\r") != headers or b"\0" in block:
        raise httpx2.LocalProtocolError("a header holds a line break")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode("ascii"), path, block)


def _content(request: httpx2.Request) -> Content:
    try:
        return _framed(request.content)
    except httpx2.RequestNotRead:
        return aiter(request.stream)  # type: ignore[arg-type]  # httpx2 lets an async client take async streams only


def _framed(body: bytes | None) -> bytes | io.BytesIO | None:
    return io.BytesIO(body) if body and len(body) > CHUNK_BYTES else body or None
