"""What people do besides saying something, and what they decide."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select

from bridge.errors import Replaced
from bridge.model import (
    Act,
    Author,
    Candidate,
    DeliveryState,
    InboundMessage,
    Lease,
    OutboundMessage,
    Turn,
    TurnState,
    new_id,
)
from bridge.store import deliveries, halts, heads, opinions, reader, tries, turns
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST, Ingested
from bridge.store.ledger import ledger
from bridge.store.shown import SHOWN, Shown
from bridge.store.tables import conversations, decisions, feedback
from bridge.store.tables import turns as turn_rows
from bridge.store.waiting import POSTPONE, Postponement


def said(key: str, text: str = "hello", *, act: Act = Act.SAY, author: str = "anna", **metadata: str) -> InboundMessage:
    return InboundMessage(
        message_key=key,
        conversation=(Candidate(value="thread", matched_by="thread"),),
        return_address="here",
        author=Author(id=author),
        text=text,
        act=act,
        metadata=metadata,
    )


_numbers = iter(range(1_000_000))


async def arrive(
    store: Store, message: InboundMessage, busy: str = "queue", *, behind: timedelta = timedelta(0)
) -> Ingested:
    """At a node whose clock is so far behind."""
    arrival = Arrival(
        source="team",
        delivery_key=f"d{next(_numbers)}",
        digest="d",
        sealed=b"",
        messages=(message,),
        received_at=store.now() - behind,
        agent="local",
        busy=busy,
    )
    return await store.accept(INGEST, arrival)


async def begin(store: Store, lease: Lease) -> Turn:
    head = await store.write(heads.TAKE, lease)
    assert isinstance(head, Turn)
    return head


async def answered(store: Store, turn: Turn) -> OutboundMessage:
    """The turn is answered and its answer delivered."""
    out = OutboundMessage(
        delivery_id=new_id("dlv"),
        kind="answer",
        return_address="here",
        text="hi",
        created_at=store.now(),
        turn_id=turn.id,
    )
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, task_id="task", deliveries=(out,)))
    delivery = await store.write(deliveries.BEGIN, deliveries.Due(turn.lease, lambda _, __: ()))
    assert isinstance(delivery, deliveries.Delivery)
    await store.write(tries.END, tries.Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id="ts-1"))
    return out


async def states(store: Store) -> list[str]:
    return [view.state for view in reversed(await store.read(reader.message_list))]


async def test_an_edit_before_the_turn_starts_changes_what_is_asked(store: Store) -> None:
    first = await arrive(store, said("m1", "helo"))
    await arrive(store, said("m1", "hello", act=Act.EDIT))
    turn = await begin(store, first.wake[0])
    assert [one.message.text for one in turn.said] == ["hello"]
    assert (await store.read(ledger)).accepted == 1


async def test_an_edit_that_changes_nothing_is_nothing(store: Store) -> None:
    first = await arrive(store, said("m1"))
    await answered(store, await begin(store, first.wake[0]))
    await arrive(store, said("m1", act=Act.EDIT))
    assert await states(store) == ["answered"]


async def test_an_edit_after_the_answer_is_a_turn_of_its_own_that_the_books_do_not_count(store: Store) -> None:
    first = await arrive(store, said("m1"))
    await answered(store, await begin(store, first.wake[0]))
    again = await arrive(store, said("m1", "other", act=Act.EDIT))
    turn = await begin(store, again.wake[0])
    assert turn.said[0].message.text.endswith("other")
    counts = await store.read(ledger)
    assert (counts.accepted, counts.balanced) == (1, True)


async def test_an_edit_while_it_runs_begins_anew_where_interrupting_is_the_policy(store: Store) -> None:
    first = await arrive(store, said("m1"), busy="interrupt")
    turn = await begin(store, first.wake[0])
    edited = await arrive(store, said("m1", "other", act=Act.EDIT), busy="interrupt")
    assert edited.stop == (turn.lease.conversation_id,)
    with pytest.raises(turns.Stopping):
        await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED))
    assert await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    anew = await begin(store, turn.lease)
    assert anew.id == turn.id
    assert anew.idempotency_key != turn.idempotency_key
    assert [one.message.text for one in anew.said] == ["other"]


async def test_a_message_that_interrupts_begins_the_turn_anew_with_both(store: Store) -> None:
    first = await arrive(store, said("m1", "one"), busy="interrupt")
    turn = await begin(store, first.wake[0])
    await arrive(store, said("m2", "two"), busy="interrupt")
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    anew = await begin(store, turn.lease)
    assert [one.message.text for one in anew.said] == ["one", "two"]


async def test_a_message_deleted_before_its_turn_is_cancelled(store: Store) -> None:
    await arrive(store, said("m1"))
    await arrive(store, said("m2"))
    await arrive(store, said("m2", act=Act.DELETE))
    assert await states(store) == ["queued", "cancelled"]


@pytest.mark.parametrize("act", [Act.DELETE, Act.STOP])
async def test_what_an_earlier_life_has_shown_of_a_turn_that_never_begins_is_taken_away(store: Store, act: Act) -> None:
    """It died behind the first thing it showed, and the agent is away when the next one takes the turn up."""
    turn = await begin(store, (await arrive(store, said("m1"))).wake[0])
    view = OutboundMessage(
        delivery_id="dlv_1", kind="progress", return_address="here", text="", turn_id=turn.id, created_at=store.now()
    )
    await store.write(SHOWN, Shown(turn, view, "remote"))
    await store.write(POSTPONE, Postponement(turn=turn, until=store.now(), error="away", spent=0, away=True))
    await arrive(store, said("m2"))
    await arrive(store, said("m1" if act is Act.DELETE else "stop", act=act))
    taken_away = await store.write(deliveries.BEGIN, deliveries.Due(turn.lease, lambda _, __: ()))
    assert isinstance(taken_away, deliveries.Delivery)
    assert (taken_away.id, taken_away.withdrawing) == ("dlv_1", True)


async def test_one_of_several_collected_messages_can_be_deleted(store: Store) -> None:
    first = await arrive(store, said("m1"), busy="collect")
    await arrive(store, said("m2"), busy="collect")
    await arrive(store, said("m1", act=Act.DELETE), busy="collect")
    turn = await begin(store, first.wake[0])
    assert [one.message.message_key for one in turn.said] == ["m2"]
    counts = await store.read(ledger)
    assert (counts.accepted, counts.cancelled, counts.in_flight, counts.balanced) == (2, 1, 1, True)


async def test_the_answer_to_a_deleted_message_is_taken_back(store: Store) -> None:
    first = await arrive(store, said("m1"))
    await answered(store, await begin(store, first.wake[0]))
    deleted = await arrive(store, said("m1", act=Act.DELETE))
    delivery = await store.write(deliveries.BEGIN, deliveries.Due(deleted.wake[0], lambda _, __: ()))
    assert isinstance(delivery, deliveries.Delivery)
    assert (delivery.withdrawing, delivery.remote_id) == (True, "ts-1")


async def test_stop_cancels_what_waits_and_marks_what_runs(store: Store) -> None:
    first = await arrive(store, said("m1"))
    turn = await begin(store, first.wake[0])
    await arrive(store, said("m2"))
    stopped = await arrive(store, said("", act=Act.STOP))
    assert stopped.stop == (turn.lease.conversation_id,)
    assert await states(store) == ["running", "cancelled"]
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    assert await states(store) == ["cancelled", "cancelled"]


async def test_a_muted_conversation_hears_only_what_is_said_to_it(store: Store) -> None:
    await arrive(store, said("m1"))
    await arrive(store, said("", act=Act.MUTE))
    quiet = await arrive(store, replace(said("m2"), addressed="ambient"))
    await arrive(store, said("", act=Act.UNMUTE))
    heard = await arrive(store, replace(said("m3"), addressed="ambient"))
    assert [one.messages[0].admission for one in (quiet, heard)] == ["declined:muted", "admitted"]


async def test_beginning_anew_forgets_the_task(store: Store) -> None:
    first = await arrive(store, said("m1"))
    await answered(store, await begin(store, first.wake[0]))
    await arrive(store, said("", act=Act.RESET))
    again = await arrive(store, said("m2"))
    assert (await begin(store, again.wake[0])).thread_id is None


async def paused(store: Store, turn: Turn, kind: str) -> str:
    """The turn waits for a person to choose; answers the decision's id."""
    decision_id = new_id("dcs")
    decision: Mapping[str, Any] = {
        "id": decision_id,
        "conversation_id": turn.lease.conversation_id,
        "turn_id": turn.id,
        "kind": kind,
        "choices": json.dumps(["approve", "deny"]),
        "people": json.dumps(["anna"]),
        "expires_at": store.now() + timedelta(days=7),
    }
    pause = json.dumps({"kind": kind})
    until = store.now() + timedelta(hours=1)
    waiting = halts.Waiting(turn=turn, task_id="task", pause=pause, until=until, decision=decision)
    await store.write(halts.WAIT, waiting)
    return decision_id


