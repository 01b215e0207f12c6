"""Prepared statements: whatever their values are, on both databases, and in whatever order they are sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Integer, LargeBinary, MetaData, String, Table, bindparam, select, text, update
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from bridge.clock import SystemClock
from bridge.errors import StoreUnavailable
from bridge.store.engine import is_sqlite, open_engine
from bridge.store.on_file import OnFile
from bridge.store.on_server import OnServer
from bridge.store.prepared import Prepared, among
from bridge.store.statements import insert_new
from bridge.store.tables import Instant
from bridge.store.writer import Tx, Write, Writer

AWKWARD = [
    "",
    " ",
    "{}",
    "a,b",
    'say "hi"',
    "back\\slash",
    "NULL",
    "null",
    "ünï 🌍",
    "tab\tline\nend",
    "'; --",
    "%s %(a)s :b",
]

_words = Table(
    "words",
    MetaData(),
    Column("word", String, primary_key=True),
    Column("number", Integer),
    Column("good", Boolean),
    Column("seen_at", Instant),
    Column("sealed", LargeBinary),
)
INSERT = Prepared(_words.insert())
FIND = Prepared(select(_words).where(among(_words.c.word, "words")).order_by(_words.c.word))
CHANGE = Prepared(
    update(_words)
    .where(_words.c.word == bindparam("at"))
    .values(
        number=_words.c.number + bindparam("more"), good=bindparam("is_good"), seen_at=bindparam("now"), sealed=None
    )
)


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Writer]:
    engine = open_engine(database_url)
    _words.create(engine)
    transactions = OnFile(engine) if is_sqlite(engine) else OnServer(engine.url)
    writer = Writer(transactions, node="nod_1", now=SystemClock().now)
    yield writer
    await writer.close()
    engine.dispose()


async def within(writer: Writer, function: Any) -> Any:
    def run(tx: Tx, rows: Sequence[None]) -> list[Any]:
        return [function(tx.connection) for _ in rows]

    return await writer(Write(run), None)


def row(word: str, number: int = 0, **more: Any) -> dict[str, Any]:
    return {"word": word, "number": number, "good": None, "seen_at": None, "sealed": None} | more


async def test_any_word_is_stored_found_and_changed(writer: Writer) -> None:
    at = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
    rows = [row(word, n, good=n % 2 == 0, seen_at=at, sealed=bytes(range(256))) for n, word in enumerate(AWKWARD)]
    await within(writer, lambda connection: INSERT.run(connection, rows))
    found = await within(writer, lambda connection: FIND.rows(connection, {"words": AWKWARD}))
    assert sorted((one.word, one.number, one.good, one.seen_at, bytes(one.sealed)) for one in found) == sorted(
        (one["word"], one["number"], one["good"], at, bytes(range(256))) for one in rows
    )
    changes = [{"at": word, "more": 100, "is_good": None, "now": None} for word in AWKWARD[:5]]
    await within(writer, lambda connection: CHANGE.run(connection, changes))
    found = await within(writer, lambda connection: FIND.rows(connection, {"words": AWKWARD}))
    assert {one.word for one in found if one.number >= 100} == set(AWKWARD[:5])
    assert {one.word for one in found if one.good is None and one.seen_at is None and one.sealed is None} == set(
        AWKWARD[:5]
    )


@pytest.mark.parametrize("many", [1, 3, 4, 16, 64, 101])
async def test_however_many_rows_each_goes_in_once(writer: Writer, many: int) -> None:
    rows = [row(f"{n:03}", n) for n in range(many)]
    await within(writer, lambda connection: INSERT.run(connection, rows[::3]))
    new = await within(writer, lambda connection: insert_new(connection, _words, rows, "word"))
    assert {one.word for one in new} == {one["word"] for one in rows} - {one["word"] for one in rows[::3]}
    assert await within(writer, lambda connection: insert_new(connection, _words, rows, "word")) == []


async def test_statements_run_in_the_order_they_are_sent_whoever_sends_them(writer: Writer) -> None:
    def through_both(connection: Any) -> list[int]:
        asked = [FIND.ask(connection, {"words": ["a"]})]
        INSERT.run(connection, [row("a", 1)])
        asked.append(FIND.ask(connection, {"words": ["a"]}))
        connection.execute(text("UPDATE words SET number = number * 10"))
        CHANGE.run(connection, [{"at": "a", "more": 5, "is_good": True, "now": None}])
        connection.execute(text("UPDATE words SET number = number * 10"))
        asked.append(FIND.ask(connection, {"words": ["a"]}))
        connection.execute(text("DELETE FROM words"))
        asked.append(FIND.ask(connection, {"words": ["a"]}))
        return [sum(one.number for one in question.rows()) for question in reversed(asked)]

    assert await within(writer, through_both) == [0, 150, 1, 0]


async def test_of_a_batch_only_the_culprit_fails(writer: Writer) -> None:
    def run(tx: Tx, words: Sequence[str]) -> list[str]:
        INSERT.run(tx.connection, [row(word) for word in words])
        return list(words)

    write: Write[str, str] = Write(run)
    words = ["a", "b", "a", "c"]
    outcomes = await asyncio.gather(*(writer(write, word) for word in words), return_exceptions=True)
    assert [str(one) for at, one in enumerate(outcomes) if at != 2] == ["a", "b", "c"]
    assert isinstance(outcomes[2], IntegrityError)
    assert "[parameters" not in str(outcomes[2])  # people said them
    found = await within(writer, lambda connection: FIND.words(connection, {"words": words}))
    assert found == ["a", "b", "c"]


async def test_what_the_database_cannot_store_harms_nothing_else(writer: Writer, database_url: str) -> None:
    def run(tx: Tx, words: Sequence[str]) -> list[None]:
        INSERT.run(tx.connection, [row(word) for word in words])
        return [None] * len(words)

    write: Write[str, None] = Write(run)
    outcomes = await asyncio.gather(*(writer(write, word) for word in ("a", "nul\0", "b")), return_exceptions=True)
    if not database_url.startswith("sqlite"):
        assert isinstance(outcomes[1], DataError)
    assert await within(writer, lambda connection: FIND.words(connection, {"words": ["a", "b"]})) == ["a", "b"]


async def test_a_connection_that_is_cut_within_a_transaction_is_replaced(writer: Writer, database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no connection that could be cut")
    tries = []

    def run(tx: Tx, words: Sequence[str]) -> list[None]:
        tries.append(len(words))
        INSERT.run(tx.connection, [row(word) for word in words])
        if len(tries) == 1:
            tx.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return [None] * len(words)

    await writer(Write(run), "a")
    assert tries == [1, 1]
    assert await within(writer, lambda connection: FIND.words(connection, {"words": ["a"]})) == ["a"]


async def test_a_connection_that_is_cut_again_and_again_is_told(writer: Writer, database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no connection that could be cut")

    def run(tx: Tx, words: Sequence[str]) -> list[None]:
        INSERT.run(tx.connection, [row(word) for word in words])
        tx.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return [None] * len(words)

    with pytest.raises(StoreUnavailable):
        await writer(Write(run), "a")
    assert await within(writer, lambda connection: FIND.words(connection, {"words": ["a"]})) == []


async def test_a_transaction_that_failed_unnoticed_counts_as_failed(writer: Writer, database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite goes on behind a statement that failed")

    def run(tx: Tx, words: Sequence[str]) -> list[None]:
        INSERT.run(tx.connection, [row(word) for word in words])
        with contextlib.suppress(ProgrammingError):
            tx.connection.execute(text("SELECT * FROM nowhere"))
        return [None] * len(words)

    with pytest.raises(RuntimeError, match="ROLLBACK"):
        await writer(Write(run), "a")
    assert await within(writer, lambda connection: FIND.words(connection, {"words": ["a"]})) == []
