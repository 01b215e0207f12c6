"""The end of a turn that begins its own delivery: when it does, and what others see of it meanwhile."""

import asyncio
from datetime import timedelta

import pytest

from bridge.handing import Handing
from bridge.model import Act, DeliveryState, Lease, OutboundMessage, Turn, TurnState
from bridge.store import deliveries, ingest, reader, tries, turns
from bridge.store.arrivals import Arrival
from bridge.store.budgets import FREEZE, Cost, Freeze
from bridge.store.database import Store
from bridge.store.deliveries import Delivery
from bridge.store.heads import NotYet
from bridge.store.tries import Outcome
from bridge.store.turns import Stopping
from tests.conftest import FakeClock
from tests.store.journeys import arriving, due, end, parts_of, say, take


def free(_source: str, _message: OutboundMessage) -> tuple[Cost, ...]:
    return ()


def one_a_minute(_source: str, _message: OutboundMessage) -> tuple[Cost, ...]:
    return (("team:here", 1.0, 1),)


def ended(store: Store, turn: Turn, *, parts: int = 1) -> turns.End:
    out = parts_of(store, turn, parts=parts)
    return turns.End(turn=turn, state=TurnState.ANSWERED, task_id="task-1", deliveries=out)


async def running(store: Store, key: str = "m1", conversation: str = "thread") -> Turn:
    stored = await say(store, key, conversation)
    return await take(store, stored.wake[0])


async def states(store: Store) -> list[tuple[str, int]]:
    found = await store.read(reader.delivery_list)
    return [(one.state, one.attempt) for one in sorted(found, key=lambda one: (one.created_at, one.part))]


async def sent(store: Store, delivery: Delivery) -> None:
    await store.write(tries.END, Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id="remote"))


async def test_the_first_part_begins_with_the_end_and_the_others_follow(store: Store) -> None:
    turn, handing = await running(store), Handing(store, free)
    assert await handing.over(ended(store, turn, parts=2)) is False
    assert await states(store) == [("sending", 1), ("pending", 0)]
    first = handing.take(turn.lease)
    assert first is not None
    assert (first.message.part, first.attempt, first.uncertain) == (0, 1, False)
    await sent(store, first)
    handing.let_go(first.id)
    second = await store.write(deliveries.BEGIN, handing.due(turn.lease))
    assert isinstance(second, Delivery)
    assert second.message.part == 1


async def test_nothing_overtakes_what_is_still_to_be_delivered(store: Store) -> None:
    turn = await running(store, "m1")
    await end(store, turn, TurnState.ANSWERED)
    (lease,) = (await say(store, "m2")).wake
    later, handing = await take(store, lease), Handing(store, free)
    await handing.over(ended(store, later))
    assert handing.take(lease) is None
    assert await states(store) == [("pending", 0), ("pending", 0)]


async def test_a_rate_limit_is_kept_and_nothing_is_spent_in_vain(store: Store, clock: FakeClock) -> None:
    one, other, handing = await running(store), await running(store, "m2", "elsewhere"), Handing(store, one_a_minute)
    await asyncio.gather(handing.over(ended(store, one)), handing.over(ended(store, other)))
    begun = [lease for lease in (one.lease, other.lease) if handing.take(lease)]
    assert len(begun) == 1
    (waiting,) = {one.lease, other.lease} - set(begun)
    found = await store.write(deliveries.BEGIN, handing.due(waiting))
    assert isinstance(found, NotYet)
    await clock.advance(timedelta(minutes=1))
    found = await store.write(deliveries.BEGIN, handing.due(waiting))
    assert isinstance(found, Delivery)


async def test_what_another_write_of_the_batch_spends_is_seen(store: Store) -> None:
    waiting, ending, handing = (
        await running(store),
        await running(store, "m2", "elsewhere"),
        Handing(store, one_a_minute),
    )
    await end(store, waiting, TurnState.ANSWERED)
    found, _ = await asyncio.gather(
        store.write(deliveries.BEGIN, handing.due(waiting.lease)), handing.over(ended(store, ending))
    )
    assert isinstance(found, Delivery)
    assert handing.take(ending.lease) is None


async def test_whoever_looks_before_it_is_taken_leaves_it_alone(store: Store) -> None:
    turn, handing = await running(store), Handing(store, free)
    await asyncio.gather(
        handing.over(ended(store, turn)), *(store.write(deliveries.BEGIN, handing.due(turn.lease)) for _ in range(3))
    )
    assert await store.write(deliveries.BEGIN, handing.due(turn.lease)) is None
    assert await states(store) == [("sending", 1)]
    assert handing.take(turn.lease) is not None
    (conversation,) = await store.read(reader.conversation_list)
    assert conversation.owner == store.node  # nobody let go of it


async def test_what_died_in_hand_is_uncertain_for_the_next_life(store: Store) -> None:
    turn = await running(store)
    await Handing(store, free).over(ended(store, turn))  # and then the process dies
    found = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(found, Delivery)
    assert found.uncertain


async def test_under_another_lease_it_is_not_in_hand_any_more(store: Store) -> None:
    turn, handing = await running(store), Handing(store, free)
    await handing.over(ended(store, turn))
    assert handing.take(Lease(turn.lease.conversation_id, turn.lease.epoch + 1)) is None
    found = await store.write(deliveries.BEGIN, handing.due(turn.lease))
    assert isinstance(found, Delivery)
    assert found.uncertain


async def test_a_turn_that_is_to_be_stopped_says_nothing(store: Store) -> None:
    turn, handing = await running(store), Handing(store, free)
    said = (await store.read(reader.message_list))[0]
    assert said.turn_id == turn.id
    await store.accept(ingest.INGEST, stop(store, turn))
    with pytest.raises(Stopping):
        await handing.over(ended(store, turn))
    assert handing.take(turn.lease) is None
    assert await states(store) == []


def stop(store: Store, turn: Turn) -> Arrival:
    said = turn.said[0].message
    message = type(said)(
        message_key="",
        conversation=said.conversation,
        return_address=said.return_address,
        author=said.author,
        text="",
        act=Act.STOP,
    )
    return arriving(store, message, key="stop")


async def test_of_two_rests_in_one_batch_the_longer_counts(store: Store, clock: FakeClock) -> None:
    turn, handing = await running(store), Handing(store, one_a_minute)
    now = clock.now()
    await asyncio.gather(
        *(store.write(FREEZE, Freeze(("team:here",), now + timedelta(seconds=seconds))) for seconds in (50, 5))
    )
    await handing.over(ended(store, turn))
    assert handing.take(turn.lease) is None
    assert await store.write(deliveries.BEGIN, handing.due(turn.lease)) == NotYet(now + timedelta(seconds=50))