def made(connection: Connection, decision_id: str) -> tuple[str | None, str | None]:
    row = connection.execute(select(decisions).where(decisions.c.id == decision_id)).one()
    return row.choice, row.decided_by


async def test_an_approval_is_made_once_by_someone_it_is_bound_to(store: Store) -> None:
    first = await arrive(store, said("m1"))
    turn = await begin(store, first.wake[0])
    decision = await paused(store, turn, "approval")
    for author, choice in (("eve", "approve"), ("anna", "burn"), ("anna", "deny"), ("anna", "approve")):
        press = said("b", act=Act.DECIDE, author=author, decision_id=decision, choice=choice)
        pressed = await arrive(store, press)
    assert await store.read(made, decision) == ("deny", "anna")
    assert (await begin(store, pressed.wake[0])).id == turn.id  # it goes on at once
    waiting = await store.read(opinions.undelivered, turn.id)
    assert waiting == opinions.Decision(id=decision, choice="deny", decided_by="anna")
    await store.write(opinions.TOLD, opinions.Told(decision, store.now()))
    assert await store.read(opinions.undelivered, turn.id) is None


async def test_the_choice_of_a_question_is_the_persons_answer(store: Store) -> None:
    first = await arrive(store, said("m1"))
    turn = await begin(store, first.wake[0])
    decision = await paused(store, turn, "question")
    pressed = await arrive(store, said("b", act=Act.DECIDE, decision_id=decision, choice="approve"))
    goes_on = await begin(store, pressed.wake[0])
    assert goes_on.id == turn.id
    assert goes_on.thread_id == "task"
    assert [one.message.text for one in goes_on.said][-1] == "approve"
    assert (await store.read(ledger)).accepted == 1


