"""Deliveries: once, in order, within the platform's limits, and honest about what is not known."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.answers import LAST
from bridge.errors import Permanent, Replaced, Retryable
from bridge.model import Act, DeliveryState, FileRef, Lease, OutboundMessage, Turn, TurnState, new_id
from bridge.outbox import ATTEMPTS, Outbox
from bridge.store import deliveries, halts, heads, reader, shown, tries, turns
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.ledger import ledger
from bridge.store.pulse import Pulse
from tests.conftest import FakeClock
from tests.stages.platform import Chat, Plain, arrival


async def answered(
    store: Store,
    key: str = "m1",
    *,
    thread: str = "thread",
    stands: str | None = None,
    files: tuple[FileRef, ...] = (),
) -> Lease:
    """A turn whose answer is owed; `stands` is what a view of it has left on the platform."""
    (lease,) = (await store.accept(INGEST, arrival(store, key, thread=thread))).wake
    turn = await store.write(heads.TAKE, lease)
    assert isinstance(turn, Turn)
    if stands:
        view = message(store, turn, "progress", "")
        await store.write(shown.SHOWN, shown.Shown(turn, view, stands))
    answer = replace(message(store, turn, "answer", f"answer to {key}"), files=files)
    end = turns.End(turn=turn, state=TurnState.ANSWERED, deliveries=(answer,))
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


@pytest.mark.parametrize("remote", [5, None, "nul \0", "half \ud83d", "x" * 5000])
async def test_an_id_of_another_form_is_no_reason_to_send_again(store: Store, clock: FakeClock, remote: Any) -> None:
    platform = Plain(outcomes=deque([remote]))
    lease = await answered(store)
    assert await outbox(store, clock, platform).step(lease) is None
    assert await states(store) == [("answer", "sent")]
    assert len(platform.sent) == 1


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


async def test_one_whose_fate_cannot_be_asked_now_is_asked_again_and_not_sent_blindly(
    store: Store, clock: FakeClock
) -> None:
    platform = Chat(found="remote-7")
    platform.outcomes.append(Retryable("cut", after=5, ambiguous=True))
    platform.unasked.append(Retryable("limited", after=5))
    lease = await answered(store)
    box = outbox(store, clock, platform)
    for _ in range(3):
        await box.step(lease)
        await clock.advance(timedelta(seconds=5))
    assert len(platform.sent) == 1
    assert await states(store) == [("answer", "sent")]


async def test_a_copy_stays_marked_after_a_try_that_surely_did_not_arrive(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    platform.outcomes += Retryable("cut", after=5, ambiguous=True), Retryable("busy", after=5)
    lease = await answered(store)
    box = outbox(store, clock, platform)
    for _ in range(3):
        await box.step(lease)
        await clock.advance(timedelta(seconds=5))
    assert [one.repeated for one in platform.sent] == [False, True, True]


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


async def test_a_view_cannot_become_an_answer_with_files_and_goes_before_it(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    lease = await answered(store, stands="stream-1", files=(FileRef(url="file:fil_1", name="report.csv"),))
    await outbox(store, clock, platform).step(lease)
    assert (platform.revised, platform.withdrawn) == ([], ["stream-1"])
    assert [one.files[0].name for one in platform.sent] == ["report.csv"]


async def seen(store: Store) -> Turn:
    """A turn that runs, with a view of it on the platform."""
    (lease,) = (await store.accept(INGEST, arrival(store, "m1"))).wake
    turn = await store.write(heads.TAKE, lease)
    assert isinstance(turn, Turn)
    await store.write(shown.SHOWN, shown.Shown(turn, message(store, turn, "progress", ""), "stream-1"))
    return turn


async def test_what_is_said_while_a_turn_runs_leaves_its_view_alone(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    turn = await seen(store)
    whisper = message(store, turn, "notice", "This was decided before.")
    await store.write(halts.TELL, halts.Notice(turn, whisper))
    box = outbox(store, clock, platform)
    await box.step(turn.lease)
    assert await states(store) == [("progress", "sending"), ("notice", "sent")]
    answer = message(store, turn, "answer", "done")
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, deliveries=(answer,)))
    await box.step(turn.lease)
    assert platform.revised == [("stream-1", "done")]
    assert [one.text for one in platform.sent] == [whisper.text]


async def test_a_view_that_an_earlier_life_left_behind_tells_that_its_turn_was_stopped(
    store: Store, clock: FakeClock
) -> None:
    platform = Chat()
    turn = await seen(store)
    stopped = replace(message(store, turn, "notice", "Stopped."), status="stopped", part=LAST)
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=(stopped,)))
    await outbox(store, clock, platform).step(turn.lease)
    assert (platform.revised, platform.sent) == ([("stream-1", "Stopped.")], [])
    assert await states(store) == [("progress", "withdrawn"), ("notice", "sent")]


async def test_a_view_goes_where_no_answer_comes_in_its_place(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    lease = await answered(store, stands="stream-1")
    await clock.advance(timedelta(hours=25))
    box = outbox(store, clock, platform)
    await box.step(lease)
    await box.step(lease)
    assert platform.withdrawn == ["stream-1"]
    assert await states(store) == [("progress", "withdrawn"), ("answer", "dead")]


async def test_a_view_goes_with_the_question_though_its_answer_was_not_sent_yet(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    await answered(store, stands="stream-1")
    box = outbox(store, clock, platform)
    await box.step(await taken_back(store))
    assert (platform.withdrawn, platform.sent) == (["stream-1"], [])
    assert await states(store) == [("progress", "withdrawn"), ("answer", "withdrawn")]
    (conversation,) = await store.read(reader.conversation_list)
    assert not conversation.open


async def test_what_a_view_has_perhaps_become_goes_with_the_question(store: Store, clock: FakeClock) -> None:
    """It was to become the answer when that was no longer wanted, and the platform's word for it was lost."""
    platform = Chat()
    turn = await seen(store)
    answer = message(store, turn, "answer", "done")
    end = turns.End(turn=turn, state=TurnState.ANSWERED, deliveries=(answer,), begun=True)
    await store.write(turns.END, end)
    lease = await taken_back(store)
    begun = deliveries.begin_new(turn, answer, store.now())
    await store.write(tries.END, tries.Outcome(delivery=begun, state=DeliveryState.PENDING))
    box = outbox(store, clock, platform)
    await box.step(lease)
    await box.step(lease)
    assert (platform.withdrawn, platform.sent) == (["stream-1"], [])
    assert await states(store) == [("progress", "withdrawn"), ("answer", "withdrawn")]


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


