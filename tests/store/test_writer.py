"""The writer alone: what goes first, where it runs, and what it does while somebody else holds the file."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from bridge.clock import SystemClock
from bridge.store.engine import is_sqlite, open_engine
from bridge.store.on_file import OnFile
from bridge.store.on_server import OnServer
from bridge.store.transactions import Transactions
from bridge.store.writer import Tx, Write, Writer


@pytest.fixture
async def transactions(database_url: str) -> AsyncIterator[Transactions]:
    engine = open_engine(database_url)
    yield OnFile(engine) if is_sqlite(engine) else OnServer(engine.url)
    engine.dispose()


@pytest.fixture
async def writer(transactions: Transactions) -> AsyncIterator[Writer]:
    writer = Writer(transactions, node="nod_1", now=SystemClock().now)
    yield writer
    await writer.close()


async def test_what_somebody_waits_for_goes_first_and_leaves_a_quarter(
    writer: Writer, transactions: Transactions
) -> None:
    batches: list[list[str]] = []

    def run(_tx: Tx, rows: Sequence[str]) -> list[None]:
        batches.append(list(rows))
        return [None for _ in rows]

    write: Write[str, None] = Write(run)
    most = transactions.most
    rest = [asyncio.create_task(writer(write, "rest")) for _ in range(most)]
    urgent = [asyncio.create_task(writer.urgently(write, "urgent")) for _ in range(2 * most)]
    await asyncio.gather(*rest, *urgent)
    full = [batch for batch in batches if len(batch) == most]
    assert full[0] == ["urgent"] * (most * 3 // 4) + ["rest"] * (most // 4)
    assert sum(map(len, batches)) == 3 * most


async def test_only_what_is_long_leaves_the_loop_and_only_on_sqlite(writer: Writer, transactions: Transactions) -> None:
    def run(_tx: Tx, rows: Sequence[int]) -> list[int]:
        return [threading.get_ident() for _ in rows]

    here = threading.get_ident()
    assert await writer(Write(run), 1) == here
    assert (await writer(Write(run, long=True), 1) == here) is isinstance(transactions, OnServer)


async def test_what_is_queued_is_written_before_the_end(transactions: Transactions) -> None:
    writer = Writer(transactions, node="nod_1", now=SystemClock().now)
    written: list[int] = []

    def run(_tx: Tx, rows: Sequence[int]) -> list[None]:
        written.extend(rows)
        return [None for _ in rows]

    write: Write[int, None] = Write(run)
    tasks = [asyncio.create_task(writer(write, number)) for number in range(1000)]
    await asyncio.sleep(0)
    await writer.close()
    await asyncio.gather(*tasks)
    assert written == list(range(1000))


@pytest.mark.parametrize("long", [False, True])
async def test_the_loop_goes_on_while_somebody_else_holds_the_file(tmp_path: Path, *, long: bool) -> None:
    path = tmp_path / "bridge.db"
    engine = open_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE said (word TEXT)"))
    writer = Writer(OnFile(engine), node="nod_1", now=SystemClock().now)

    def run(tx: Tx, rows: Sequence[str]) -> list[None]:
        tx.connection.execute(text("INSERT INTO said VALUES (:word)"), [{"word": word} for word in rows])
        return [None for _ in rows]

    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(writer(Write(run, long=long), "hello"))
    rounds = 0
    async with asyncio.timeout(5):
        while rounds < 20:
            await asyncio.sleep(0.01)
            rounds += 1
        assert not waiting.done()
        other.execute("COMMIT")
        await waiting
    assert other.execute("SELECT word FROM said").fetchall() == [("hello",)]
    other.close()
    await writer.close()
    engine.dispose()
