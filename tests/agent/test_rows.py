"""The embedded agent's rows on both databases, with two nodes where that makes a difference."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from bridge.agent_rows import NewTurn, TaskFilter, TaskTurn, TurnChange
from bridge.store import embedded, embedded_tables
from bridge.store.database import Store
from bridge.store.embedded import EmbeddedRows
from bridge.store.engine import is_sqlite, open_engine
from bridge.store.prepared import Prepared
from tests.agent.doubles import LeapingClock

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
LIFETIME = timedelta(seconds=6)


moments = (NOW - timedelta(microseconds=number) for number in itertools.count(1))


def new(task_id: str, key: str | None = None, **more: Any) -> NewTurn:
    return NewTurn(task_id=task_id, agent_id="a1", idempotency_key=key, request="{}", at=next(moments), **more)


def change(turn: TaskTurn, status: str, **more: Any) -> TurnChange:
    return TurnChange(task_id=turn.task_id, number=turn.number, status=status, at=NOW, **more)


@pytest.fixture
async def rows(store: Store) -> EmbeddedRows:
    return EmbeddedRows(store)


@pytest.fixture
async def others(
    rows: EmbeddedRows,  # noqa: ARG001 - it made the tables
    database_url: str,
    clock: LeapingClock,
) -> AsyncIterator[EmbeddedRows]:
    """A second node, where the database allows one."""
    engine = open_engine(database_url)
    single = is_sqlite(engine)
    engine.dispose()
    if single:
        pytest.skip("SQLite admits one process")
    store = Store.open(database_url, clock, node="nod_two")
    yield EmbeddedRows(store)
    await store.close()


def _prepared() -> list[str]:
    """The SQL that goes to SQLite without SQLAlchemy hearing of it."""
    statements = [value for module in (embedded, embedded_tables) for value in vars(module).values()]
    return [sql for each in statements if isinstance(each, Prepared) for sql in each.spellings if "%s" not in sql]


async def test_turns_of_one_batch_see_each_other(rows: EmbeddedRows) -> None:
    begun = await asyncio.gather(*(rows.begin(turn) for turn in [new("t1", "k1"), new("t1", "k1"), new("t1", "k2")]))
    assert [one.how for one in begun] == ["new", "repeated", "busy"]
    assert len({one.turn.idempotency_key for one in begun}) == 1


@pytest.mark.parametrize("key", [None, "k1"])
async def test_a_turn_that_was_stored_in_doubt_knows_itself_again(rows: EmbeddedRows, key: str | None) -> None:
    turn = new("t1", key)
    first, second = await rows.begin(turn), await rows.begin(turn)
    assert (second.how, second.turn) == ("new", first.turn)


async def test_a_task_goes_on_after_its_turn_is_over_and_with_its_own_agent_only(rows: EmbeddedRows) -> None:
    first = (await rows.begin(new("t1"))).turn
    assert (await rows.begin(new("t1"))).how == "busy"
    await rows.change(change(first, "completed", result="done"))
    foreign = NewTurn(task_id="t1", agent_id="a2", idempotency_key=None, request="{}", at=NOW)
    assert (await rows.begin(foreign)).how == "foreign"
    assert (await rows.begin(new("t1"))).turn.number == 2
    assert [turn.result for turn in await rows.turns("t1", limit=10)] == ["done", None]


async def test_a_key_finds_its_own_turn_also_when_the_task_went_on(rows: EmbeddedRows) -> None:
    first = (await rows.begin(new("t1", "k1"))).turn
    await rows.change(change(first, "completed"))
    await rows.begin(new("t1", "k2"))
    again = await rows.begin(new("somewhere else", "k1"))
    assert (again.how, again.turn.number, again.turn.task_id) == ("repeated", 1, "t1")


async def test_a_change_applies_only_as_it_demands(rows: EmbeddedRows) -> None:
    turn = (await rows.begin(new("t1"))).turn
    assert await rows.change(change(turn, "completed", attempt=2)) is None
    assert await rows.change(change(turn, "stopped", only_from=frozenset({"paused"}))) is None
    assert await rows.change(change(turn, "completed", attempt=1))
    assert await rows.change(change(turn, "stopped", only_from=frozenset({"executing"}))) is None
    latest = await rows.latest("t1")
    assert latest is not None
    assert (latest.status, latest.finished_at) == ("completed", NOW)


async def test_of_two_resumptions_at_once_one_gets_the_turn(rows: EmbeddedRows) -> None:
    turn = (await rows.begin(new("t1"))).turn
    await rows.change(change(turn, "paused"))
    resume = change(turn, "executing", only_from=frozenset({"paused"}))
    resumed = await asyncio.gather(rows.change(resume), rows.change(resume))
    assert [one and one.attempt for one in resumed] == [2, None]


async def test_listing_filters_counts_and_pages(rows: EmbeddedRows) -> None:
    await asyncio.gather(
        *(rows.begin(new(f"t{n}", user_id=f"u{n % 2}", parent_id="t0" if n else None)) for n in range(5))
    )
    page, total = await rows.page(TaskFilter(user_id="u0"), offset=1, limit=1)
    assert ([turn.task_id for turn in page], total) == (["t2"], 3)
    assert (await rows.page(TaskFilter(parent_task_id="t0", status="executing"), offset=0, limit=10))[1] == 4
    assert (await rows.page(TaskFilter(agent_id="nobody"), offset=0, limit=10)) == ([], 0)


async def test_erasing_leaves_nothing(rows: EmbeddedRows) -> None:
    await rows.begin(new("t1", "k1"))
    assert await rows.erase("t1")
    assert not await rows.erase("t1")
    assert await rows.latest("t1") is None
    assert (await rows.begin(new("t2", "k1"))).how == "new"


async def test_old_tasks_are_forgotten_unless_they_went_on(rows: EmbeddedRows) -> None:
    for task_id in ("old", "again", "live"):
        turn = (await rows.begin(new(task_id))).turn
        if task_id != "live":
            await rows.change(change(turn, "completed"))
    await rows.begin(new("again"))
    assert await rows.forget(NOW) == 0
    assert await rows.forget(NOW + timedelta(seconds=1)) == 1
    assert [task_id for task_id in ("old", "again", "live") if await rows.latest(task_id)] == ["again", "live"]


async def test_a_turn_is_taken_over_only_when_its_node_ceased(
    rows: EmbeddedRows, others: EmbeddedRows, clock: LeapingClock
) -> None:
    await rows.keep(LIFETIME)
    turn = (await rows.begin(new("t1"))).turn
    assert await others.keep(LIFETIME) == []
    clock.time += timedelta(seconds=7)
    assert [taken.attempt for taken in await others.keep(LIFETIME)] == [2]
    assert await others.keep(LIFETIME) == []
    assert await rows.change(change(turn, "completed", attempt=1)) is None


async def test_two_nodes_with_the_same_key_store_one_turn(rows: EmbeddedRows, others: EmbeddedRows) -> None:
    for number in range(10):
        begun = await asyncio.gather(
            *(node.begin(new(f"t{number}-{name}", f"k{number}")) for name, node in (("a", rows), ("b", others)))
        )
        assert sorted(one.how for one in begun) == ["new", "repeated"]
        assert len({one.turn.task_id for one in begun}) == 1


async def test_two_nodes_with_the_same_new_task_store_one_turn(rows: EmbeddedRows, others: EmbeddedRows) -> None:
    for number in range(10):
        begun = await asyncio.gather(*(node.begin(new(f"t{number}")) for node in (rows, others)))
        assert sorted(one.how for one in begun) == ["busy", "new"]


async def test_no_write_looks_through_the_whole_table(rows: EmbeddedRows, store: Store) -> None:
    """Each step of a turn finds its rows by an index, so that it costs the same after a million turns."""
    if not store.exclusive:
        pytest.skip("PostgreSQL chooses by the size of its tables")
    said: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and isinstance(parameters, tuple):
            said.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    turn = (await rows.begin(new("t1", "k1"))).turn
    await rows.change(change(turn, "completed"))
    await rows.keep(LIFETIME)
    await rows.latest("t1")
    await rows.turns("t1", limit=3)
    await rows.erase("t1")
    event.remove(store.engine, "before_cursor_execute", note)
    said += [(sql, (None,) * sql.count("?")) for sql in _prepared() if not sql.startswith("INSERT")]
    with store.engine.connect() as connection:
        plans = {
            statement: [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in said
        }
    assert len(plans) >= 10
    scans = re.compile(r"SCAN agent_(?!turns USING INDEX ix_agent_turns_live)")
    assert not {query: plan for query, plan in plans.items() if any(scans.match(step) for step in plan)}
