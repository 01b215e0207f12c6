"""What a person does in the moment in which a turn is put off: whichever of the two commits second has to see it."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.model import Act, Lease, Turn
from bridge.store import halts, opinions, tables, turns, waiting
from bridge.store.database import Store
from bridge.store.events import APPEND, Append
from bridge.store.ingest import INGEST
from bridge.store.shown import SHOWN, Shown
from bridge.store.waiting import PUT_BACK
from tests.conftest import FakeClock
from tests.store.journeys import arriving, parts_of, rows_of, say, take

HOUR = timedelta(hours=1)


async def running(store: Store) -> Turn:
    return await take(store, (await say(store, "m1")).wake[0])


async def act(store: Store, turn: Turn, what: Act, *, busy: str = "queue", **metadata: str) -> None:
    """What the one who spoke first does in the conversation now."""
    message = replace(turn.said[0].message, act=what, metadata=metadata, text="and this?")
    if what is Act.SAY:
        message = replace(message, message_key="m2")
    await store.accept(INGEST, arriving(store, message, key=what.value, busy=busy))


def paused(store: Store, turn: Turn, kind: str = "approval") -> halts.Waiting:
    decision = {
        "id": "dcs_1",
        "conversation_id": turn.lease.conversation_id,
        "turn_id": turn.id,
        "kind": kind,
        "choices": '["yes"]',
        "people": '["ada"]',
        "expires_at": store.now() + HOUR,
    }
    pause = json.dumps({"kind": kind})
    return halts.Waiting(turn=turn, task_id="task-1", pause=pause, until=store.now() + HOUR, decision=decision)


def put_off(store: Store, turn: Turn) -> waiting.Postponement:
    return waiting.Postponement(turn=turn, until=store.now() + HOUR, error="later", spent=0)


async def test_what_is_stopped_does_not_wait_for_a_person(store: Store) -> None:
    turn = await running(store)
    await act(store, turn, Act.STOP)
    with pytest.raises(turns.Stopping):
        await store.write(halts.WAIT, paused(store, turn))
    assert await rows_of(store, tables.decisions) == []
    assert (await take(store, turn.lease)).stopping


async def test_what_interrupts_is_not_kept_until_a_question_is_answered(store: Store) -> None:
    turn = await running(store)
    await act(store, turn, Act.SAY, busy="interrupt")
    with pytest.raises(turns.Stopping):
        await store.write(halts.WAIT, paused(store, turn, "question"))
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    again = await take(store, turn.lease)
    assert [one.message.text for one in again.said] == ["hello", "and this?"]


async def test_what_is_stopped_is_not_put_off(store: Store) -> None:
    turn = await running(store)
    await act(store, turn, Act.STOP)
    await store.write(waiting.POSTPONE, put_off(store, turn))
    assert (await take(store, turn.lease)).stopping


async def test_what_is_decided_during_a_look_is_told_at_once(store: Store) -> None:
    turn = await running(store)
    await store.write(halts.WAIT, replace(paused(store, turn), until=store.now()))
    looking = await take(store, turn.lease)
    await act(store, turn, Act.DECIDE, decision_id="dcs_1", choice="yes")
    await store.write(halts.WAIT, replace(paused(store, looking), decision=None))
    assert (await take(store, turn.lease)).id == turn.id
    assert await store.read(opinions.undelivered, turn.id) is not None


async def test_a_task_that_is_noted_after_a_reset_is_not_gone_on_with(store: Store) -> None:
    turn = await running(store)
    await act(store, turn, Act.RESET)
    await store.write(turns.NOTE_TASK, turns.Tasked(turn.lease, turn.id, "task-1"))
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    assert (await take(store, (await say(store, "m2")).wake[0])).thread_id is None


async def taken_over(store: Store, turn: Turn) -> Turn:
    """As a node does that finds it running, and no task: whoever began it may have asked the agent."""
    return await take(store, Lease(turn.lease.conversation_id, turn.lease.epoch))


async def test_what_an_earlier_life_may_have_asked_takes_nothing_in_any_more(store: Store, clock: FakeClock) -> None:
    first = await say(store, "m1", busy="collect")
    turn = await take(store, first.wake[0])
    again = await taken_over(store, turn)
    await store.write(waiting.POSTPONE, replace(put_off(store, again), until=store.now()))
    await clock.advance(timedelta(seconds=1))
    await say(store, "m2", busy="collect")
    third = await taken_over(store, turn)
    assert (third.idempotency_key, [one.message.message_key for one in third.said]) == (turn.idempotency_key, ["m1"])
    await store.write(PUT_BACK, third)
    await act(store, turn, Act.EDIT)
    assert [one.message.text for one in (await take(store, turn.lease)).said] == ["hello"]


async def test_what_begins_anew_reads_no_further_in_the_stream_of_what_was_stopped(store: Store) -> None:
    turn = await running(store)
    await store.write(turns.NOTE_TASK, turns.Tasked(turn.lease, turn.id, "task-1"))
    told = Append(lease=turn.lease, turn_id=turn.id, events=(), begins=False, cursor="7")
    await store.write(APPEND, told)
    await act(store, turn, Act.SAY, busy="interrupt")
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    assert (await take(store, turn.lease)).event_cursor is None


async def undelivered(store: Store, turn: Turn) -> opinions.Decision | None:
    return await store.read(opinions.undelivered, turn.id)


def asks_again(store: Store, turn: Turn) -> halts.Waiting:
    asked = paused(store, turn)
    return replace(asked, anew=True, decision={**(asked.decision or {}), "id": "dcs_2"})


async def test_the_choice_of_a_question_decides_no_later_approval(store: Store) -> None:
    turn = await running(store)
    await store.write(halts.WAIT, replace(paused(store, turn, "question"), until=store.now()))
    await act(store, turn, Act.DECIDE, decision_id="dcs_1", choice="yes")
    again = await take(store, turn.lease)
    await store.write(halts.WAIT, asks_again(store, again))
    assert await undelivered(store, turn) is None
    assert [row.not_before for row in await rows_of(store, tables.turns)] == [store.now() + HOUR]


async def test_what_was_decided_before_the_turn_began_anew_decides_nothing_in_it(store: Store) -> None:
    turn = await running(store)
    await store.write(halts.WAIT, replace(paused(store, turn), until=store.now()))
    looking = await take(store, turn.lease)
    await act(store, turn, Act.DECIDE, decision_id="dcs_1", choice="yes")
    await act(store, turn, Act.SAY, busy="interrupt")
    await store.write(halts.HALT, halts.Halt(turn=looking, confirmation=()))
    again = await take(store, turn.lease)
    await store.write(halts.WAIT, asks_again(store, again))
    assert await undelivered(store, turn) is None


async def test_what_was_asked_before_the_turn_began_anew_is_not_asked_any_more(store: Store) -> None:
    turn = await running(store)
    await store.write(halts.WAIT, replace(paused(store, turn), until=store.now()))
    looking = await take(store, turn.lease)
    await act(store, turn, Act.SAY, busy="interrupt")
    await store.write(halts.HALT, halts.Halt(turn=looking, confirmation=()))
    assert [row.open for row in await rows_of(store, tables.decisions)] == [False]


async def test_what_is_decided_during_the_last_look_is_in_time(store: Store, clock: FakeClock) -> None:
    turn = await running(store)
    await store.write(halts.WAIT, replace(paused(store, turn), until=store.now()))
    await clock.advance(HOUR - timedelta(seconds=1))
    looking = await take(store, turn.lease)
    await act(store, turn, Act.DECIDE, decision_id="dcs_1", choice="yes")
    await store.write(halts.WAIT, replace(paused(store, looking), decision=None))
    assert (await take(store, turn.lease)).paused_at == store.now()


async def test_what_waits_for_long_with_a_view_is_left_to_the_beat(store: Store) -> None:
    """A view ends with its turn: nothing of it is due before that."""
    turn = await running(store)
    (view,) = parts_of(store, turn, kind="progress")
    await store.write(SHOWN, Shown(turn, view, "view"))
    await store.write(waiting.POSTPONE, put_off(store, turn))
    (conversation,) = await rows_of(store, tables.conversations)
    assert (conversation.open, conversation.owner, conversation.wake_at) == (True, None, store.now() + HOUR)
