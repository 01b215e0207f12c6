"""People may reply to what the bridge has said before it knows by which name that is known at the platform."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from bridge.model import Author, Candidate, DeliveryState, InboundMessage, TurnState
from bridge.store import deliveries, reader, tables, tries, turns
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.deliveries import Delivery
from bridge.store.ingest import INGEST, Ingested
from bridge.store.ledger import ledger
from bridge.store.nodes import NUDGED
from bridge.store.tries import Outcome
from tests.conftest import FakeClock, fresh_database
from tests.store.journeys import arriving, due, parts_of, rows_of, say, take

Addressed = Literal["ambient", "mention", "direct"]


async def sending(store: Store, key: str = "m1") -> Delivery:
    """What was asked at one source, and is being answered at another."""
    stored = await say(store, key, f"order {key}", source="orders")
    turn = replace(await take(store, stored.wake[0]), via="team")
    out = parts_of(store, turn)
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, task_id="task-1", deliveries=out))
    delivery = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(delivery, Delivery)
    return delivery


def reply(store: Store, key: str, to: str, *, busy: str = "collect", addressed: Addressed = "ambient") -> Arrival:
    message = InboundMessage(
        message_key=key,
        conversation=(Candidate(value=to, matched_by="thread"),),
        return_address="there",
        author=Author(id="grace"),
        addressed=addressed,
        text=key,
    )
    return arriving(store, message, key=key, agent="another", busy=busy)


def arrived(delivery: Delivery, remote_id: str) -> Outcome:
    return Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id=remote_id)


async def test_a_reply_to_what_has_no_name_yet_is_heard(store: Store) -> None:
    delivery = await sending(store)
    early: Ingested = await store.accept(INGEST, reply(store, "yes", "remote-1"))
    assert early.messages[0].admission == "declined:not_engaged"
    await store.accept(INGEST, reply(store, "elsewhere", "remote-2"))
    await store.write(tries.END, arrived(delivery, "remote-1"))
    assert await store.write(NUDGED, 10) == [delivery.lease]
    turn = await take(store, delivery.lease)
    assert [one.message.text for one in turn.said] == ["yes"]
    assert (turn.agent, turn.thread_id, turn.source) == ("local", "task-1", "team")
    found = {view.text: view.state for view in await store.read(reader.message_list)}
    assert found == {"hello": "answered", "yes": "running", "elsewhere": "declined"}
    assert (await store.read(ledger)).balanced


async def test_a_mention_that_was_too_early_does_not_keep_the_thread(store: Store) -> None:
    delivery = await sending(store)
    early = await store.accept(INGEST, reply(store, "early", "remote-1", addressed="mention"))
    assert early.messages[0].conversation_id != delivery.lease.conversation_id
    await store.write(tries.END, arrived(delivery, "remote-1"))
    late = await store.accept(INGEST, reply(store, "late", "remote-1"))
    assert late.messages[0].conversation_id == delivery.lease.conversation_id
    assert [one.message.text for one in (await take(store, early.wake[0])).said] == ["early"]


async def test_a_name_that_led_elsewhere_before_still_does(store: Store, clock: FakeClock) -> None:
    first = await store.accept(INGEST, reply(store, "first", "remote-1", addressed="mention"))
    await clock.advance(timedelta(seconds=1))
    delivery = await sending(store)
    await store.write(tries.END, arrived(delivery, "remote-1"))
    second = await store.accept(INGEST, reply(store, "second", "remote-1"))
    assert second.messages[0].conversation_id == first.messages[0].conversation_id


async def test_once_is_enough(store: Store) -> None:
    delivery = await sending(store)
    await store.accept(INGEST, reply(store, "yes", "remote-1"))
    for _ in range(2):  # the commit is made, and its answer lost
        await store.write(tries.END, arrived(delivery, "remote-1"))
    assert len(await rows_of(store, tables.turns)) == 2


class TestTwoNodes:
    @pytest.fixture
    def database_url(self, postgres: str) -> str:
        return fresh_database(postgres)

    async def test_a_reply_is_heard_that_comes_elsewhere_at_the_same_moment(self, store: Store, other: Store) -> None:
        for round_ in range(30):
            sent = [await sending(store, f"m{round_}-{number}") for number in range(3)]
            await asyncio.gather(
                *(store.write(tries.END, arrived(delivery, f"r {delivery.id}")) for delivery in sent),
                *(other.accept(INGEST, reply(other, f"to {one.id}", f"r {one.id}")) for one in sent),
            )
        states = [view.state for view in await store.read(reader.message_list, limit=1000)]
        assert states.count("queued") == states.count("answered") == 90

    @pytest.mark.parametrize("addressed", ["mention", "direct"])
    async def test_what_is_said_to_us_elsewhere_at_the_same_moment_does_not_keep_the_thread(
        self, store: Store, other: Store, addressed: Addressed
    ) -> None:
        for round_ in range(20):
            sent = [await sending(store, f"m{round_}-{number}") for number in range(3)]
            await asyncio.gather(
                *(store.write(tries.END, arrived(delivery, f"r {delivery.id}")) for delivery in sent),
                *(
                    other.accept(INGEST, reply(other, f"to {one.id}", f"r {one.id}", addressed=addressed))
                    for one in sent
                ),
            )
            for one in sent:
                late = await store.accept(INGEST, reply(store, f"late {one.id}", f"r {one.id}"))
                assert late.messages[0].conversation_id == one.lease.conversation_id
