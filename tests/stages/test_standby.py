"""What waits for an agent that is away costs nothing, and goes on by itself when it is back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.model import Act, Lease
from bridge.routing import Route
from bridge.standby import unheard
from bridge.store import reader
from bridge.store.arrivals import Arrival
from bridge.store.circuits import CHANGE, Change
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.ledger import ledger, stuck
from bridge.store.nodes import RECLAIM, overlooked
from bridge.store.writer import Write
from tests.conftest import FakeClock
from tests.stages.platform import arrival
from tests.stages.test_turns import Room, refused, state, task

SECOND = timedelta(seconds=1)


def mute(store: Store, key: str, thread: str) -> Arrival:
    """Somebody says something, and gives no address for an answer."""
    said = arrival(store, key, thread=thread)
    assert said.messages
    return replace(said, messages=(replace(said.messages[0], return_address=""),))


class Deserted(Room):
    """A room whose agent has just gone away, as another node has found out; which looks around when it is told to."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        super().__init__(store, clock)
        self.clock = clock

    async def desert(self) -> None:
        self.answer = refused
        for _ in range(5):
            await self.store.write(CHANGE, Change(agent="local", what="failed", after=20))
        await self.turns.look()
        assert self.turns.is_away("local")

    async def say(self, key: str, thread: str) -> Lease:
        said = mute(self.store, key, thread)
        (lease,) = (await self.store.accept(INGEST, said)).wake
        self.turns.begin(lease, said)
        return lease

    async def pass_time(self, seconds: int) -> None:
        """Time goes by, second for second, and what goes on in a second ends in it."""
        for _ in range(seconds):
            await self.clock.advance(SECOND)
            await self.turns.look()
            async with asyncio.timeout(20):
                while len(self.turns.lanes):  # noqa: ASYNC110 - lanes tell nobody
                    await asyncio.sleep(0)


@pytest.fixture
async def room(store: Store, clock: FakeClock) -> AsyncIterator[Deserted]:
    room = Deserted(store, clock)
    await room.desert()
    yield room
    await room.turns.lanes.close()


async def test_what_nobody_can_be_told_of_is_stored_and_no_more(room: Deserted) -> None:
    written: list[Write[object, object]] = []
    room.store.observe(lambda write, *_: written.append(write))
    for number in range(20):
        await room.say(f"m{number}", f"t{number}")
    assert {id(write) for write in written} == {id(INGEST)}
    assert (len(room.turns.lanes), len(room.turns.standby)) == (0, 20)


async def test_all_are_answered_when_the_agent_is_back(room: Deserted) -> None:
    for number in range(20):
        await room.say(f"m{number}", f"t{number % 10}")
    room.answer = task
    await room.pass_time(35)
    books = await room.store.read(ledger)
    assert (books.in_flight, books.balanced) == (0, True)
    assert (len(room.asked), len(room.turns.standby)) == (20, 0)


async def test_one_of_those_who_wait_tries_for_all_and_comes_again_behind_them(room: Deserted) -> None:
    for number in range(20):
        await room.say(f"m{number}", f"t{number}")
    await room.pass_time(40)
    tries = [request.headers["idempotency-key"] for request in room.asked]
    assert 1 <= len(tries) == len(set(tries)) <= 6
    assert len(room.turns.standby) == 20


async def test_the_person_who_waits_is_told_once_and_then_stands_by(room: Deserted) -> None:
    said = arrival(room.store, "anna", thread="anna")
    (lease,) = (await room.store.accept(INGEST, said)).wake
    room.turns.begin(lease, said)
    await room.pass_time(60)
    assert [text.partition(" right")[0] for text in await room.deliver(lease)] == ["The agent cannot be reached"]
    room.answer = task
    await room.pass_time(40)
    assert (await room.deliver(lease))[1:] == ["done"]


async def test_who_has_waited_too_long_is_told_so_though_the_agent_is_still_away(room: Deserted) -> None:
    await room.say("m1", "t1")
    await room.clock.advance(timedelta(hours=24))
    await room.pass_time(2)
    assert await state(room) == ("dead", 1)
    assert len(room.turns.standby) == 0


async def test_who_says_something_again_waits_no_longer_for_that(room: Deserted) -> None:
    await room.say("m1", "t1")
    await room.clock.advance(timedelta(hours=23))
    await room.desert()  # somebody has tried just now
    await room.say("m2", "t1")
    await room.clock.advance(timedelta(hours=1))
    await room.desert()
    await room.pass_time(2)
    assert [view.state for view in await room.store.read(reader.message_list)] == ["queued", "dead"]
    assert len(room.turns.standby) == 1


async def test_another_node_takes_over_who_stood_by_and_the_first_one_lets_be(room: Deserted, clock: FakeClock) -> None:
    lease = await room.say("m1", "t1")
    other = Room(room.store, clock)
    await room.store.write(RECLAIM, room.store.now())
    await clock.advance(timedelta(seconds=31))
    await other.turns.step(replace(lease, epoch=lease.epoch + 1))
    assert await state(room) == ("answered", 1)
    room.answer = task
    await room.pass_time(2)
    assert (len(room.asked), len(room.turns.standby)) == (0, 0)
    await other.turns.lanes.close()


async def test_neither_overlooked_nor_stuck_is_what_waits_for_an_agent_that_is_away(
    room: Deserted, clock: FakeClock
) -> None:
    await room.say("m1", "t1")
    await clock.advance(timedelta(hours=2))
    now = room.store.now()
    assert await room.store.read(overlooked, room.store.node, now) == []
    assert await room.store.read(stuck, before=now - timedelta(hours=1)) == []


async def test_a_stop_ends_who_stands_by(room: Deserted) -> None:
    await room.say("m1", "t1")
    wish = mute(room.store, "stop", "t1")
    assert wish.messages
    wish = replace(wish, messages=(replace(wish.messages[0], act=Act.STOP),))
    for lease in (await room.store.accept(INGEST, wish)).wake:
        room.turns.begin(lease, wish)
    await room.pass_time(1)
    assert (await state(room))[0] == "cancelled"


def test_only_what_is_said_to_one_agent_without_an_address_is_unheard(store: Store) -> None:
    said = mute(store, "m1", "t1")
    assert said.messages
    (message,) = said.messages
    assert unheard(said, {}) == "local"
    assert unheard(replace(said, messages=(replace(message, agent="other"),)), {}) == "other"
    assert unheard(replace(said, messages=(message, replace(message, agent="other"))), {}) is None
    assert unheard(replace(said, messages=(replace(message, return_address="here"),)), {}) is None
    assert unheard(replace(said, messages=(replace(message, act=Act.STOP),)), {}) is None
    assert unheard(replace(said, messages=None), {}) is None
    assert unheard(said, {"team": Route(source="chat", return_address="there")}) is None