@pytest.mark.parametrize("platform", [Plain, Chat])
@pytest.mark.parametrize("error", [Retryable("busy"), LookupError("nobody foresaw it")])
async def test_tries_end_after_their_number(
    store: Store, clock: FakeClock, error: Exception, platform: type[Plain]
) -> None:
    there = platform()
    there.outcomes.extend([error] * (ATTEMPTS + 1))
    lease = await answered(store)
    box = outbox(store, clock, there)
    for _ in range(ATTEMPTS):
        await box.step(lease)
        await clock.advance(timedelta(minutes=6))
    assert len(there.sent) == ATTEMPTS
    assert await states(store) == [("answer", "dead")]


async def asking(store: Store) -> Lease:
    """A notice with buttons is owed."""
    (lease,) = (await store.accept(INGEST, arrival(store, "m1"))).wake
    turn = await store.write(heads.TAKE, lease)
    assert isinstance(turn, Turn)
    asks = replace(message(store, turn, "notice", "May I?"), metadata={"buttons": [{"label": "Yes", "choice": "yes"}]})
    decision = {
        "id": "dcs_1",
        "conversation_id": lease.conversation_id,
        "turn_id": turn.id,
        "delivery_id": asks.delivery_id,
        "kind": "approval",
        "choices": '["yes"]',
        "people": '["anna"]',
        "expires_at": store.now() + timedelta(days=7),
    }
    pause = '{"kind": "approval"}'
    until = store.now() + timedelta(seconds=30)
    await store.write(
        halts.WAIT,
        halts.Waiting(turn=turn, task_id="task", pause=pause, until=until, notice=(asks,), decision=decision),
    )
    return lease


