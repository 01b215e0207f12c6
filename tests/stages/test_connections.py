"""A connection of an adapter's own is begun again when it breaks, sooner or later."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta

import pytest

from bridge.adapter import Accept
from bridge.connections import RENEW, Connection
from bridge.errors import Retryable
from bridge.model import Envelope, Received
from bridge.store.database import Store
from tests.conftest import FakeClock


class Watched(FakeClock):
    """Notes for how long anybody wants to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await super().sleep(seconds)


@dataclass
class Breaking:
    """Breaks after so many seconds, each time."""

    clock: FakeClock
    lasts: float
    lives: int = 0

    async def run(self, accept: Accept) -> None:  # noqa: ARG002 - nothing comes
        await self.clock.sleep(self.lasts)
        self.lives += 1
        raise Retryable("the connection broke")


async def accept(received: Received, envelope: Envelope) -> None:
    raise NotImplementedError


@pytest.fixture
def clock() -> FakeClock:
    return Watched()


@pytest.mark.parametrize(("lasts", "ceiling"), [(150.0, 1.0), (0.0, 120.0)])
async def test_what_has_worked_for_long_is_begun_again_at_once_however_often_it_broke_before(
    store: Store, clock: Watched, lasts: float, ceiling: float
) -> None:
    adapter = Breaking(clock, lasts)
    running = asyncio.create_task(Connection(store, clock, accept, source="box", adapter=adapter).run())
    while adapter.lives < 15:
        await clock.advance(timedelta(seconds=30))
        await asyncio.sleep(0.002)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    pauses = [wait for wait in clock.waits if wait not in {lasts, RENEW.total_seconds()}]
    assert len(pauses) >= 14
    assert max(pauses) <= ceiling
    assert ceiling == 1.0 or max(pauses) > 1.0  # what breaks at once is left alone for longer and longer
