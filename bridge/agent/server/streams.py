"""An event stream as an answer: what is there goes out at once, silence is filled, nobody is waited for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_QUIET_SECONDS: Final = 15.0
"""Balancers cut a connection after 60 s without a byte."""
_STALLED_SECONDS: Final = 60.0
"""A consumer that takes nothing for so long is let go; the turn does not depend on it."""

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream(Response):
    """Sends the source's lines as they come; ends with it, or when the consumer is gone."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        super().__init__()
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        pump = asyncio.create_task(self._pump(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError, TimeoutError, OSError):  # the consumer left or stalled
                await pump

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with aclosing(_with_signs_of_life(self._source)) as pieces:
            async for piece in pieces:
                async with asyncio.timeout(_STALLED_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _with_signs_of_life(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The source's lines, and a comment whenever it is quiet."""
    following = asyncio.ensure_future(anext(source, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=_QUIET_SECONDS)
            if not done:
                yield b": still working\n\n"
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
