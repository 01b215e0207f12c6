"""An event stream as an answer: what is there goes out at once, silence is filled, nobody is waited for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

QUIET_SECONDS: Final = 15.0
"""Balancers cut a connection after 60 s without a byte."""
STILL_HERE: Final = b": still working\n\n"
"""A comment, which every reader of event streams skips."""

_STALLED_SECONDS: Final = 60.0
"""A consumer that takes nothing for so long is let go; the turn does not depend on it."""

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


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
        async with aclosing(source) as pieces:
            async for piece in pieces:
                if not piece:
                    continue
                async with asyncio.timeout(_STALLED_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


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