async def test_the_next_words_of_the_person_asked_are_the_answer_and_those_of_others_wait(
    store: Store, clock: Any
) -> None:
    first = await arrive(store, said("m1"))
    turn = await begin(store, first.wake[0])
    await paused(store, turn, "question")
    await clock.advance(timedelta(seconds=1))
    await arrive(store, said("m2", "me too", author="ben"))
    said_at_last = await arrive(store, said("m3", "blue"))
    goes_on = await begin(store, said_at_last.wake[0])
    assert [one.message.text for one in goes_on.said] == ["blue"]
    assert goes_on.idempotency_key != turn.idempotency_key


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(seconds=3)])
async def test_an_answer_is_the_answer_whatever_the_clock_of_the_node_it_came_to(
    store: Store, behind: timedelta
) -> None:
    first = await arrive(store, said("m1"))
    await paused(store, await begin(store, first.wake[0]), "question")
    await arrive(store, said("m2", "blue"), "collect", behind=behind)
    answer = await arrive(store, said("m3", "or green"), "collect", behind=behind)
    goes_on = await begin(store, answer.wake[0])
    assert [one.message.text for one in goes_on.said] == ["blue", "or green"]


@pytest.mark.parametrize(("busy", "heard"), [("collect", ["blue or green"]), ("queue", ["blue", "or green"])])
async def test_of_two_answers_in_one_batch_both_are_heard(store: Store, busy: str, heard: list[str]) -> None:
    first = await arrive(store, said("m1"))
    await paused(store, await begin(store, first.wake[0]), "question")
    answers = (("m2", "blue"), ("m3", "or green"))
    stored = await asyncio.gather(*(arrive(store, said(*each), busy) for each in answers))
    for words in heard:
        goes_on = await begin(store, stored[0].wake[0])
        assert " ".join(one.message.text for one in goes_on.said) == words
        await store.write(turns.END, turns.End(turn=goes_on, state=TurnState.ANSWERED))


