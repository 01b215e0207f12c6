"""A turn that waits is not always one that has not begun: what its agent knows already takes nothing in."""

from dataclasses import replace

from bridge.model import Act, DeliveryState, Lease, Turn, TurnState
from bridge.operations import Operations
from bridge.store import halts, reader, tables, turns, waiting
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from tests.store.journeys import arriving, dead_message, deliver, end, rows_of, say, take
from tests.store.test_waiting import act, paused


async def put_off(store: Store) -> Turn:
    """The agent has a task of it, and was away when that was to be gone on with."""
    turn = await take(store, (await say(store, "m1", busy="collect")).wake[0])
    await store.write(turns.NOTE_TASK, turns.Tasked(turn.lease, turn.id, "task-1"))
    await store.write(
        waiting.POSTPONE, waiting.Postponement(turn=turn, until=store.now(), error="away", spent=0, away=True)
    )
    return turn


def words(turn: Turn) -> list[str]:
    return [one.message.text for one in turn.said]


async def answered(store: Store, turn: Turn) -> None:
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, task_id="task-1"))


async def test_what_is_said_while_its_task_waits_to_be_gone_on_with_is_asked(store: Store) -> None:
    turn = await put_off(store)
    await say(store, "m2", text="and this?", busy="collect")
    again = await take(store, turn.lease)
    assert (again.task_id, words(again)) == ("task-1", ["hello"])
    await answered(store, again)
    assert words(await take(store, turn.lease)) == ["and this?"]


async def test_what_is_edited_while_its_task_waits_to_be_gone_on_with_is_asked(store: Store) -> None:
    turn = await put_off(store)
    await act(store, turn, Act.EDIT)
    again = await take(store, turn.lease)
    assert words(again) == ["hello"]
    await answered(store, again)
    assert words(await take(store, turn.lease)) == ["(Edited, it now reads:) and this?"]


async def test_what_is_said_behind_a_turn_that_is_reattached_to_is_asked(store: Store) -> None:
    message_id = await dead_message(store)
    woken: list[Lease] = []
    await Operations(store, store._clock, agents={}, wake=woken.append).replay(message_id, "reattach")
    await say(store, "m2", text="and this?", busy="collect")
    again = await take(store, woken[0])
    assert words(again) == ["hello"]
    await answered(store, again)
    assert words(await take(store, again.lease)) == ["and this?"]


async def test_a_task_that_waits_to_be_gone_on_with_is_stopped_though_more_was_said(store: Store) -> None:
    turn = await put_off(store)
    await say(store, "m2")
    await act(store, turn, Act.STOP)
    again = await take(store, turn.lease)
    assert (again.id, again.task_id, again.stopping) == (turn.id, "task-1", True)
    assert not await store.write(halts.HALT, halts.Halt(turn=again, confirmation=()))
    assert {row.state for row in await rows_of(store, tables.turns)} == {"cancelled"}


async def test_an_operator_is_told_that_a_task_is_stopped_that_waits_to_be_gone_on_with(store: Store) -> None:
    turn = await put_off(store)
    await say(store, "m2")
    stopped = await Operations(store, store._clock, agents={}).stop(turn.lease.conversation_id)
    assert (stopped.stopping, stopped.cancelled) == (1, 1)


async def test_the_task_of_what_is_deleted_is_stopped_though_it_waits_to_be_gone_on_with(store: Store) -> None:
    turn = await put_off(store)
    await act(store, turn, Act.DELETE)
    again = await take(store, turn.lease)
    assert (again.task_id, again.stopping) == ("task-1", True)


async def test_an_answer_that_is_deleted_before_the_agent_heard_it_is_not_asked_and_nothing_hangs(store: Store) -> None:
    turn = await take(store, (await say(store, "m1")).wake[0])
    await store.write(halts.WAIT, paused(store, turn, "question"))
    await act(store, turn, Act.SAY)
    gone = replace(turn.said[0].message, act=Act.DELETE, message_key="m2")
    await store.accept(INGEST, arriving(store, gone, key="gone"))
    assert [row.state for row in await rows_of(store, tables.turns)] == ["cancelled"]
    later = await take(store, (await say(store, "m3", text="green")).wake[0])
    assert (words(later), later.thread_id) == (["green"], "task-1")


async def test_an_edit_of_what_was_said_before_a_question_is_asked_though_the_answer_to_that_waits(
    store: Store,
) -> None:
    turn = await take(store, (await say(store, "m1")).wake[0])
    await store.write(halts.WAIT, replace(paused(store, turn, "question"), until=store.now()))
    await act(store, turn, Act.SAY)
    await act(store, turn, Act.EDIT)
    again = await take(store, turn.lease)
    assert words(again) == ["and this?"]
    await answered(store, again)
    assert words(await take(store, turn.lease)) == ["(Edited, it now reads:) and this?"]


async def test_what_interrupted_is_not_asked_where_it_was_deleted_before_the_turn_began_anew(store: Store) -> None:
    turn = await take(store, (await say(store, "m1")).wake[0])
    await act(store, turn, Act.SAY, busy="interrupt")
    gone = replace(turn.said[0].message, act=Act.DELETE, message_key="m2")
    await store.accept(INGEST, arriving(store, gone, key="gone"))
    await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    assert words(await take(store, turn.lease)) == ["hello"]


async def test_who_edits_what_was_stopped_does_not_set_it_going_again(store: Store) -> None:
    """A reset, above all: the thread that was left would be gone on with."""
    turn = await take(store, (await say(store, "m1")).wake[0])
    await act(store, turn, Act.RESET)
    await act(store, turn, Act.EDIT, busy="interrupt")
    await store.write(turns.NOTE_TASK, turns.Tasked(turn.lease, turn.id, "task-1"))
    assert await store.write(halts.HALT, halts.Halt(turn=turn, confirmation=()))
    later = await take(store, turn.lease)
    assert (later.id == turn.id, words(later), later.thread_id) == (False, ["(Edited, it now reads:) and this?"], None)


async def test_a_turn_of_a_thread_that_was_left_does_not_lead_back_there(store: Store) -> None:
    message_id = await dead_message(store)
    (turn,) = await rows_of(store, tables.turns)
    first = (await say(store, "m2")).wake[0]
    second = await take(store, first)
    await act(store, second, Act.RESET)
    await store.write(halts.HALT, halts.Halt(turn=second, confirmation=()))
    woken: list[Lease] = []
    await Operations(store, store._clock, agents={}, wake=woken.append).replay(message_id, "reattach")
    again = await take(store, woken[0])
    assert (again.id, again.task_id) == (turn.id, "task-1")
    await end(store, again, TurnState.ANSWERED)
    await deliver(store, again.lease, DeliveryState.SENT)
    assert (await take(store, (await say(store, "m3")).wake[0])).thread_id is None
    assert [view.state for view in await store.read(reader.message_list)][-1] == "answered"