async def press(store: Store) -> None:
    said = arrival(store, "press")
    (first,) = said.messages or ()
    pressed = replace(first, act=Act.DECIDE, metadata={"decision_id": "dcs_1", "choice": "yes"})
    assert (await store.accept(INGEST, replace(said, messages=(pressed,)))).deliver


async def test_what_asked_says_what_was_decided(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    lease = await asking(store)
    await outbox(store, clock, platform).step(lease)
    await clock.advance(timedelta(days=2))  # later than any answer may come
    await press(store)
    await outbox(store, clock, platform).step(lease)
    assert platform.revised == [("remote-1", "May I?\n\nYes, decided by anna.")]
    assert await states(store) == [("notice", "sent")]
    assert platform.sent[0].metadata["buttons"]


async def test_what_is_decided_while_the_question_is_on_its_way_is_changed_once_it_has_arrived(
    store: Store, clock: FakeClock
) -> None:
    platform = Chat()
    lease = await asking(store)
    under_way = await store.write(deliveries.BEGIN, deliveries.Due(lease, lambda _, __: ()))
    assert isinstance(under_way, deliveries.Delivery)
    await press(store)
    sent = tries.Outcome(delivery=under_way, state=DeliveryState.SENT, remote_id="remote-1")
    assert await store.write(tries.END, sent)
    await outbox(store, clock, platform).step(lease)
    assert platform.sent == []
    assert platform.revised == [("remote-1", "May I?\n\nYes, decided by anna.")]
    assert await states(store) == [("notice", "sent")]


async def test_what_was_cut_off_and_decided_meanwhile_is_looked_up_and_changed(store: Store, clock: FakeClock) -> None:
    platform = Chat(found="remote-1")
    platform.outcomes.append(Retryable("cut", ambiguous=True))
    lease = await asking(store)
    await outbox(store, clock, Plain(platform.outcomes)).step(lease)
    await press(store)
    await clock.advance(timedelta(seconds=10))
    await outbox(store, clock, platform).step(lease)
    assert (platform.sent, platform.revised) == ([], [("remote-1", "May I?\n\nYes, decided by anna.")])


async def test_what_was_decided_before_it_was_sent_goes_out_without_its_buttons(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    lease = await asking(store)
    await press(store)
    await outbox(store, clock, platform).step(lease)
    assert [(one.text, dict(one.metadata)) for one in platform.sent] == [("May I?\n\nYes, decided by anna.", {})]
    assert platform.revised == []


async def test_where_nothing_can_be_changed_it_stays_as_it_was(store: Store, clock: FakeClock) -> None:
    platform = Plain()
    lease = await asking(store)
    await outbox(store, clock, platform).step(lease)
    await press(store)
    await outbox(store, clock, platform).step(lease)
    assert len(platform.sent) == 1
    assert await states(store) == [("notice", "sent")]


async def taken_back(store: Store) -> Lease:
    gone = arrival(store, "m1")
    assert gone.messages
    deleted = replace(gone, delivery_key="d2", messages=(replace(gone.messages[0], act=Act.DELETE),))
    (lease,) = (await store.accept(INGEST, deleted)).wake
    return lease


async def test_an_old_answer_is_taken_back_too(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    box = outbox(store, clock, platform)
    await box.step(await answered(store))
    await clock.advance(timedelta(days=3))
    await box.step(await taken_back(store))
    assert platform.withdrawn == ["remote-1"]


@dataclass
class Keeping(Chat):
    """Lets nothing go."""

    async def withdraw(self, remote_id: str, message: OutboundMessage) -> None:  # noqa: ARG002 - whatever it is
        raise Permanent("it may not be deleted")


async def test_what_a_platform_will_not_let_go_stays_an_answer(store: Store, clock: FakeClock) -> None:
    box = outbox(store, clock, Keeping())
    await box.step(await answered(store))
    await box.step(await taken_back(store))
    assert await states(store) == [("answer", "sent")]
    assert (await store.read(ledger)).answered == 1


@pytest.mark.parametrize(("found", "withdrawn"), [("remote-7", ["remote-7"]), (None, [])])
async def test_what_may_have_got_through_is_looked_for_before_it_is_taken_back(
    store: Store, clock: FakeClock, found: str | None, withdrawn: list[str]
) -> None:
    platform = Chat(found=found)
    platform.outcomes.append(Retryable("cut", after=30, ambiguous=True))
    box = outbox(store, clock, platform)
    await box.step(await answered(store))
    await box.step(await taken_back(store))
    assert (platform.withdrawn, len(platform.sent)) == (withdrawn, 1)
    assert await states(store) == [("answer", "withdrawn")]


async def test_an_answer_that_still_waits_is_not_sent_after_its_question_is_gone(
    store: Store, clock: FakeClock
) -> None:
    platform = Chat()
    platform.outcomes.append(Retryable("busy", after=30))
    box = outbox(store, clock, platform)
    await box.step(await answered(store))
    lease = await taken_back(store)
    await clock.advance(timedelta(minutes=1))
    await box.step(lease)
    assert len(platform.sent) == 1
    assert await states(store) == [("answer", "withdrawn")]


@dataclass
class Slow(Chat):
    """A look at it takes longer than a lease."""

    clock: FakeClock = field(default_factory=FakeClock)

    async def find(self, message: OutboundMessage) -> str | None:
        await self.clock.advance(timedelta(seconds=6))
        return await super().find(message)


async def test_whoever_is_late_after_a_look_at_the_platform_sends_nothing(database_url: str, clock: FakeClock) -> None:
    pulse = Pulse(lambda: clock.now().timestamp())
    store = Store.open(database_url, clock, node="nod_one", pulse=pulse)
    platform = Slow(clock=clock)
    lease = await answered(store)
    begun = await store.write(deliveries.BEGIN, deliveries.Due(lease, lambda _, __: ()))
    assert isinstance(begun, deliveries.Delivery)  # caught in flight
    pulse.renewed(pulse.seconds(), timedelta(seconds=5))
    with pytest.raises(Replaced):
        await outbox(store, clock, platform).step(lease)
    assert platform.sent == []
    await store.close()


async def test_an_answer_on_its_way_is_taken_back_once_it_has_arrived(store: Store, clock: FakeClock) -> None:
    platform = Chat()
    lease = await answered(store)
    under_way = await store.write(deliveries.BEGIN, deliveries.Due(lease, lambda _, __: ()))
    assert isinstance(under_way, deliveries.Delivery)
    await taken_back(store)
    sent = tries.Outcome(delivery=under_way, state=DeliveryState.SENT, remote_id="remote-1")
    assert await store.write(tries.END, sent)
    await outbox(store, clock, platform).step(lease)
    assert platform.withdrawn == ["remote-1"]
    assert await states(store) == [("answer", "withdrawn")]


@pytest.mark.parametrize("platform", [Plain(), Chat()])
async def test_an_answer_that_was_refused_after_its_question_was_gone_is_nowhere(
    store: Store, clock: FakeClock, platform: Plain
) -> None:
    lease = await answered(store)
    under_way = await store.write(deliveries.BEGIN, deliveries.Due(lease, lambda _, __: ()))
    assert isinstance(under_way, deliveries.Delivery)
    await taken_back(store)
    refused = tries.Outcome(delivery=under_way, state=DeliveryState.PENDING, error="busy", until=clock.now())
    await store.write(tries.END, refused)
    await outbox(store, clock, platform).step(lease)
    assert platform.sent == []
    assert await states(store) == [("answer", "withdrawn")]