@pytest.mark.parametrize("busy", ["collect", "interrupt"])
async def test_what_joins_a_turn_stands_last_in_it_whatever_the_clock_of_the_node_it_came_to(
    store: Store, busy: str
) -> None:
    first = await arrive(store, said("m1", "one"), busy)
    if busy == "interrupt":
        turn = await begin(store, first.wake[0])
    await arrive(store, said("m2", "two"), busy, behind=timedelta(seconds=3))
    await arrive(store, said("m3", "three"), busy, behind=timedelta(seconds=6))
    if busy == "interrupt":
        await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    anew = await begin(store, first.wake[0])
    assert [one.message.text for one in anew.said] == ["one", "two", "three"]


async def test_the_newest_edit_is_the_last_whatever_the_clock_of_the_node_it_came_to(store: Store) -> None:
    first = await arrive(store, said("m1", "one"))
    await answered(store, await begin(store, first.wake[0]))
    for number, text in enumerate(("two", "three", "two")):
        behind = timedelta(seconds=3 * number)
        edited = await arrive(store, said("m1", text, act=Act.EDIT), behind=behind)
        assert (await begin(store, edited.wake[0])).said[0].message.text.endswith(text)
        await store.write(turns.END, turns.End(turn=await begin(store, edited.wake[0]), state=TurnState.ANSWERED))


async def test_the_newest_opinion_of_a_person_counts(store: Store) -> None:
    first = await arrive(store, said("m1"))
    out = await answered(store, await begin(store, first.wake[0]))
    await arrive(store, said("r", act=Act.RATE, delivery_id=out.delivery_id, value="1"))
    await arrive(store, said("r", act=Act.RATE, remote_id="ts-1", value="-1"))
    await arrive(store, said("r", act=Act.RATE, delivery_id="dlv_foreign", value="1"))

    def opinions_of(connection: Connection) -> list[tuple[str, str, int]]:
        return [(row.delivery_id, row.author_id, row.value) for row in connection.execute(select(feedback))]

    assert await store.read(opinions_of) == [(out.delivery_id, "anna", -1)]


async def test_an_opinion_counts_although_the_place_it_is_given_at_is_not_known_yet(store: Store) -> None:
    first = await arrive(store, said("m1"))
    out = await answered(store, await begin(store, first.wake[0]))
    nowhere = (Candidate(value="a name that comes late", matched_by="button"),)
    for delivery_id in (out.delivery_id, "dlv_foreign"):
        opinion = said("r", act=Act.RATE, delivery_id=delivery_id, value="1")
        await arrive(store, replace(opinion, conversation=nowhere))

    def opinions_of(connection: Connection) -> list[str]:
        return list(connection.execute(select(feedback.c.delivery_id)).scalars())

    assert await store.read(opinions_of) == [out.delivery_id]


