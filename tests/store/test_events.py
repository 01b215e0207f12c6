"""Events of a turn are numbered without a gap, stored for whoever listens, and end with their turn."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bridge.agent.task import TaskEvent
from bridge.errors import Replaced
from bridge.model import Lease, Turn, TurnState
from bridge.recording import FLUSH_CHARS, FLUSH_SECONDS, KEPT_CHARS
from bridge.retention import Retention
from bridge.store import heads, turns
from bridge.store.captures import CAPTURE, Captured, captured
from bridge.store.database import Store
from bridge.store.erasure import ERASE, Erase
from bridge.store.events import APPEND, Append, Happened, after, last_seq
from bridge.store.ingest import INGEST
from bridge.store.outcomes import outcome
from bridge.store.retention import Ages
from bridge.store.tables import events
from bridge.views import NoView
from bridge.watching import LOOK_SECONDS, Watchers
from tests.conftest import FakeClock
from tests.store.test_ingest import arrival, message


@pytest.fixture
async def turn(store: Store) -> Turn:
    stored = await store.accept(INGEST, arrival(store, "d1", message("m1")))
    return await taken(store, stored.wake[0])


async def taken(store: Store, lease: Lease) -> Turn:
    head = await store.write(heads.TAKE, lease)
    assert isinstance(head, Turn)
    return head


def append(turn: Turn, *texts: str, begins: bool = False) -> Append:
    happened = tuple(Happened("chunk", text) for text in texts)
    return Append(lease=turn.lease, turn_id=turn.id, events=happened, begins=begins)


async def stored(store: Store, turn: Turn, seq: int = 0) -> list[tuple[int, str, Any]]:
    return [(e.seq, e.type, json.loads(e.data)) for e in await store.read(after, turn.id, seq)]


async def test_events_are_numbered_in_the_order_they_came_in_one_batch_or_in_several(store: Store, turn: Turn) -> None:
    await asyncio.gather(*(store.write(APPEND, append(turn, f"{number}a", f"{number}b")) for number in range(5)))
    await store.write(APPEND, append(turn, "last"))
    found = await stored(store, turn)
    assert [seq for seq, _, _ in found] == list(range(1, 12))
    assert [data for _, _, data in found] == [f"{n}{x}" for n in range(5) for x in "ab"] + ["last"]
    assert await stored(store, turn, 9) == found[9:]
    assert await store.read(last_seq, turn.id) == 11


async def test_a_second_call_to_the_agent_says_that_it_begins_again(store: Store, turn: Turn) -> None:
    for text in ("first", "second"):
        await store.write(APPEND, append(turn, text, begins=True))
    assert [(kind, data) for _, kind, data in await stored(store, turn)] == [
        ("chunk", "first"),
        ("restarted", None),
        ("chunk", "second"),
    ]


async def test_a_turn_that_is_over_gets_no_more(store: Store, turn: Turn) -> None:
    await store.write(APPEND, append(turn, "in time"))
    await store.accept(INGEST, arrival(store, "d2", message("m2")))  # so that the lease lives on
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED))
    await store.write(APPEND, append(turn, "too late"))
    assert [data for _, _, data in await stored(store, turn)] == ["in time"]


async def test_a_node_that_lost_the_conversation_stores_nothing(store: Store, turn: Turn) -> None:
    old = Append(
        lease=Lease(turn.lease.conversation_id, turn.lease.epoch - 1),
        turn_id=turn.id,
        events=(Happened("chunk", "stale"),),
        begins=False,
    )
    with pytest.raises(Replaced):
        await store.write(APPEND, old)
    assert await stored(store, turn) == []


async def test_who_listens_is_known_to_whichever_node_takes_the_turn_next(store: Store, clock: FakeClock) -> None:
    ingested = await store.accept(INGEST, arrival(store, "d1", message("m1")))
    turn_id = ingested.messages[0].turn_id
    assert turn_id is not None
    await Watchers(store, clock).listen(turn_id)
    assert (await taken(store, ingested.wake[0])).listened


async def test_a_listener_at_another_node_is_noticed(store: Store, clock: FakeClock, turn: Turn) -> None:
    here, elsewhere = Watchers(store, clock), Watchers(store, clock)
    recorder = here.recorder(turn, NoView())
    await elsewhere.listen(turn.id)
    await here.look()
    await recorder.show(TaskEvent("think", "t", "hm"))
    assert await stored(store, turn) == [(1, "think", "hm")]


async def test_fragments_are_stored_together_after_a_moment(store: Store, clock: FakeClock, turn: Turn) -> None:
    watchers = Watchers(store, clock)
    await watchers.listen(turn.id)
    recorder = watchers.recorder(turn, NoView())
    with watchers.watching(turn.id) as watch:
        for text in ("one ", "two ", "three"):
            await recorder.show(TaskEvent("chunk", "t", text))
        assert await stored(store, turn) == []
        await asyncio.sleep(0)
        await clock.advance(timedelta(seconds=FLUSH_SECONDS))
        assert await watch.changed(60)
    assert await stored(store, turn) == [(1, "chunk", "one two three")]


async def test_much_text_or_another_event_does_not_wait_for_the_moment(
    store: Store, clock: FakeClock, turn: Turn
) -> None:
    watchers = Watchers(store, clock)
    await watchers.listen(turn.id)
    recorder = watchers.recorder(turn, NoView())
    long = "x" * FLUSH_CHARS
    await recorder.show(TaskEvent("chunk", "t", long))
    await recorder.show(TaskEvent("chunk", "t", "short"))
    await recorder.show(TaskEvent("tool_call_request", "t", {"name": "search"}))
    await recorder.close(None)
    assert await stored(store, turn) == [
        (1, "chunk", long),
        (2, "chunk", "short"),
        (3, "tool_call_request", {"name": "search"}),
    ]


async def test_what_was_said_before_anybody_listened_is_stored_when_somebody_does(
    store: Store, clock: FakeClock, turn: Turn
) -> None:
    watchers = Watchers(store, clock)
    recorder = watchers.recorder(turn, NoView())
    await recorder.show(TaskEvent("chunk", "t", "early "))
    await watchers.listen(turn.id)
    await recorder.show(TaskEvent("chunk", "t", "late"))
    await recorder.close(None)
    assert await stored(store, turn) == [(1, "chunk", "early late")]


async def test_what_nobody_listens_to_is_neither_stored_nor_kept_without_end(
    store: Store, clock: FakeClock, turn: Turn
) -> None:
    watchers = Watchers(store, clock)
    recorder = watchers.recorder(turn, NoView())
    for _ in range(100):
        await recorder.show(TaskEvent("chunk", "t", "x" * (KEPT_CHARS // 10)))
    await recorder.close(None)
    assert await store.read(lambda connection: connection.execute(select(events)).all()) == []
    await watchers.listen(turn.id)
    await recorder.close(None)
    assert sum(len(data) for _, _, data in await stored(store, turn)) <= KEPT_CHARS


async def test_the_agents_own_records_and_huge_data_are_not_passed_on(
    store: Store, clock: FakeClock, turn: Turn
) -> None:
    watchers = Watchers(store, clock)
    await watchers.listen(turn.id)
    recorder = watchers.recorder(turn, NoView())
    await recorder.show(TaskEvent("tool_call_result", "t", {"page": "x" * (KEPT_CHARS + 1)}))
    await recorder.show(TaskEvent("task_finished", "t", {"id": "t", "payload_extension": {"key": "ours"}}))
    ((_, kind, data),) = await stored(store, turn)
    assert kind == "tool_call_result"
    assert set(data) == {"left_out_chars"}


async def test_a_turn_that_ends_without_a_word_to_this_node_is_noticed(
    store: Store, clock: FakeClock, turn: Turn
) -> None:
    watchers = Watchers(store, clock)
    looking = asyncio.create_task(watchers.run())
    with watchers.watching(turn.id) as watch:
        waiting = asyncio.create_task(watch.changed(3600))
        await asyncio.sleep(0)
        await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, result="42", status="completed"))
        while not waiting.done():
            await clock.advance(timedelta(seconds=LOOK_SECONDS))
            await asyncio.sleep(0.01)
        assert await waiting
    looking.cancel()
    found = await store.read(outcome, turn.said[0].id)
    assert found is not None
    assert (found.state, found.result) == ("answered", "42")


async def test_what_was_streamed_is_erased_with_its_conversation(store: Store, turn: Turn) -> None:
    await store.write(APPEND, append(turn, "a secret"))
    await store.write(CAPTURE, Captured(source=turn.source, sealed=b"a captured request", created_at=store.now()))
    await store.write(ERASE, Erase(looked_at=store.now(), conversation_id=turn.lease.conversation_id))
    assert await stored(store, turn) == []
    assert await store.read(captured, turn.source) == []


async def test_what_was_streamed_and_captured_is_forgotten_by_age(store: Store, clock: FakeClock, turn: Turn) -> None:
    await store.write(APPEND, append(turn, "old"))
    await store.write(CAPTURE, Captured(source=turn.source, sealed=b"old", created_at=store.now()))
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED))
    ages = Ages(payloads=timedelta(days=30), rows=timedelta(days=90), dedupe=timedelta(days=14))
    retention = Retention(store, clock, ages, forget_bytes=_never)
    await clock.advance(timedelta(days=31))
    await retention.once()
    assert (len(await stored(store, turn)), len(await store.read(captured, turn.source))) == (1, 0)
    await clock.advance(timedelta(days=60))
    await retention.once()
    assert await stored(store, turn) == []


async def _never(digest: str) -> bool:
    raise AssertionError(f"no bytes are stored here, {digest} neither")
