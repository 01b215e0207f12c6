"""uvicorn, told to stop by us: what runs around a server lets go in its own order. Slow senders are cut off."""

import asyncio
import gc
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bridge.errors import BridgeError

GRACE_SECONDS = 5
"""How long open requests may take to end. Calls to the agent are not waited for: they are resumed."""
ARRIVAL_SECONDS = 60.0
"""How long a request may take to arrive."""

LINGER_SECONDS: Final = 2.0
"""How long what still comes is dropped behind our last words: a reset in its face would take those away, too."""

MOST_HEAD_BYTES: Final = 65_536
"""As other servers have it; the parser would take, and keep, a head of any size from anybody."""


def _last_words(status: int, title: str, detail: str) -> bytes:
    told = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return (
        f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
        f"content-length: {len(told)}\r\n\r\n{told}"
    ).encode()


_TOO_SLOW: Final = _last_words(
    408, "Request Timeout", "The request did not arrive in time. Nothing of it is kept; send it again."
)
_NO_HTTP: Final = _last_words(400, "Bad Request", "This is no HTTP request that can be read. Nothing of it is kept.")
_TOO_LONG: Final = _last_words(431, "Request Header Fields Too Large", f"Headers take {MOST_HEAD_BYTES} bytes at most.")


def _nothing() -> None:
    pass


async def listen(
    asgi: ASGIApp,
    host: str,
    port: int,
    *,
    arrival_seconds: float = ARRIVAL_SECONDS,
    release: Callable[[], None] = _nothing,
) -> None:
    """Serve an app until SIGTERM or SIGINT. Its lifespan is not run: what it needs is open already.

    `release` lets go of open requests that wait for something. Raises BridgeError where the address cannot be had.
    """
    calm_the_collector()
    config = _Config(
        asgi,
        host=host,
        port=port,
        http=PromptProtocol,
        lifespan="off",
        ws="none",  # its answer to a broken handshake repeats what was sent
        log_config=None,
        access_log=False,  # a status URL carries a token
        server_header=False,
        proxy_headers=False,  # nobody asks for the caller's address, and reading it costs each request
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    config.arrival_seconds = arrival_seconds
    server = QuietServer(config, release)
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, server.stop)
    try:
        await server.serve()
    except SystemExit:  # how uvicorn says that it could not bind; it has logged why
        raise BridgeError(f"Cannot listen on {host}:{port}. Is another program there? Choose another port.") from None


def calm_the_collector() -> None:
    """What is there now stays, and a burst makes many objects that do not.

    Looking at all of them again and again made pauses of half a second (measured: p99 of an
    acknowledgement at 64 connections 850 ms before, 130 ms after).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class _Config(uvicorn.Config):
    arrival_seconds: float = ARRIVAL_SECONDS


class QuietServer(uvicorn.Server):
    """uvicorn's own handling would raise the signal again, before what runs around the server could let go."""

    def __init__(self, config: uvicorn.Config, release: Callable[[], None] = _nothing) -> None:
        super().__init__(config)
        self._release = release

    def stop(self) -> None:
        """Take no more connections, give open requests their grace, then return from `serve`."""
        self.should_exit = True
        self._release()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the server."""
        yield


class _Parser(httptools.HttpRequestParser):
    """Goes on where a request wishes for another protocol: the library stops there, and its body is never read."""

    def __init__(self, protocol: "PromptProtocol") -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._protocol.stay(bytes(data[upgrade.args[0] :]))


class PromptProtocol(HttpToolsProtocol):
    """A connection on which each request has to arrive in time, with a head of bounded size.

    uvicorn itself waits for ever for the next byte, and keeps as many as come. Wishes for another protocol are not
    heeded (RFC 9110, 7.8): Java's own client asks for HTTP/2 with each request.
    """

    config: _Config

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        """What came since a head was complete or a piece of a body was there: a head, or what may follow a body."""
        self._is_over = False
        """All is said; what still comes is dropped."""

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self._cut_off(_TOO_LONG)

    def stay(self, rest: bytes) -> None:
        """Take the request whose head has just come as if it had wished for nothing else; `rest` follows its head."""
        headers = [(name, value) for name, value in self.headers if name not in {b"connection", b"upgrade"}]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            headers.append((b"connection", b"close"))
        version = self.scope["http_version"].encode()
        lines = [b"%s %s HTTP/%s" % (self.scope["method"].encode(), self.url, version)]
        lines += [b"%s: %s" % header for header in headers]
        self.parser = _Parser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        self.parser.feed_data(rest)

    def _should_upgrade(self) -> bool:
        """Whether uvicorn shall leave the request alone: `stay` brings it again. A tunnel is wished for in vain."""
        return self.parser.get_method() != b"CONNECT"

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as uvicorn has it
        """As every other refusal; in the middle of an answer to an earlier request nothing is said."""
        self._cut_off(_NO_HTTP)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._expect()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._arrived()
        super().on_message_complete()

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(self.config.arrival_seconds, self._give_up)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """Nothing of what came so far is kept; the app, where it was asked already, hears of a disconnect."""
        self._deadline = None
        if self.flow.read_paused or (self._is_answering and not self.cycle.more_body):
            self._expect()  # it is we who are slow: a large body, or a request behind one that is still answered
            return
        self._cut_off(_TOO_SLOW)

    @property
    def _is_answering(self) -> bool:
        # None before the first request, whatever its annotation says.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _cut_off(self, last_words: bytes) -> None:
        if not self._is_answering or (self.cycle.more_body and not self.cycle.response_started):
            self.transport.write(last_words)
        self._is_over = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