async def test_what_only_the_platform_could_tell_declines_a_turn_in_the_books(store: Store) -> None:
    first = await arrive(store, said("m1"))
    turn = await begin(store, first.wake[0])
    assert not await store.write(halts.DECLINE, halts.Declined(turn, "guest"))
    counts = await store.read(ledger)
    assert (counts.declined, counts.balanced) == (1, True)

    def is_open(connection: Connection) -> bool:
        return bool(connection.execute(select(conversations.c.open)).scalar_one())

    assert not await store.read(is_open)


async def heard(store: Store, lease: Lease) -> list[str]:
    """Answer whatever waits; what was asked."""
    texts = []
    with suppress(Replaced):  # nothing is left, so it was let go of
        while isinstance(turn := await store.write(heads.TAKE, lease), Turn):
            texts += [one.message.text for one in turn.said]
            await answered(store, turn)
    return texts


async def test_whoever_edits_to_and_fro_is_heard_each_time_and_a_second_copy_of_an_edit_is_not(store: Store) -> None:
    await heard(store, (await arrive(store, said("m1", "A"))).wake[0])
    texts = []
    for text in ("B", "B", "A", "B", "B"):
        edited = await arrive(store, said("m1", text, act=Act.EDIT))
        texts += await heard(store, edited.wake[0])
    assert [text[-1] for text in texts] == ["B", "A", "B"]
    counts = await store.read(ledger)
    assert (counts.accepted, counts.balanced) == (1, True)


async def test_an_edit_of_an_edit_that_waits_replaces_it(store: Store) -> None:
    first = await arrive(store, said("m1", "A"))
    turn = await begin(store, first.wake[0])
    await arrive(store, said("m1", "B", act=Act.EDIT))
    await arrive(store, said("m1", "C", act=Act.EDIT))
    await answered(store, turn)
    assert [text[-1] for text in await heard(store, turn.lease)] == ["C"]


async def test_deleting_takes_edits_along(store: Store) -> None:
    lease = (await arrive(store, said("m1", "A"))).wake[0]
    await heard(store, lease)
    await heard(store, (await arrive(store, said("m1", "B", act=Act.EDIT))).wake[0])
    await arrive(store, said("m1", "C", act=Act.EDIT))
    await arrive(store, said("m1", act=Act.DELETE))
    assert [view.state for view in await store.read(reader.delivery_list)] == ["pending", "pending"]
    rows = await store.read(lambda connection: connection.execute(select(turn_rows.c.state)).scalars().all())
    assert sorted(rows) == ["answered", "answered", "cancelled"]


async def test_an_answer_to_several_stays_while_one_of_their_messages_does(store: Store) -> None:
    lease = (await arrive(store, said("m1"), busy="collect")).wake[0]
    await arrive(store, said("m2"), busy="collect")
    await heard(store, lease)
    await arrive(store, said("m1", act=Act.DELETE), busy="collect")
    assert [view.state for view in await store.read(reader.delivery_list)] == ["sent"]


async def test_what_runs_in_the_old_thread_does_not_become_the_new_one(store: Store) -> None:
    first = await arrive(store, said("m1"))
    turn = await begin(store, first.wake[0])
    await store.write(turns.NOTE_TASK, turns.Tasked(turn.lease, turn.id, "task-1"))
    reset = await arrive(store, said("", act=Act.RESET))
    assert reset.stop == (turn.lease.conversation_id,)
    with pytest.raises(turns.Stopping):
        await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, task_id="task-1"))
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    later = await begin(store, (await arrive(store, said("m2"))).wake[0])
    assert later.thread_id is None


