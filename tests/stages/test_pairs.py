"""Every two things that may happen to a conversation at the same moment, in both orders, the first also repeated.

As whoever does them captured it before: the stages keep a turn or a delivery while others commit, and a commit that
nobody heard of is tried again. Behind the first, something may befall the whole node. Whatever came of it, the books
balance at each step, all of it comes to an end, and nothing that was said is lost.
"""

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select

from bridge.errors import Replaced
from bridge.model import Lease
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.ledger import ledger
from bridge.store.nodes import BEAT, Beat
from bridge.store.tables import conversations, deliveries, messages, turns
from tests.conftest import FakeClock
from tests.stages.befalling import BEFALLING, come_back, nothing
from tests.stages.doings import ACTS, SITUATIONS, SOON, send, work
from tests.stages.platform import arrival
from tests.stages.scenes import Keeping, Scene
from tests.store.journeys import rows_of, take

EVERY: Final = {"nothing": 4}
"""Some thousands are played, spread over all; where WHOLE_PAIRS is set, all of them, which takes many minutes."""
SELDOM: Final = 49


@dataclass(frozen=True, slots=True)
class Play:
    """What came before, and the two that meet."""

    situation: str
    one: str
    other: str

    @property
    def name(self) -> str:
        return f"{self.situation}: {self.one}, {self.other}"

    async def begin(self, room: Keeping) -> Scene:
        (lease,) = (await room.store.accept(INGEST, arrival(room.store, self.name, self.name, thread=self.name))).wake
        scene = Scene(room, self.name, await take(room.store, lease))
        room.names[lease.conversation_id] = self.name  # which an erased one does not tell any more
        for doing in SITUATIONS[self.situation][0]:
            await doing(scene)
        assert scene.at_work, self.name
        return scene

    async def begin_anew(self, scene: Scene) -> Scene:
        """Another life takes up what there is to do; the wishes stay."""
        anew = replace(scene, at_work=False)
        with suppress(Replaced):  # nothing was left to do
            await (send if self.situation == "sending" else work)(anew)
        return anew

    async def do(self, what: str, scene: Scene) -> None:
        if what in ACTS or scene.at_work:
            await (SITUATIONS[self.situation][1] | ACTS)[what](scene)


def plays() -> Iterator[Play]:
    for situation, (_, lane) in SITUATIONS.items():
        for one, other in itertools.product(lane | ACTS, repeat=2):
            if one in ACTS or other in ACTS or one == other:  # a lane does one thing at a time
                yield Play(situation, one, other)


def chosen(befalls: str) -> Sequence[Play]:
    every = 1 if "WHOLE_PAIRS" in os.environ else EVERY.get(befalls, SELDOM)
    return [*plays()][[*BEFALLING].index(befalls) % every :: every]


@dataclass
class Theatre:
    """Where they are played side by side, and what must hold at each step."""

    room: Keeping
    epochs: dict[str, int] = field(default_factory=dict)

    async def play(self, played: Sequence[Play], befalls: str, clock: FakeClock) -> None:
        befalling = BEFALLING[befalls]
        scenes = await asyncio.gather(*(each.begin(self.room) for each in played))
        await self._step(each.do(each.one, scene) for each, scene in zip(played, scenes, strict=True))
        anew = scenes
        if befalling is not nothing:
            await befalling(self.room.store, clock)
            await self._look()
        if befalling is come_back:
            anew = await self._step(each.begin_anew(scene) for each, scene in zip(played, scenes, strict=True))
        await self._step(each.do(each.other, scene) for each, scene in zip(played, anew, strict=True))
        await self._step(each.do(each.one, scene) for each, scene in zip(played, scenes, strict=True))

    async def _step(self, doings: Iterator[Awaitable[Any]]) -> list[Any]:
        done = await asyncio.gather(*doings)
        await self._look()
        return done

    async def _look(self) -> None:
        store, names = self.room.store, self.room.names
        assert (await store.read(ledger)).balanced
        for row in await rows_of(store, conversations):
            assert row.epoch >= self.epochs.get(row.id, 0), names[row.id]
            self.epochs[row.id] = row.epoch
        assert [names[id_] for id_ in await store.read(closed_too_early)] == []


def closed_too_early(connection: Connection) -> Sequence[str]:
    """Conversations that no beat would find, although something is left to do."""
    live = [select(table.c.conversation_id).where(table.c.finished_at.is_(None)) for table in (turns, deliveries)]
    query = select(conversations.c.id).where(~conversations.c.open, conversations.c.id.in_(live[0].union(live[1])))
    return connection.execute(query).scalars().all()


async def come_to_an_end(room: Keeping, clock: FakeClock) -> None:
    """As the lanes and the beat do it, until long after every pause."""
    for wait in (timedelta(0), *[SOON] * 4, timedelta(days=8), SOON, timedelta(days=8), SOON):
        await clock.advance(wait)
        while await room.store.write(BEAT, Beat(timedelta(seconds=5), 500, exclusive=True)):
            continue
        await room.turns.look()
        leases = await room.store.read(owned, room.store.node)
        await asyncio.gather(
            *(exhaust(step, lease) for lease in leases for step in (room.turns.step, room.outbox.step))
        )


async def exhaust(step: Callable[[Lease], Awaitable[Any]], lease: Lease) -> None:
    with suppress(Replaced):
        for _ in range(10):
            if await step(lease) != timedelta(0):
                return
        raise AssertionError(f"{lease.conversation_id} comes to no end")


def owned(connection: Connection, node: str) -> list[Lease]:
    mine = select(conversations.c.id, conversations.c.epoch).where(conversations.c.owner == node)
    return [Lease(*row) for row in connection.execute(mine)]


@pytest.mark.parametrize("befalls", BEFALLING)
async def test_whatever_meets_comes_to_an_end_and_loses_nothing(store: Store, clock: FakeClock, befalls: str) -> None:
    room = Keeping(store, clock)
    await Theatre(room).play(chosen(befalls), befalls, clock)
    await come_to_an_end(room, clock)
    turn_rows = {row.id: row for row in await rows_of(store, turns)}
    for row in (*turn_rows.values(), *await rows_of(store, deliveries)):
        assert row.finished_at is not None, (room.names[row.conversation_id], row)
    for row in await rows_of(store, conversations):
        assert (row.open, row.owner) == (False, None), room.names[row.id]
    heard = room.heard()
    for row in await rows_of(store, messages):
        if not row.blanked and row.turn_id in turn_rows and turn_rows[row.turn_id].result is not None:
            assert row.text in heard, (room.names[row.conversation_id], row.text)
    sent = Counter(one.delivery_id for one in room.platform.sent if not one.repeated)
    assert [one for one, times in sent.items() if times > 1] == []
    assert (await store.read(ledger)).balanced
