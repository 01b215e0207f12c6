"""What every message runs through, and what runs by itself, finds its rows by index, however many there are."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from bridge.model import Act, Author, Candidate, DeliveryState, InboundMessage, OutboundMessage, Turn, TurnState, new_id
from bridge.retention import Retention
from bridge.store import deliveries, erasure, events, halts, heads, ledger, nodes, ratings, tries, turns, unread
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.prepared import Prepared
from bridge.store.retention import Ages
from bridge.store.tables import metadata
from bridge.sweeper import SEARCH_EVERY, Sweeper
from tests.conftest import FakeClock

FEW = {"nodes", "circuits", "leases", "destinations", "budgets", "captures", "discards"}
"""As many as there are nodes, agents, places that fail; of captures, fifty to a source."""
GROWING = frozenset(metadata.tables) - FEW


def said(key: str, act: Act = Act.SAY, text: str = "hello") -> InboundMessage:
    return InboundMessage(
        message_key=key,
        conversation=(Candidate(value="thread", matched_by="thread"), Candidate(value="root", matched_by="root")),
        return_address="here",
        author=Author(id="u1"),
        text=text,
        act=act,
    )


def arrival(store: Store, key: str, message: InboundMessage, busy: str = "collect") -> Arrival:
    return Arrival(
        source="team",
        delivery_key=key,
        digest="d",
        sealed=b"",
        messages=(message,),
        received_at=store.now(),
        keep=timedelta(days=1),
        agent="local",
        busy=busy,
    )


async def live_through_everything(store: Store) -> str:
    """A message from its arrival to its delivery, with what else may happen on the way. Answers its conversation."""
    stored = await store.accept(INGEST, arrival(store, "d1", said("m1")))
    (lease,) = stored.wake
    for number in range(2, 5):
        await store.accept(INGEST, arrival(store, f"d{number}", said(f"m{number}")))
    await store.accept(INGEST, arrival(store, "d1", said("m1")))
    head = await store.write(heads.TAKE, lease)
    assert isinstance(head, Turn)
    await store.accept(INGEST, arrival(store, "d5", said("m5"), busy="interrupt"))
    await store.write(halts.HALT, halts.Halt(turn=head, confirmation=()))
    head = await store.write(heads.TAKE, lease)
    assert isinstance(head, Turn)
    await store.write(turns.NOTE_TASK, turns.Tasked(lease, head.id, "task"))
    out = OutboundMessage(
        delivery_id=new_id("dlv"),
        kind="answer",
        return_address="here",
        text="hi",
        created_at=store.now(),
        turn_id=head.id,
    )
    end = turns.End(turn=head, state=TurnState.ANSWERED, task_id="task", status="completed", deliveries=(out,))
    await store.write(turns.END, end)
    delivery = await store.write(deliveries.BEGIN, deliveries.Due(lease, lambda _, __: [("key", 60.0, 5)]))
    assert isinstance(delivery, deliveries.Delivery)
    sent = tries.Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id="remote")
    await store.write(tries.END, sent)
    later = await store.accept(INGEST, replace(arrival(store, "d9", said("m9")), messages=None))
    assert later.unread is not None
    assert await store.write(unread.TAKE_OVER, later.unread)
    (one,) = await store.read(unread.unread, [later.unread])
    await store.write(unread.PUT_OFF, unread.Unreadable(envelope_id=one.envelope_id, error="?", until=store.now()))
    await store.write(unread.READ, unread.Read(unread=one, messages=(said("m9"),), agent="local", busy="collect"))
    await store.accept(INGEST, arrival(store, "d6", said("m1", Act.EDIT, "other")))
    await store.accept(INGEST, arrival(store, "d7", said("m1", Act.DELETE)))
    await store.accept(INGEST, arrival(store, "d8", said("", Act.STOP)))
    return lease.conversation_id


def prepared_statements() -> list[str]:
    """The SQL of those that go to the driver without SQLAlchemy hearing of it."""
    modules = [module for name, module in sys.modules.items() if name.startswith("bridge.store.")]
    found = [value for module in modules for value in vars(module).values()]
    found += [value for each in found if isinstance(each, dict) for value in each.values()]
    return [sql for each in found if isinstance(each, Prepared) for sql in each.spellings if "%s" not in sql]


@contextmanager
def listening(kind: str) -> Iterator[dict[str, Any]]:
    """The statements that SQLAlchemy hands to the driver meanwhile, and with what values."""
    statements: dict[str, Any] = {}

    def remember(connection: Any, _: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:  # noqa: FBT001 - the hook's signature
        if connection.dialect.name == kind and statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            statements.setdefault(statement, parameters[0] if many else parameters)

    event.listen(Engine, "before_cursor_execute", remember)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", remember)


def whole_tables(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """The tables that grow with each message and that this statement reads from one end to the other."""
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        scanned = [row[3].split()[1:] for row in plan if row[3].startswith("SCAN")]
        # the index of what is open, say, is read as a whole where all that is open is wanted
        return [words[0] for words in scanned if words[0] in GROWING and words[-1] not in PARTIAL]
    # what no index helps with is still read so, although it seems to cost more than anything
    plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
    found = [re.search(r"Seq Scan on (\w+)", row[0]) for row in plan]
    return [each[1] for each in found if each is not None and each[1] in GROWING]


PARTIAL = {
    index.name
    for table in metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_statement_of_a_message_reads_a_whole_table(store: Store) -> None:
    with listening("sqlite") as statements:
        await live_through_everything(store)
    statements |= {sql: (None,) * sql.count("?") for sql in prepared_statements()}
    assert len(statements) > 20
    with store.engine.connect() as connection:
        for statement, parameters in statements.items():
            if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
                assert not whole_tables(connection, statement, parameters), statement
        assert connection.execute(text("SELECT count(*) FROM messages")).scalar_one() > 1


async def nobody(_: str) -> bool:
    return True


async def run_by_itself(store: Store, clock: FakeClock, conversation_id: str) -> None:
    """What a node does without being asked, each second or each hour, and what an operator's erasure does."""
    sweeper = Sweeper(store, clock, lambda _: None, lanes=())
    for _ in range(SEARCH_EVERY + 1):
        await sweeper.beat()
    await store.write(nodes.NUDGED, 10)
    await store.write(nodes.RECLAIM, store.now())
    await store.write(nodes.LEAVE, store.now())
    await store.read(halts.stops_of, store.node)
    await store.read(events.signs, ["trn_1"], store.node)
    await store.read(unread.due, store.node, store.now())
    await store.read(ledger.stuck, before=store.now())
    await store.read(ratings.untold, ["local"], store.now())
    day = timedelta(days=1)
    await Retention(store, clock, Ages(payloads=day, rows=day, dedupe=2 * day), forget_bytes=nobody).once()
    await store.read(erasure.files_of, conversation_id)
    await store.write(erasure.ERASE, erasure.Erase(conversation_id=conversation_id, looked_at=store.now()))


async def test_nothing_that_runs_by_itself_reads_a_whole_table(store: Store, clock: FakeClock) -> None:
    conversation_id = await live_through_everything(store)
    kind = store.engine.dialect.name
    with listening(kind) as statements:
        await run_by_itself(store, clock, conversation_id)
    assert len(statements) > 20
    with store.engine.connect() as connection:
        if kind == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
        for statement, parameters in statements.items():
            assert not whole_tables(connection, statement, parameters), statement
