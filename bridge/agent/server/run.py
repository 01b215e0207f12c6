"""One turn at work, and those who follow it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

from bridge.agent.server.orders import Order
from bridge.agent.server.story import Place, Teller, Telling
from bridge.agent.server.streams import QUIET_SECONDS, STILL_HERE, Last
from bridge.agent_rows import TaskTurn
from bridge.model import Json

ABANDONED: Final = "abandoned"
"""No status of a task, but of work on it: this process ends, another one will go on."""


@dataclass(slots=True, eq=False)
class Run:
    """One turn at work. Subscribers read its events by position, so a slow one holds up nobody and stores nothing."""

    turn: TaskTurn
    order: Order
    files: list[Json] = field(default_factory=list)
    told: list[Telling] = field(default_factory=list)
    """What happened so far; it becomes bytes only where someone listens."""
    status: str = "pending"
    work: asyncio.Task[None] | None = None
    stopped: bool = False
    thinking: bool = True
    """The outcome is still open: once it is not, a stop comes too late."""
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Nothing will be added to the events."""
        return self.status not in {"pending", "executing"}

    def wake(self) -> None:
        """Let subscribers look again. Without any it costs nothing, and most turns have one or none."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            _come_back(one)

    async def follow(self, since: Place | None = None) -> AsyncGenerator[bytes, None]:
        """Everything from the start or from a place, as lines for the wire; ends when the turn is over or paused."""
        teller = Teller(self.turn, self.order, since)
        yield teller.beginning()
        position = 0
        while not self.over or position < len(self.told):
            news = self.told[position:]
            if news:
                position += len(news)
                yield teller.lines(news)
            elif not await self._news():
                yield STILL_HERE
        if self.status != ABANDONED:
            yield Last(teller.end(self.turn))

    async def _news(self) -> bool:
        """Wait for something to happen; False after a while without anything."""
        news, before = self._next(), len(self.told)
        timer = news.get_loop().call_later(QUIET_SECONDS, _come_back, news)
        try:
            await news
        finally:
            timer.cancel()
        return self.over or len(self.told) > before

    async def ended(self) -> TaskTurn:
        """Wait for the end of the turn."""
        while not self.over:
            await self._next()
        return self.turn

    def _next(self) -> asyncio.Future[None]:
        """Done as soon as something happens."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(news)
        return news


def _come_back(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():  # its reader has gone, or was let go already
        waiting.set_result(None)
