"""What more can be learnt of a message is asked where it was said."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from bridge.answers import UNAVAILABLE
from bridge.enriching import Enriching
from bridge.errors import Permanent, Retryable
from bridge.lanes import AGAIN
from bridge.model import Author, Candidate, InboundMessage, Said
from bridge.store.database import Store
from tests.conftest import FakeClock
from tests.stages.platform import Plain
from tests.stages.test_turns import Room, state
from tests.store.journeys import say, take


@dataclass
class Knowing(Plain):
    """Knows the people at one address, and cannot read another."""

    address: str = "here"

    async def enrich(self, message: InboundMessage) -> InboundMessage:
        if message.return_address != self.address:
            raise Permanent(f"not an address of this platform: {message.return_address}")
        return replace(message, context=f"known {self.address}")


@dataclass
class Asking(Plain):
    """Tells whom it hears only after as many failures."""

    failures: deque[Exception] = field(default_factory=deque)
    hears: bool = True

    async def admit(self, message: InboundMessage) -> InboundMessage:
        if self.failures:
            raise self.failures.popleft()
        return message if self.hears else replace(message, declined="guest")


@pytest.mark.parametrize("failure", [Retryable("away"), TimeoutError()], ids=["refused", "too late"])
@pytest.mark.parametrize("hears", [True, False])
async def test_what_may_not_be_for_the_agent_waits_unanswered_and_is_asked_about_again(
    store: Store,
    clock: FakeClock,
    failure: Exception,
    hears: bool,  # noqa: FBT001 - a table
) -> None:
    room = Room(store, clock, platform=Asking(failures=deque([failure]), hears=hears))
    lease = await room.hear("m1")
    assert await room.turns.step(lease) == AGAIN
    until = await room.turns.step(lease)
    assert isinstance(until, datetime)
    assert not room.asked
    await clock.advance(until - store.now())
    await room.turns.step(lease)
    assert (len(room.asked), (await state(room))[0]) == ((1, "answered") if hears else (0, "declined"))


async def test_what_can_never_be_told_ends_when_it_is_too_old_and_is_no_loss(store: Store, clock: FakeClock) -> None:
    platform = Asking(failures=deque([Retryable("away", after=60)] * 1000))
    room = Room(store, clock, platform=platform)
    lease = await room.hear("m1")
    await room.turns.step(lease)
    while (await state(room))[0] != "dead":
        await clock.advance(timedelta(minutes=5))
        lease = await room.again(lease)
        await room.turns.step(lease)
    assert not room.asked
    (told,) = await room.deliver(await room.again(lease))
    assert told.startswith(UNAVAILABLE.partition("(")[0])
    assert 280 <= 1000 - len(platform.failures) <= 290  # every five minutes of a day


async def test_what_will_not_be_told_of_one_message_keeps_nobody_behind_it_waiting(
    store: Store, clock: FakeClock
) -> None:
    room = Room(store, clock, platform=Asking(failures=deque([Permanent("nothing is told of this one")])))
    lease = await room.hear("m1")
    await room.hear("m2")
    await room.turns.step(lease)
    assert not room.asked
    await room.turns.step(lease)
    assert (len(room.asked), (await state(room))[0]) == (1, "answered")
    told, _ = await room.deliver(lease)
    assert told.startswith(UNAVAILABLE.partition("(")[0])


async def test_each_message_of_a_turn_is_completed_where_it_was_said(store: Store) -> None:
    turn = await take(store, (await say(store, "m1", source="orders")).wake[0])
    interrupting = InboundMessage(
        message_key="m2",
        conversation=(Candidate(value="thread", matched_by="thread"),),
        return_address="there",
        author=Author(id="grace"),
    )
    both = replace(turn, source="team", said=(*turn.said, Said("msg_2", interrupting, "team")))
    adapters = {"orders": Plain(), "team": Knowing(address="there"), "chat": Knowing(address="here")}
    complete = await Enriching(store, adapters).complete(both)
    assert [one.message.context for one in complete.said] == ["", "known there"]
    adapters["orders"] = Knowing(address="here")
    complete = await Enriching(store, adapters).complete(both)
    assert [one.message.context for one in complete.said] == ["known here", "known there"]
    adapters["orders"] = Knowing(address="elsewhere")  # who cannot tell more keeps nothing from being answered
    complete = await Enriching(store, adapters).complete(both)
    assert [one.message.context for one in complete.said] == ["", "known there"]
