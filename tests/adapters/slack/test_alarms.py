from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest

from adapters.slack.alarms import Alarm
from tests.conftest import FakeClock

SECOND = timedelta(seconds=1)


class SetBack(FakeClock):
    """A clock that somebody sets."""

    def set(self, by: timedelta) -> None:
        self._now += by


@pytest.fixture
def clock() -> SetBack:
    return SetBack()


@pytest.fixture
def alarm(clock: FakeClock) -> Iterator[Alarm]:
    alarm = Alarm(clock, 3)
    yield alarm
    alarm.close()


async def test_each_is_rung_for_in_its_own_time(alarm: Alarm, clock: FakeClock) -> None:
    rung: list[str] = []
    alarm.set(partial(rung.append, "one"))
    await clock.advance(SECOND)
    alarm.set(partial(rung.append, "other"))
    await clock.advance(1.9 * SECOND)
    assert rung == []
    await clock.advance(0.1 * SECOND)
    assert rung == ["one"]
    await clock.advance(SECOND)
    assert rung == ["one", "other"]


async def test_nothing_rings_that_was_taken_off(alarm: Alarm, clock: FakeClock) -> None:
    rung: list[str] = []
    gone, stays = partial(rung.append, "gone"), partial(rung.append, "stays")
    alarm.set(gone)
    alarm.set(stays)
    alarm.off(gone)
    alarm.off(gone)
    await clock.advance(4 * SECOND)
    assert rung == ["stays"]


async def test_it_rings_again_after_a_rest(alarm: Alarm, clock: FakeClock) -> None:
    rung: list[str] = []
    for word in ("one", "other"):
        alarm.set(partial(rung.append, word))
        await clock.advance(4 * SECOND)
    assert rung == ["one", "other"]


async def test_a_clock_set_back_makes_nobody_wait_for_it(alarm: Alarm, clock: SetBack) -> None:
    rung: list[str] = []
    alarm.set(partial(rung.append, "one"))
    clock.set(-3600 * SECOND)
    await clock.advance(3 * SECOND)
    assert rung == ["one"]


async def test_closed_it_rings_for_nobody(alarm: Alarm, clock: FakeClock) -> None:
    rung: list[str] = []
    alarm.set(partial(rung.append, "one"))
    alarm.close()
    await clock.advance(4 * SECOND)
    assert rung == []
