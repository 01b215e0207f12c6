"""Carries requests over one aiohttp session, with every failure under its right name of httpx2's.

Two ways in: httpx2's own, and `exchange`, which spares the cost of httpx2's request and response objects (about as
much as the call itself, measured by tests/bench/agent.py). Both go through the same gate.
"""

import asyncio
import functools
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, TypeAlias

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from bridge.gate import Dial, Gate, denied, dialling

TRANSLATION: Final[tuple[tuple[type[Exception], type[httpx2.TransportError]], ...]] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),  # refused, no such name, TLS
    (aiohttp.ServerFingerprintMismatch, httpx2.ConnectError),
    (TimeoutError, httpx2.ReadTimeout),  # aiohttp's total too: `_timeout` sees to it that a dial ends before
    (aiohttp.ServerDisconnectedError, httpx2.RemoteProtocolError),  # closed after the request went out
    (aiohttp.ClientPayloadError, httpx2.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx2.RemoteProtocolError),  # not HTTP
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.ClientOSError, httpx2.ReadError),  # reset, in either direction
    (aiohttp.ClientConnectionError, httpx2.WriteError),  # the request's body could not be had or sent
    (aiohttp.ClientError, httpx2.ReadError),
    (ValueError, httpx2.LocalProtocolError),  # a line break or a byte that is not UTF-8 in a header
)
"""The first that fits, from the special to the general."""

_FOREIGN: Final = (aiohttp.ClientError, TimeoutError, ValueError)
_AUTO_HEADERS: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_CHUNK_BYTES: Final = 65_536
_UNLIMITED: Final[AbstractAsyncContextManager[None]] = nullcontext()

Seconds: TypeAlias = Mapping[str, float | None]
"""Limits in httpx2's form: `connect`, `pool`, `read` and `write`; None or absent is no limit."""


class ResponseTooLarge(httpx2.ReadError):
    """A guarded response went on past its cap. Its status was readable before."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose head has come. `chunks` can be read once; `aclose` is owed in any case, and may come twice."""

    status: int
    headers: Mapping[str, str]
    """Read with any spelling of a name."""
    chunks: AsyncIterator[bytes]
    aclose: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    url: httpx2.URL
    target: URL
    headers: Mapping[str, str]
    body: bytes | io.BytesIO | AsyncIterator[bytes] | None
    seconds: Seconds
    deadline_seconds: float | None
    max_response_bytes: int | None


