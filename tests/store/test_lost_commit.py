"""A commit whose answer is lost: the writer tries again what has already happened, and it happens once all the same."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from bridge.model import Act, Author, Candidate, DeliveryState, InboundMessage, Turn, TurnState
from bridge.operations import Operations
from bridge.store import deliveries, halts, tables, tries, turns, waiting
from bridge.store.admitting import ADMIT
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.deliveries import Delivery
from bridge.store.engine import is_sqlite, open_engine
from bridge.store.events import APPEND, Append, Happened, after
from bridge.store.handover import HAND_OVER, Handover
from bridge.store.ingest import INGEST
from bridge.store.on_file import OnFile
from bridge.store.on_server import OnServer
from bridge.store.replay import REPLAY, Replay
from bridge.store.transactions import Statements, Transactions
from bridge.store.tries import Outcome
from bridge.store.withheld import WITHHOLD, Withheld
from bridge.store.writer import Writer
from tests.store.journeys import arriving, due, parts_of, rows_of, say, take


class Cut:
    """Real transactions over a line that is cut behind the next commit, before its answer comes."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self.most = transactions.most
        self.cuts = 1

    async def run(self, statements: Statements, *, long: bool) -> None:
        await self._transactions.run(statements, long=long)
        if self.cuts:
            self.cuts -= 1
            raise OperationalError("COMMIT", None, Exception("the connection is lost"), connection_invalidated=True)

    async def disconnect(self) -> None:
        await self._transactions.disconnect()

    async def close(self) -> None:
        await self._transactions.close()


@pytest.fixture
async def cut(store: Store, database_url: str) -> AsyncIterator[Writer]:
    """A writer of the same node that loses one answer."""
    engine = open_engine(database_url)
    lines = Cut(OnFile(engine) if is_sqlite(engine) else OnServer(engine.url))
    writer = Writer(lines, node=store.node, now=store.now)
    yield writer
    assert lines.cuts == 0
    await writer.close()
    engine.dispose()


async def running(store: Store) -> Turn:
    return await take(store, (await say(store, "m1")).wake[0])


def answer(store: Store, turn: Turn) -> turns.End:
    return turns.End(turn=turn, state=TurnState.ANSWERED, task_id="task-1", deliveries=parts_of(store, turn))


def saying(store: Store) -> Arrival:
    message = InboundMessage(
        message_key="m1",
        conversation=(Candidate(value="thread", matched_by="thread"),),
        return_address="here",
        author=Author(id="ada"),
        text="hello",
    )
    return arriving(store, message, key="d1")


def interrupting(store: Store, turn: Turn) -> Arrival:
    said = turn.said[0].message
    message = InboundMessage(
        message_key=said.message_key,
        conversation=said.conversation,
        return_address=said.return_address,
        author=said.author,
        text="and now?",
        act=Act.EDIT,
    )
    return arriving(store, message, key="edit", busy="interrupt")


async def test_a_turn_that_is_to_begin_anew_is_not_cancelled(store: Store, cut: Writer) -> None:
    turn = await running(store)
    await store.accept(INGEST, interrupting(store, turn))
    stopped = parts_of(store, turn, kind="notice")
    assert await cut(halts.HALT, halts.Halt(turn=turn, confirmation=stopped)) is True
    again = await take(store, turn.lease)
    assert (again.id, again.said[0].message.text) == (turn.id, "and now?")
    assert await rows_of(store, tables.deliveries) == []


async def test_a_turn_ends_once(store: Store, cut: Writer) -> None:
    turn = await running(store)
    await say(store, "m2")
    assert await cut(turns.END, answer(store, turn)) is True
    assert [row.state for row in await rows_of(store, tables.deliveries)] == ["pending"]


async def test_an_answer_that_is_handed_over_is_looked_up_before_it_is_sent(store: Store, cut: Writer) -> None:
    turn = await running(store)
    handed = await cut(HAND_OVER, Handover(answer(store, turn), due(turn.lease)))
    assert (handed.first, handed.more) == (None, False)
    found = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(found, Delivery)
    assert found.uncertain


