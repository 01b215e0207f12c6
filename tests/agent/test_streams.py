"""A consumer that takes nothing is let go after a while; one that is only slow never is."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest

from bridge.agent.server.streams import EventStream, Last

MINUTE = timedelta(minutes=1).total_seconds()


class Consumer:
    """Takes what it is sent while it is `willing`."""

    def __init__(self) -> None:
        self.willing = asyncio.Event()
        self.offered = 0
        self.taken = b""
        self.ended = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.offered += 1
            await self.willing.wait()
            self.taken += message["body"]
            self.ended = not message["more_body"]


class Source:
    """Five pieces and the last one; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(5):
                yield b"%d" % number
            yield Last(b"!")
        finally:
            self.closed = True


async def _receive() -> Any:
    raise AssertionError("nobody asks for a body")


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def _pass(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop's clock goes forward."""
    loop = asyncio.get_running_loop()
    true = loop.time
    monkeypatch.setattr(loop, "time", lambda: true() + seconds)
    await _settle()


async def test_everything_is_sent_and_the_last_piece_ends_it() -> None:
    source, consumer = Source(), Consumer()
    consumer.willing.set()
    await EventStream(source.pieces())({}, _receive, consumer)
    assert (consumer.taken, consumer.offered, consumer.ended, source.closed) == (b"01234!", 6, True, True)


@pytest.mark.parametrize("taken", range(6))
async def test_who_takes_nothing_more_is_let_go(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    source, consumer = Source(), Consumer()
    sending = asyncio.create_task(EventStream(source.pieces())({}, _receive, consumer))
    for _ in range(taken):
        await _settle()
        consumer.willing.set()
        consumer.willing.clear()
    await _settle()
    await _pass(1.1 * MINUTE, monkeypatch)
    assert not sending.done()  # it is seen at its piece for the first time
    await _pass(1.1 * MINUTE, monkeypatch)
    await sending
    assert (source.closed, consumer.offered, consumer.ended) == (True, taken + 1, False)


async def test_who_is_slow_but_takes_a_piece_a_minute_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    source, consumer = Source(), Consumer()
    sending = asyncio.create_task(EventStream(source.pieces())({}, _receive, consumer))
    await _settle()
    for _ in range(6):
        await _pass(1.1 * MINUTE, monkeypatch)
        consumer.willing.set()
        consumer.willing.clear()
        await _settle()
    await sending
    assert (consumer.taken, consumer.ended) == (b"01234!", True)
