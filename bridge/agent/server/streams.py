"""An event stream as an answer: what is there goes out at once, silence is filled, nobody is waited for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final, Self

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

QUIET_SECONDS: Final = 15.0
"""Balancers cut a connection after 60 s without a byte."""
STILL_HERE: Final = b": still working\n\n"
"""A comment, which every reader of event streams skips."""

_STALLED_SECONDS: Final = 60.0
"""A consumer that takes nothing for so long, or twice as long, is let go; the turn does not depend on it."""

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Last(bytes):
    """The piece with which a stream ends: it goes out together with the end."""


class EventStream(Response):
    """Sends the lines of a source that ends by itself and fills its own silence.

    A consumer that leaves goes unnoticed until then, which costs next to nothing; watching for it
    would cost each stream a task.
    """

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        with suppress(TimeoutError, OSError):  # the consumer stalled or left
            await self._pump(send, self._source)

    async def _pump(self, send: Send, source: AsyncGenerator[bytes, None]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with aclosing(source) as pieces, asyncio.timeout(None) as limit:
            with _Watch(limit, send) as watch:
                async for piece in pieces:
                    if type(piece) is Last:
                        await watch.send(piece, more=False)
                        return
                    if piece:
                        await watch.send(piece, more=True)
                await watch.send(b"", more=False)


class _Watch:
    """Looks now and then whether a consumer still takes what it is sent: a timer for each piece cost as much as it."""

    def __init__(self, limit: asyncio.Timeout, send: Send) -> None:
        self._send = send
        self._sending: Message | None = None
        self._before: Message | None = None
        self._limit = limit
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(_STALLED_SECONDS, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    async def send(self, piece: bytes, *, more: bool) -> None:
        """Send a piece. The timeout ends this where it is not taken."""
        self._sending = {"type": "http.response.body", "body": piece, "more_body": more}
        await self._send(self._sending)
        self._sending = None

    def _look(self) -> None:
        if self._sending is not None and self._sending is self._before:
            self._limit.reschedule(self._loop.time())
            return
        self._before = self._sending
        self._timer = self._loop.call_later(_STALLED_SECONDS, self._look)


class EndlessStream(EventStream):
    """The same for a source without an end: its silence is filled, and it ends as soon as its consumer leaves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        pump = asyncio.create_task(self._pump(send, _with_signs_of_life(self._source)))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError, TimeoutError, OSError):
                await pump


async def _with_signs_of_life(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    following = asyncio.ensure_future(anext(source, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=QUIET_SECONDS)
            if not done:
                yield STILL_HERE
                continue
            lines = following.result()
            if lines is None:
                return
            yield lines
            following = asyncio.ensure_future(anext(source, None))
    finally:
        following.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
