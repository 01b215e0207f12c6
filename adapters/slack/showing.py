"""While the agent works: which view of it a conversation gets, and the status line that all can fall back to."""

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from adapters.slack.address import Address
from adapters.slack.alarms import Alarm
from adapters.slack.calls import Calls
from adapters.slack.minutes import SharedPerMinute
from adapters.slack.orphans import Orphans
from adapters.slack.settings import Settings
from adapters.slack.statuses import Phase, Statuses
from bridge.clock import Clock
from bridge.errors import SendError
from bridge.model import OutboundMessage

log = structlog.get_logger()

_REFRESH_SECONDS = 90.0
"""assistant.threads.setStatus expires after two minutes."""


@dataclass(frozen=True, slots=True)
class World:
    """What every view acts on."""

    calls: Calls
    settings: Settings
    clock: Clock
    minutes: SharedPerMinute
    orphans: Orphans
    statuses: Statuses
    alarm: Alarm
    """Rings once a turn takes longer than `progress_after` seconds."""

    def now(self) -> float:
        """Seconds of the epoch."""
        return self.clock.now().timestamp()


class StatusView:
    """Says that work goes on, once a turn takes longer than `progress_after` seconds. Nothing of it remains."""

    def __init__(self, world: World, address: Address, *, goes_on: bool = False) -> None:
        self._statuses = world.statuses
        self._address = address
        self._clock = world.clock
        self._alarm = world.alarm
        self._shown = goes_on
        """Or perhaps shown: of a turn that goes on, whoever began it may have done so."""
        self._showing: asyncio.Task[None] | None = None
        if address.root:
            self._alarm.set(self._begin)

    @property
    def remote_id(self) -> str | None:
        """A status has none."""
        return None

    async def show(self, kind: str, data: Any) -> None:
        """A status says the same of all of them."""

    async def close(self, final: OutboundMessage | None) -> str | None:  # noqa: ARG002 - never becomes the answer
        """Clear the status."""
        await self.settle()
        if self._shown and self._address.root:
            await self._set("active")
        return None

    async def settle(self) -> None:
        """Stop waiting and refreshing; what is shown stays."""
        self.leave()
        if self._showing is not None:
            await asyncio.wait((self._showing,))  # awaiting it itself would take our own cancellation for its
            self._showing = None

    def leave(self) -> None:
        """The same, without waiting for what is under way."""
        self._alarm.off(self._begin)
        if self._showing is not None:
            self._showing.cancel()

    def _begin(self) -> None:
        self._showing = asyncio.create_task(self._show())

    async def _show(self) -> None:
        while True:
            self._shown = True
            await self._set("processing")
            await self._clock.sleep(_REFRESH_SECONDS)

    async def _set(self, phase: Phase) -> None:
        try:
            await self._statuses.set(self._address, phase)
        except SendError as error:
            log.info("slack_status_not_shown", error=str(error))


class NoView:
    """Shows nothing."""

    remote_id: str | None = None

    async def show(self, kind: str, data: Any) -> None:
        """Nothing."""

    async def close(self, final: OutboundMessage | None) -> str | None:  # noqa: ARG002 - never becomes the answer
        """Nothing."""
        return None