async def test_a_turn_that_is_put_off_for_nothing_it_did_loses_no_attempt(store: Store, cut: Writer) -> None:
    turn = await running(store)
    await cut(waiting.POSTPONE, waiting.Postponement(turn=turn, until=store.now(), error="busy", spent=0))
    assert (await take(store, turn.lease)).attempt == 1


def asking(store: Store, turn: Turn) -> halts.Waiting:
    (notice,) = parts_of(store, turn, kind="notice")
    decision = {
        "id": "dcs_1",
        "conversation_id": turn.lease.conversation_id,
        "turn_id": turn.id,
        "delivery_id": notice.delivery_id,
        "kind": "approval",
        "choices": '["yes"]',
        "people": '["ada"]',
        "expires_at": store.now(),
    }
    return halts.Waiting(
        turn=turn, task_id="task-1", pause="{}", until=store.now(), notice=(notice,), decision=decision
    )


async def test_a_question_is_asked_once_and_stays_open(store: Store, cut: Writer) -> None:
    turn = await running(store)
    await cut(halts.WAIT, asking(store, turn))
    assert [row.open for row in await rows_of(store, tables.decisions)] == [True]
    assert [row.marker for row in await rows_of(store, tables.deliveries)] == [None]
    assert [(row.state, row.notices) for row in await rows_of(store, tables.turns)] == [("paused", 1)]


async def test_what_happens_in_a_turn_is_told_once(store: Store, cut: Writer) -> None:
    turn = await running(store)
    for texts, follows in (("ab", 0), ("c", 2)):
        told = tuple(Happened("chunk", text) for text in texts)
        append = Append(lease=turn.lease, turn_id=turn.id, events=told, begins=True, follows=follows)
        assert await cut(APPEND, append) == follows + len(texts) + (follows > 0)
    found = await store.read(after, turn.id, 0)
    assert [json.loads(one.data) for one in found] == ["a", "b", None, "c"]


async def test_what_happened_behind_what_went_unheard_is_told_too(store: Store, cut: Writer) -> None:
    """Whoever recorded it heard that nothing was stored."""
    turn = await running(store)
    told = Append(lease=turn.lease, turn_id=turn.id, events=(Happened("chunk", "a"),), begins=True, follows=0)
    await cut(APPEND, told)
    await store.write(APPEND, replace(told, events=(*told.events, Happened("chunk", "b"))))
    assert [json.loads(one.data) for one in await store.read(after, turn.id, 0)] == ["a", "b"]


async def test_a_delivery_that_is_withheld_loses_no_attempt(store: Store, cut: Writer) -> None:
    turn = await running(store)
    await store.write(turns.END, answer(store, turn))
    delivery = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(delivery, Delivery)
    await cut(WITHHOLD, Withheld(delivery, store.now(), "its destination is left alone"))
    again = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(again, Delivery)
    assert (again.attempt, again.uncertain) == (1, False)


async def test_a_delivery_that_arrived_is_sent_once(store: Store, cut: Writer) -> None:
    turn = await running(store)
    await store.write(turns.END, answer(store, turn))
    await say(store, "m2")  # so that nobody lets go of the conversation
    delivery = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(delivery, Delivery)
    assert await cut(tries.END, Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id="r")) is False
    assert [row.state for row in await rows_of(store, tables.deliveries)] == ["sent"]
    assert [row.outcome for row in await rows_of(store, tables.attempts)] == ["sent"]