class Transport(httpx2.AsyncBaseTransport):
    """One aiohttp session, opened at the first request."""

    def __init__(
        self, *, gate: Gate | None, resolver: AbstractResolver | None, socket_path: str | None, max_connections: int
    ) -> None:
        self._gate = gate
        self._resolver = resolver
        self._socket_path = socket_path
        self._session: aiohttp.ClientSession | None = None
        # Ours, because aiohttp's own limit cannot tell a full pool from a slow dial.
        self._slots = asyncio.Semaphore(max_connections)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response, body = await self._answer(self._call(request))
        return httpx2.Response(
            status_code=response.status,
            headers=self._headers_of(response),
            stream=body,
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (response.reason or "").encode("latin-1", "replace"),
            },
        )

    async def exchange(
        self, method: str, address: str, *, headers: Mapping[str, str], content: bytes | None, seconds: Seconds
    ) -> Answer:
        """One request as it is given, nothing added; the answer is neither read nor followed elsewhere."""
        guard = self._gate.guard if self._gate else None
        if not "".join(headers.values()).isascii():
            raise httpx2.LocalProtocolError("a header holds what is not ASCII")
        url, target = _parsed(address)
        call = _Call(
            *(method, url, target, headers, _framed(content), seconds),
            *((guard.deadline_seconds, guard.max_response_bytes) if guard else (None, None)),
        )
        response, body = await self._answer(call)
        chunks = aiter(body)
        if not self._gate and response.headers.get("content-encoding", "identity") != "identity":
            chunks = httpx2.Response(200, headers=list(response.raw_headers), stream=body).aiter_bytes()
        return Answer(response.status, response.headers, chunks, body.aclose)

    async def _answer(self, call: _Call) -> "tuple[aiohttp.ClientResponse, _Body]":
        session = self._session or self._open()
        dial = self._gate.admit(call.url) if self._gate else None
        await self._take_slot(call.seconds.get("pool"))
        try:
            response = await self._send(session, call, dial)
        except BaseException:
            self._slots.release()
            raise
        return response, _Body(response, self._slots, call.max_response_bytes)

    def _call(self, request: httpx2.Request) -> _Call:
        guard, asked = self._gate.guard if self._gate else None, request.extensions
        return _Call(
            method=request.method,
            url=request.url,
            target=_target(request.url),
            headers=_request_headers(request),
            body=_request_body(request),
            seconds=asked.get("timeout", {}),
            deadline_seconds=asked.get("deadline_seconds", guard.deadline_seconds if guard else None),
            max_response_bytes=asked.get("max_response_bytes", guard.max_response_bytes if guard else None),
        )

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # httpx2 does it
            skip_auto_headers=_AUTO_HEADERS,
            trust_env=False,
        )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        if self._socket_path:
            return aiohttp.UnixConnector(self._socket_path, limit=0)
        return aiohttp.TCPConnector(
            limit=0,
            resolver=self._resolver,
            ssl=httpx2.create_ssl_context(),  # the machine's trust store, or SSL_CERT_FILE
            socket_factory=self._gate.open_socket if self._gate else None,
            # Below the five seconds after which common servers close: whoever closes second never writes into the void.
            keepalive_timeout=4.0,
        )

    async def _take_slot(self, seconds: float | None) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise httpx2.PoolTimeout("Every connection this client may open is in use.") from error

    async def _send(self, session: aiohttp.ClientSession, call: _Call, dial: Dial | None) -> aiohttp.ClientResponse:
        if dial:
            dialling.set(dial)
        try:
            async with _write_limit(call):
                return await session.request(
                    call.method,
                    call.target,
                    data=call.body,
                    headers=call.headers,
                    allow_redirects=False,
                    timeout=_timeout(call.deadline_seconds, call.seconds.get("connect"), call.seconds.get("read")),
                )
        except _FOREIGN as error:
            if dial and dial.refusal:
                raise denied(dial.refusal) from error
            raise _translated(error) from error

    def _headers_of(self, response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
        if not self._gate:
            return list(response.raw_headers)
        # Identity was asked for. What comes compressed all the same stays as it is: it could be a bomb.
        return [(name, value) for name, value in response.raw_headers if name.lower() != b"content-encoding"]


class _Body(httpx2.AsyncByteStream):
    """The response's bytes as they come, and the slot of its connection."""

    def __init__(self, response: aiohttp.ClientResponse, slots: asyncio.Semaphore, cap: int | None) -> None:
        self._response = response
        self._slots: asyncio.Semaphore | None = slots
        self._cap = cap

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        try:
            while chunk := await self._response.content.readany():
                received += len(chunk)
                if self._cap is not None and received > self._cap:
                    raise ResponseTooLarge(f"The response is larger than the {self._cap} bytes allowed here.")
                yield chunk
        except _FOREIGN as error:
            raise _translated(error) from error

    async def aclose(self) -> None:
        if self._slots:
            self._slots.release()
            self._slots = None
            self._response.close()  # after the last byte the connection is back in the pool already


@functools.lru_cache(maxsize=256)
def _parsed(address: str) -> tuple[httpx2.URL, URL]:
    """Once for the addresses that come again and again."""
    url = httpx2.URL(address)
    if url.scheme not in {"http", "https"}:
        raise httpx2.UnsupportedProtocol(f"{url.scheme or 'no'} scheme")
    return url, _target(url)


def _target(url: httpx2.URL) -> URL:
    """Built from the parts, never parsed a second time: two parsers can see two hosts in one string."""
    path, _, query = url.raw_path.decode("ascii").partition("?")
    return URL.build(
        scheme=url.scheme, host=url.raw_host.decode("ascii"), port=url.port, path=path, query_string=query, encoded=True
    )


def _request_headers(request: httpx2.Request) -> CIMultiDict[str]:
    # aiohttp keeps a repeated header only if each is spelled as the first.
    spelling: dict[bytes, str] = {}
    headers = CIMultiDict(
        [(spelling.setdefault(name.lower(), name.decode()), value.decode()) for name, value in request.headers.raw]
    )
    headers.popall("Transfer-Encoding", None)  # aiohttp frames a streamed body by itself
    return headers


def _request_body(request: httpx2.Request) -> bytes | io.BytesIO | AsyncIterator[bytes] | None:
    try:
        body = request.content
    except httpx2.RequestNotRead:
        return aiter(request.stream)  # type: ignore[arg-type]  # httpx2 lets an async client take async streams only
    return _framed(body)


def _framed(body: bytes | None) -> bytes | io.BytesIO | None:
    # In pieces, a large body leaves others their turn at the loop.
    return io.BytesIO(body) if body and len(body) > _CHUNK_BYTES else body or None


@functools.lru_cache(maxsize=256)
def _timeout(total: float | None, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    if total is not None:
        # A deadline that strikes while dialling would look like one that strikes after sending.
        connect = min(total / 2, total if connect is None else connect)
    return aiohttp.ClientTimeout(total=total, connect=connect, sock_read=read)


def _write_limit(call: _Call) -> AbstractAsyncContextManager[object]:
    """For a peer that never reads: the read timeout starts only when the whole body is out."""
    connect, write, read = (call.seconds.get(name) for name in ("connect", "write", "read"))
    if not isinstance(call.body, io.BytesIO) or connect is None or write is None or read is None:
        return _UNLIMITED
    return asyncio.timeout(connect + read + write * (len(call.body.getbuffer()) // _CHUNK_BYTES))


def _translated(error: Exception) -> httpx2.TransportError:
    kind = next(ours for theirs, ours in TRANSLATION if isinstance(error, theirs))
    return kind(str(error) or type(error).__name__)
