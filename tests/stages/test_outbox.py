"""Deliveries: once, in order, within the platform's limits, and honest about what is not known."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.errors import Permanent, Retryable
from bridge.model import Act, DeliveryState, Lease, OutboundMessage, Turn, TurnState, new_id
from bridge.outbox import Outbox
from bridge.store import deliveries, reader, shown, turns
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from tests.conftest import FakeClock
from tests.stages.platform import Chat, Plain, arrival


async def answered(store: Store, key: str = "m1", *, thread: str = "thread", stands: str | None = None) -> Lease:
    """A turn whose answer is owed; `stands` is what a view of it has left on the platform."""
    (lease,) = (await store.accept(INGEST, arrival(store, key, thread=thread))).wake
    turn = await store.write(turns.TAKE, lease)
    assert isinstance(turn, Turn)
    if stands:
        view = message(store, turn, "progress", "")
        await store.write(shown.SHOWN, shown.Shown(turn, view, stands))
    end = turns.End(
        turn=turn, state=TurnState.ANSWERED, deliveries=(message(store, turn, "answer", f"answer to {key}"),)
    )
    await store.write(turns.END, end)
    return lease


def message(store: Store, turn: Turn, kind: Any, text: str) -> OutboundMessage:
    return OutboundMessage(
        delivery_id=new_id("dlv"),
        kind=kind,
        return_address="here",
        text=text,
        turn_id=turn.id,
        created_at=store.now(),
    )


def outbox(store: Store, clock: FakeClock, platform: Plain) -> Outbox:
    return Outbox(store, clock, adapters={"team": platform}, age=timedelta(hours=24))


async def states(store: Store) -> list[tuple[str, str]]:
    return [(one.kind, one.state) for one in reversed(await store.read(reader.delivery_list))]


async def test_a_delivery_is_sent_once_and_its_conversation_let_go(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    lease = await answered(store)
    assert await outbox(store, clock, platform).step(lease) is None
    assert [one.text for one in platform.sent] == ["answer to m1"]
    (conversation,) = await store.read(reader.conversation_list)
    assert not conversation.open


async def test_what_surely_did_not_arrive_is_sent_again_unmarked(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    platform.outcomes.append(Retryable("busy", after=7))
    lease = await answered(store)
    box = outbox(store, clock, platform)
    await box.step(lease)
    until = await box.step(lease)
    assert until == clock.now() + timedelta(seconds=7)
    await clock.advance(timedelta(seconds=7))
    await box.step(lease)
    assert [one.repeated for one in platform.sent] == [False, False]
    assert await states(store) == [("answer", "sent")]


async def test_where_a_platform_cannot_be_asked_the_copy_is_marked(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    platform.outcomes.append(Retryable("cut", after=5, ambiguous=True))
    lease = await answered(store)
    box = outbox(store, clock, platform)
    await box.step(lease)
    assert await states(store) == [("answer", "unknown")]
    await clock.advance(timedelta(seconds=5))
    await box.step(lease)
    assert [one.repeated for one in platform.sent] == [False, True]
    assert len({one.delivery_id for one in platform.sent}) == 1


async def test_what_is_found_on_the_platform_is_not_sent_again(store: Store, clock: FakeClock) -> None:
    platform = Chat(found="remote-7")
    platform.outcomes.append(Retryable("cut", after=5, ambiguous=True))
    lease = await answered(store)
    box = outbox(store, clock, platform)
    await box.step(lease)
    await clock.advance(timedelta(seconds=5))
    await box.step(lease)
    assert len(platform.sent) == 1
    (delivery,) = await store.read(reader.delivery_list)
    assert (delivery.state, delivery.remote_id) == ("sent", "remote-7")


async def test_one_caught_in_flight_is_looked_up_by_the_next_life(store: Store, clock: FakeClock) -> None:
    platform = Chat(found="remote-7")
    lease = await answered(store)
    begun = await store.write(deliveries.BEGIN, deliveries.Due(lease, lambda _, __: ()))
    assert isinstance(begun, deliveries.Delivery)  # and then the process dies
    await outbox(store, clock, platform).step(lease)
    assert platform.sent == []
    assert await states(store) == [("answer", "sent")]


async def test_a_refusal_for_good_is_dead_and_the_next_answer_goes_out(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    platform.outcomes.append(Permanent("channel is archived"))
    box = outbox(store, clock, platform)
    await answered(store, "m1")
    lease = await answered(store, "m2")
    await box.step(lease)
    await box.step(lease)
    assert await states(store) == [("answer", "dead"), ("answer", "sent")]


async def test_answers_keep_their_order_while_one_waits_a_little(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    platform.outcomes.append(Retryable("busy", after=30))
    box = outbox(store, clock, platform)
    await answered(store, "m1")
    lease = await answered(store, "m2")
    await box.step(lease)
    await box.step(lease)  # the second answer is due, but does not pass the first
    assert len(platform.sent) == 1
    await clock.advance(timedelta(seconds=30))
    await box.step(lease)
    await box.step(lease)
    assert [one.text for one in platform.sent[1:]] == ["answer to m1", "answer to m2"]


async def test_an_answer_that_comes_too_late_is_not_posted(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    lease = await answered(store)
    await clock.advance(timedelta(hours=25))
    await outbox(store, clock, platform).step(lease)
    assert platform.sent == []
    assert await states(store) == [("answer", "dead")]


async def test_a_budget_holds_for_every_conversation_under_its_key(store: Store, clock: FakeClock) -> None:
    platform = Chat(costs=(("team:post", 60.0, 2),))
    box = outbox(store, clock, platform)
    leases = [await answered(store, f"m{number}", thread=f"t{number}") for number in range(4)]
    waits = [await box.step(lease) for lease in leases]
    assert len(platform.sent) == 2
    assert waits[2] == clock.now() + timedelta(seconds=1)
    await clock.advance(timedelta(seconds=1))
    await box.step(leases[2])
    await box.step(leases[3])
    assert len(platform.sent) == 3


async def test_what_one_conversation_learns_from_a_refusal_holds_for_all(store: Store, clock: FakeClock) -> None:
    platform = Chat(costs=(("team:post", 600.0, 10),))
    platform.outcomes.append(Retryable("slow down", after=20))
    box = outbox(store, clock, platform)
    first, second = [await answered(store, f"m{number}", thread=f"t{number}") for number in range(2)]
    await box.step(first)
    assert await box.step(second) == clock.now() + timedelta(seconds=20)
    assert len(platform.sent) == 1


async def test_a_view_that_an_earlier_life_left_behind_becomes_the_answer(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    lease = await answered(store, stands="stream-1")
    await outbox(store, clock, platform).step(lease)
    assert platform.revised == [("stream-1", "answer to m1")]
    assert platform.sent == []
    assert await states(store) == [("progress", "withdrawn"), ("answer", "sent")]


async def test_a_withdrawn_answer_is_taken_back_once(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    box = outbox(store, clock, platform)
    await box.step(await answered(store))
    gone = arrival(store, "m1")
    assert gone.messages
    deleted = replace(gone, delivery_key="d2", messages=(replace(gone.messages[0], act=Act.DELETE),))
    (lease,) = (await store.accept(INGEST, deleted)).wake
    await box.step(lease)
    assert platform.withdrawn == ["remote-1"]
    assert await states(store) == [("answer", DeliveryState.WITHDRAWN.value)]


@pytest.mark.parametrize("attempts", [8])
async def test_tries_end_after_their_number(store: Store, clock: FakeClock, attempts: int) -> None:
    platform = Plain()
    platform.outcomes.extend(Retryable("busy") for _ in range(attempts))
    lease = await answered(store)
    box = outbox(store, clock, platform)
    for _ in range(attempts):
        await box.step(lease)
        await clock.advance(timedelta(minutes=6))
    assert len(platform.sent) == attempts
    assert await states(store) == [("answer", "dead")]
