"""HTTP/1.1 (RFC 9112) from the client's side: one connection, one exchange after the other.

The grammar is llhttp's, through httptools, which the server stands on, too. Ours is what a bridge must know of every
failure: whether a byte of the request had left. Nothing is repeated here, followed or added.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, TypeAlias, cast

import httptools
import httpx2

CHUNK_BYTES: Final = 65_536
_FULL_BYTES: Final = 262_144
"""So much that nobody has read yet stops the reading from the socket."""
_MOST_HEAD_BYTES: Final = 262_144
"""The parser would take any number of headers."""
_INTERIM: Final = range(100, 200)

Headers: TypeAlias = list[tuple[bytes, bytes]]
Content: TypeAlias = bytes | io.BytesIO | AsyncIterator[bytes] | None


class Connection(asyncio.Protocol):
    """An open connection. `ask`, then `chunk` until it is empty, then the next; `close` may come at any time."""

    __slots__ = (
        "_chunks", "_ends_with_close", "_has_answered", "_head_bytes", "_held_up", "_keeps", "_loop", "_lost",
        "_method", "_mourner", "_parser", "_transport", "_waiter", "_waiting_bytes", "_whole", "headers", "idle_since",
        "is_gone", "reason", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._lost: Exception | None = None
        # Futures made when they are needed: an Event holds a deque, and there is a connection for each turn in flight.
        self._held_up: asyncio.Future[None] | None = None
        self._mourner: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        self.is_gone = False
        """The socket is closed and forgotten."""
        self._begin("GET")

    def _begin(self, method: str) -> None:
        self._method = method
        self.status, self.reason = 0, b""
        self._has_answered = False
        self.headers: Headers = []
        self._chunks: list[bytes] = []
        self._waiting_bytes = self._head_bytes = 0
        self._whole = False
        self._ends_with_close = False
        self._keeps = True

    @property
    def is_open(self) -> bool:
        """Whether another exchange may be tried here."""
        return self._lost is None and not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether the exchange is over and the peer keeps the connection for another."""
        return self._whole and self._keeps and not self._chunks and self.is_open

    def close(self) -> None:
        """At once; what is on its way is lost."""
        self._transport.abort()

    async def gone(self) -> None:
        """Returns when it is."""
        if not self.is_gone:
            self._mourner = self._mourner or self._loop.create_future()
            await self._mourner

    async def ask(
        self, method: str, head: bytes, content: Content, *, write_seconds: float | None, read_seconds: float | None
    ) -> None:
        """Send a request and wait for the head of its answer: `status`, `reason`, `headers`.

        Raises httpx2's TransportError; that something was sent must be assumed then.
        """
        self._begin(method)
        if content is None or isinstance(content, bytes):
            self._transport.write(head + content if content else head)
        else:
            self._transport.write(head)
            await self._send(content, write_seconds)
        while not self._has_answered:
            await self._wait(read_seconds)

    async def chunk(self, read_seconds: float | None) -> bytes:
        """The next bytes of the answer, empty at its end. Raises httpx2's TransportError."""
        while not self._chunks:
            if self._whole:
                return b""
            await self._wait(read_seconds)
        chunk = b"".join(self._chunks) if len(self._chunks) > 1 else self._chunks[0]
        self._chunks.clear()
        if self._waiting_bytes > _FULL_BYTES:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        return chunk

    async def _send(self, content: io.BytesIO | AsyncIterator[bytes], seconds: float | None) -> None:
        """In pieces, so that a large body leaves others their turn; an answer that comes before its end stands."""
        async with aclosing(_pieces(content)) as pieces:
            async for piece in pieces:
                if self._has_answered:
                    self._keeps = False  # the peer does not wait for the rest, and would take it for a request
                    return
                self._transport.write(piece)
                await self._drained(seconds)

    async def _drained(self, seconds: float | None) -> None:
        if self._held_up:
            try:
                async with asyncio.timeout(seconds):
                    await self._held_up
            except TimeoutError as error:
                raise httpx2.WriteTimeout("The request is not being read.") from error
        if self._lost:
            raise self._lost

    async def _wait(self, seconds: float | None) -> None:
        if self._lost:
            raise self._lost
        self._waiter = self._loop.create_future()
        # Cheaper than asyncio.timeout, and there are two of these to every call.
        timer = self._loop.call_later(seconds, self._silent) if seconds is not None else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer:
                timer.cancel()

    def _silent(self) -> None:
        self._wake(httpx2.ReadTimeout("Nothing came for as long as we would wait."))

    def _wake(self, error: Exception | None = None) -> None:
        if self._waiter and not self._waiter.done():
            if error:
                self._waiter.set_exception(error)
            else:
                self._waiter.set_result(None)

    # What the socket tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent

    def data_received(self, data: bytes) -> None:
        if self._whole:  # nobody asked for it: what follows could be taken for the answer to the next request
            self._lose(httpx2.RemoteProtocolError("The peer says more than its answer."))
            return
        if not self._has_answered:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._lose(httpx2.RemoteProtocolError("The head of the answer does not end."))
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keeps = False
            if not self._whole:
                lost = httpx2.RemoteProtocolError(f"The peer does not speak HTTP/1.1: {error!r}")
                lost.__cause__ = error
                self._lose(lost)

    def pause_writing(self) -> None:
        self._held_up = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._held_up and not self._held_up.done():
            self._held_up.set_result(None)
        self._held_up = None

    def connection_lost(self, error: Exception | None) -> None:
        if self.status and self._ends_with_close and not error and not self._lost:
            self._finish()
        if isinstance(error, OSError):
            lost: httpx2.TransportError = httpx2.ReadError(f"The connection broke: {error!r}")
            lost.__cause__ = error
        else:
            lost = httpx2.RemoteProtocolError("The peer closed the connection before its answer was whole.")
        self._lose(lost)
        self.is_gone = True
        if self._mourner and not self._mourner.done():
            self._mourner.set_result(None)

    def _lose(self, error: Exception) -> None:
        self._lost = self._lost or error
        self.resume_writing()
        self._wake(None if self._whole else self._lost)
        self._transport.abort()

    # What the parser tells.

    def on_message_begin(self) -> None:
        if self._whole:
            raise ValueError("a second answer")  # ends the parsing
        self.headers, self.reason = [], b""

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_answered:  # those that come later are trailers
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_answered = self.status not in _INTERIM
        if not self._has_answered:
            return
        self._ends_with_close = not any(
            name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in self.headers
        )
        if self._method == "HEAD":  # the parser waits for a body that cannot come
            self._keeps = False
            self._finish()
        self.resume_writing()
        self._wake()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes + len(body)
        if before <= _FULL_BYTES < self._waiting_bytes:
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self._has_answered:
            self._keeps = self._keeps and self._parser.should_keep_alive()
            self._finish()

    def _finish(self) -> None:
        self._whole = True
        self._wake()


async def _pieces(content: io.BytesIO | AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if isinstance(content, io.BytesIO):
        while piece := content.read(CHUNK_BYTES):
            yield piece
        return
    async for piece in content:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