async def left(store: Store, lease: Lease) -> list[str]:
    """What is still asked, once what is to be stopped has stopped."""
    texts: list[str] = []
    with suppress(Replaced):  # nothing is left, and the conversation was let go of
        while isinstance(head := await store.write(heads.TAKE, lease), Turn):
            if head.stopping:
                await store.write(halts.HALT, halts.Halt(turn=head, confirmation=()))
            else:
                texts += [one.message.text for one in head.said]
                await store.write(turns.END, turns.End(turn=head, state=TurnState.ANSWERED))
    return texts


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
@pytest.mark.parametrize("busy", ["queue", "collect", "interrupt"])
async def test_what_is_said_after_a_stop_is_not_stopped(store: Store, busy: str, state: str) -> None:
    (lease,) = (await arrive(store, said("m1", "one"), busy)).wake
    if state != "queued":
        turn = await begin(store, lease)
    if state == "paused":
        pause = json.dumps({"kind": "question", "text": "which?", "choices": ()})
        await store.write(halts.WAIT, halts.Waiting(turn=turn, task_id="task", pause=pause, until=store.now()))
    await arrive(store, said("", act=Act.STOP))
    await arrive(store, said("m2", "two"), busy)
    assert await left(store, lease) == ["two"]
    assert await states(store) == ["cancelled", "answered"]


@pytest.mark.parametrize("act", [Act.STOP, Act.RESET])
async def test_what_comes_in_one_batch_is_done_in_its_order(store: Store, act: Act) -> None:
    (lease,) = (await arrive(store, said("m1", "one"))).wake
    await asyncio.gather(arrive(store, said("", act=act)), arrive(store, said("m2", "two")))
    assert await left(store, lease) == ["two"]
    await asyncio.gather(arrive(store, said("m3", "three")), arrive(store, said("", act=act)))
    (again,) = (await arrive(store, said("m4", "four"))).wake
    assert await left(store, again) == ["four"]


async def test_a_conversation_can_be_muted_in_the_batch_that_begins_it(store: Store) -> None:
    await asyncio.gather(arrive(store, said("m1")), arrive(store, said("", act=Act.MUTE)))
    quiet = await arrive(store, replace(said("m2"), addressed="ambient"))
    assert quiet.messages[0].admission == "declined:muted"


@pytest.mark.parametrize("kind", ["question", "approval"])
async def test_what_is_to_be_stopped_asks_nothing_any_more(store: Store, kind: str) -> None:
    (lease,) = (await arrive(store, said("m1", "one"))).wake
    decision_id = await paused(store, await begin(store, lease), kind)
    await arrive(store, said("", act=Act.STOP))
    await arrive(store, said("d", act=Act.DECIDE, decision_id=decision_id, choice="approve"))
    assert await left(store, lease) == []
    (decision,) = await store.read(lambda connection: connection.execute(select(decisions)).all())
    assert decision.choice is None


async def test_an_edit_in_one_batch_with_what_is_said_later_is_heard_first(store: Store) -> None:
    (lease,) = (await arrive(store, said("m1", "one"))).wake
    await answered(store, await begin(store, lease))
    edited, _ = await asyncio.gather(arrive(store, said("m1", "two", act=Act.EDIT)), arrive(store, said("m2", "three")))
    assert await left(store, edited.wake[0]) == ["(Edited, it now reads:) two", "three"]


async def test_an_edit_that_overtakes_what_it_edits_within_a_batch_counts(store: Store) -> None:
    _, first = await asyncio.gather(arrive(store, said("m1", "two", act=Act.EDIT)), arrive(store, said("m1", "one")))
    assert await left(store, first.wake[0]) == ["two"]


async def test_who_interrupts_what_turns_out_to_be_declined_is_heard(store: Store) -> None:
    (lease,) = (await arrive(store, said("m1", "one"), "interrupt")).wake
    turn = await begin(store, lease)
    await arrive(store, said("m2", "two", author="grace"), "interrupt")
    with pytest.raises(turns.Stopping):
        await store.write(halts.DECLINE, halts.Declined(turn, "guest"))
    assert await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    assert [one.message.text for one in (await begin(store, lease)).said] == ["one", "two"]