async def test_a_delivery_whose_words_were_taken_back_since_is_not_sent_after_all(store: Store) -> None:
    """The answer to the commit that put it off is lost; before the writer tries that again its message is deleted."""
    turn = await running(store)
    delivery = await handed_out(store, turn)
    later = store.now() + timedelta(minutes=2)
    put_off = Outcome(delivery=delivery, state=DeliveryState.PENDING, until=later, error="too many")
    assert await store.write(tries.END, put_off) is True
    deletion = replace(turn.said[0].message, act=Act.DELETE)
    await store.accept(INGEST, arriving(store, deletion, key="delete"))
    assert await store.write(tries.END, put_off) is False
    assert [(row.state, row.finished_at) for row in await rows_of(store, tables.deliveries)] == [
        ("withdrawn", store.now())
    ]


async def test_a_delivery_that_was_set_going_again_since_does_not_die_twice(store: Store) -> None:
    turn = await running(store)
    delivery = await handed_out(store, turn)
    await say(store, "m2")  # so that nobody lets go of the conversation
    refused = Outcome(delivery=delivery, state=DeliveryState.DEAD, error="refused")
    await store.write(tries.END, refused)
    await Operations(store, store._clock, agents={}).retry(delivery.id)
    assert await store.write(tries.END, refused) is True
    assert [row.state for row in await rows_of(store, tables.deliveries)] == ["pending"]
    assert [row.number for row in await rows_of(store, tables.attempts)] == [0]


async def handed_out(store: Store, turn: Turn) -> Delivery:
    """The turn's answer, on its way."""
    await store.write(turns.END, answer(store, turn))
    delivery = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(delivery, Delivery)
    return delivery


async def test_what_arrived_is_begun_at_once(store: Store, cut: Writer) -> None:
    stored = await cut(INGEST, saying(store))
    assert [one.message.text for one in (await take(store, stored.wake[0])).said] == ["hello"]
    assert len(await rows_of(store, tables.messages)) == 1


async def test_what_a_sender_repeats_because_he_heard_nothing_is_begun_at_once(store: Store) -> None:
    first = await store.accept(INGEST, saying(store))
    assert (await store.accept(INGEST, saying(store))).wake == first.wake
    turn = await take(store, first.wake[0])
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED))
    assert (await store.accept(INGEST, saying(store))).wake == ()


async def test_what_is_told_once_is_told_at_once(store: Store, cut: Writer) -> None:
    turn = await running(store)
    (notice,) = parts_of(store, turn, kind="notice")
    assert await cut(halts.TELL, halts.Notice(turn, notice))
    assert not await store.write(halts.TELL, halts.Notice(turn, *parts_of(store, turn, kind="notice")))
    assert [row.id for row in await rows_of(store, tables.deliveries)] == [notice.delivery_id]


async def test_what_an_operator_has_set_going_again_since_is_not_ended_once_more(store: Store) -> None:
    turn = await running(store)
    dead = turns.End(turn=turn, state=TurnState.DEAD, task_id="task-1", deliveries=parts_of(store, turn, kind="error"))
    await store.write(turns.END, dead)
    await Operations(store, store._clock, agents={}).replay(turn.said[0].id, "reattach")
    assert await store.write(turns.END, dead) is True
    assert (await take(store, turn.lease)).id == turn.id


async def test_what_is_asked_again_is_asked_once_and_is_no_conflict(store: Store, cut: Writer) -> None:
    turn = await running(store)
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.DEAD, error="broken"))
    wish = Replay(message_id=turn.said[0].id, how="invoke", conversation_id=turn.lease.conversation_id)
    done = await cut(REPLAY, wish)
    assert done.wake is not None
    assert (await take(store, done.wake)).id == done.turn_id
    assert f"turn {turn.id} stays dead (broken)" in done.does
    assert len(await rows_of(store, tables.turns)) == 2


async def test_what_is_let_in_is_asked_once_and_is_no_conflict(store: Store, cut: Writer) -> None:
    parked = await say(store, "m1", parked="odd")
    wish = Replay(message_id=parked.messages[0].message_id, how="invoke", agents={"team": "local"})
    done = await cut(ADMIT, wish)
    assert done.wake is not None
    assert (await take(store, done.wake)).id == done.turn_id
    assert [row.id for row in await rows_of(store, tables.turns)] == [done.turn_id]
