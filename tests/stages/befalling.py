"""What may befall a whole node, whatever its conversations are about to do."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeAlias

from bridge.retention import Retention
from bridge.store.circuits import CHANGE, Change
from bridge.store.database import Store
from bridge.store.nodes import BEAT, LEAVE, RECLAIM, Beat
from bridge.store.retention import DAY, Ages
from bridge.store.writer import Tx, Write
from tests.conftest import FakeClock

Befalling: TypeAlias = Callable[[Store, FakeClock], Awaitable[None]]
NOTHING: Final = timedelta(0)


async def nothing(_store: Store, _clock: FakeClock) -> None:
    """It goes on."""


async def leave(store: Store, clock: FakeClock) -> None:
    """In good order; whoever comes next finds it all."""
    await store.write(LEAVE, clock.now())


async def be_replaced(store: Store, _clock: FakeClock) -> None:
    """By a node that dies before it does anything."""
    while await store.write(_BEAT_OF_ANOTHER, Beat(timedelta(seconds=5), 500, exclusive=True)):
        continue


async def come_back(store: Store, clock: FakeClock) -> None:
    """After a standstill: what it was doing is void, and begun anew."""
    await store.write(RECLAIM, clock.now())


async def lose_its_agent(store: Store, _clock: FakeClock) -> None:
    """For some minutes."""
    for _ in range(10):
        await store.write(CHANGE, Change(agent="local", what="failed", after=600))


def forget(ages: Ages) -> Befalling:
    """All that is over is of age."""

    async def do(store: Store, clock: FakeClock) -> None:
        await clock.advance(timedelta(seconds=1))
        await Retention(store, clock, ages, forget_bytes=_gone).once()

    return do


async def _gone(_digest: str) -> bool:
    return True


def _beat(tx: Tx, rows: Any) -> Any:
    return BEAT.run(replace(tx, node="nod_two"), rows)


_BEAT_OF_ANOTHER: Final[Write[Beat, Any]] = Write(_beat)
BEFALLING: Final[Mapping[str, Befalling]] = {
    "nothing": nothing,
    "leave": leave,
    "be replaced": be_replaced,
    "come back": come_back,
    "lose its agent": lose_its_agent,
    "forget words": forget(Ages(payloads=NOTHING, rows=NOTHING, dedupe=30 * DAY)),
    "forget rows": forget(Ages(payloads=NOTHING, rows=NOTHING, dedupe=NOTHING)),
}
