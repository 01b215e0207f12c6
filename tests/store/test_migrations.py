"""Several nodes of a new version start at the same moment, against a database that is behind."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text

from bridge.errors import StoreUnavailable
from bridge.store.engine import open_engine
from bridge.store.migrations import _ADVISORY_LOCK, is_behind, migrate
from tests.conftest import named


@pytest.fixture
def empty_database(postgres: str) -> str:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS empty_bridge")
        connection.execute("CREATE DATABASE empty_bridge")
    return named(postgres, "empty_bridge")


async def test_of_two_nodes_one_migrates_and_the_other_finds_it_done(empty_database: str) -> None:
    engines = [open_engine(empty_database) for _ in range(2)]
    done = await asyncio.gather(*(asyncio.to_thread(migrate, engine) for engine in engines))
    assert sorted(done) == [False, True]
    for engine in engines:
        assert not is_behind(engine)
        engine.dispose()


def somebody_waits(connection: Connection) -> bool:
    return bool(connection.execute(text(_SOMEBODY_WAITS)).scalar_one())


async def test_a_migration_under_way_is_waited_for_however_long_it_takes(empty_database: str) -> None:
    engine = open_engine(empty_database)
    with engine.begin() as at_work:
        at_work.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        waiting = asyncio.create_task(asyncio.to_thread(migrate, engine, patience="1ms"))
        while not (waiting.done() or await asyncio.to_thread(somebody_waits, at_work)):
            continue
    assert await waiting
    engine.dispose()


_SOMEBODY_WAITS = """
    SELECT EXISTS (
        SELECT 1 FROM pg_locks
        WHERE locktype = 'advisory' AND NOT granted AND waitstart < clock_timestamp() - interval '50 milliseconds'
    )
"""


def test_a_database_of_a_newer_version_is_told_in_a_sentence(tmp_path: Path, empty_database: str) -> None:
    for database_url in (f"sqlite:///{tmp_path}/bridge.db", empty_database):
        engine = open_engine(database_url)
        migrate(engine)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for look in (is_behind, migrate):
            with pytest.raises(StoreUnavailable, match="newer version"):
                look(engine)
        engine.dispose()
