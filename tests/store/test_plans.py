"""What every message runs through finds its rows by index, however many there are."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from bridge.model import Act, Author, Candidate, DeliveryState, InboundMessage, OutboundMessage, Turn, TurnState, new_id
from bridge.store import deliveries, halts, tries, turns, unread
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.migrations import migrate
from bridge.store.prepared import Prepared
from tests.conftest import FakeClock

GROWING = ("messages", "turns", "deliveries", "conversations", "arrivals", "envelopes", "aliases", "attempts")


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> Any:
    opened = Store.open(f"sqlite:///{tmp_path}/bridge.db", clock)
    migrate(opened.engine)
    yield opened
    await opened.close()


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


async def live_through_everything(store: Store) -> None:
    """A message from its arrival to its delivery, with what else may happen on the way."""
    stored = await store.accept(INGEST, arrival(store, "d1", said("m1")))
    (lease,) = stored.wake
    for number in range(2, 5):
        await store.accept(INGEST, arrival(store, f"d{number}", said(f"m{number}")))
    await store.accept(INGEST, arrival(store, "d1", said("m1")))
    head = await store.write(turns.TAKE, lease)
    assert isinstance(head, Turn)
    await store.accept(INGEST, arrival(store, "d5", said("m5"), busy="interrupt"))
    await store.write(halts.HALT, halts.Halt(turn=head, confirmation=()))
    head = await store.write(turns.TAKE, lease)
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


def prepared_statements() -> list[str]:
    """The SQL of those that go to the driver without SQLAlchemy hearing of it."""
    modules = [module for name, module in sys.modules.items() if name.startswith("bridge.store.")]
    found = [value for module in modules for value in vars(module).values()]
    found += [value for each in found if isinstance(each, dict) for value in each.values()]
    return [sql for each in found if isinstance(each, Prepared) for sql in each.spellings if "%s" not in sql]


async def test_no_statement_of_a_message_reads_a_whole_table(store: Store) -> None:
    statements: dict[str, Any] = {}

    def remember(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:  # noqa: FBT001 - the hook's signature
        statements.setdefault(statement, parameters[0] if many else parameters)

    event.listen(store.engine, "before_cursor_execute", remember)
    await live_through_everything(store)
    event.remove(store.engine, "before_cursor_execute", remember)
    statements |= {sql: (None,) * sql.count("?") for sql in prepared_statements()}
    assert len(statements) > 20
    with store.engine.connect() as connection:
        for statement, parameters in statements.items():
            if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                scans = [row[3] for row in plan if row[3].startswith("SCAN") and row[3].split()[1] in GROWING]
                assert not scans, f"{scans} in\n{statement}"
        assert connection.execute(text("SELECT count(*) FROM messages")).scalar_one() > 1
