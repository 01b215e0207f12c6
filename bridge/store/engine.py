"""Opens the database: what SQLite and PostgreSQL need before the same statements run on both."""

import sqlite3
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import QueuePool

from bridge.errors import ConfigError

_EXAMPLE: Final = '"postgresql://user:password@host:5432/db", with %40 for an @ in the password'
_PATIENCE: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
}
"""A server that is gone without a word, with its machine or with the way to it, is given up within half a minute. By
itself the system waits for a quarter of an hour or two, and whatever waits for a commit with it. One that takes no
writes, as the old one after a failover while its name still leads there, is no server. A URL may say more.
"""
MIN_SQLITE = (3, 35)  # RETURNING
CACHE_KIB: Final = 2 * 1024
"""For each of five connections. More only repeats what the system's own cache holds: with 300 and 800 MB an accept
took the same processor time with 2, 8 and 16 MB, and a tenth more with 64."""


def open_engine(database_url: str) -> Engine:
    """An engine for `sqlite:///…` or `postgresql://…`. Nothing is connected yet. Raises ConfigError."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):  # its words may repeat a part of the password
        raise ConfigError([f"bridge.database_url: cannot be read as an address; for example {_EXAMPLE}"]) from None
    if url.get_backend_name() == "sqlite":
        return _sqlite(database_url)
    try:
        return _postgresql(url)
    except ModuleNotFoundError as error:
        needs = "PostgreSQL needs the extra `postgres`: pip install 'agent-bridge[postgres]'"
        raise ConfigError([f"bridge.database_url: {needs} ({error})"]) from error


def takes_writes(connection: Connection) -> bool:
    """Whether the database would take a write now. A connection to a server that would not is given up."""
    if connection.dialect.name == "sqlite":
        return bool(connection.exec_driver_sql("SELECT 1").scalar_one())
    if connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "off":
        return True
    connection.invalidate()
    return False


def is_sqlite(engine: Engine) -> bool:
    """Whether one process owns the whole database."""
    return engine.dialect.name == "sqlite"


def _postgresql(url: URL) -> Engine:
    patient = url.update_query_dict({name: value for name, value in _PATIENCE.items() if name not in url.query})
    engine = create_engine(
        patient.set(drivername="postgresql+psycopg"), poolclass=QueuePool, pool_size=4, pool_pre_ping=True
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        is_direct(connection, connection)
        connection.rollback()

    return engine


def is_direct(connection: Any, driver: Any) -> bool:
    """Whether PostgreSQL itself is at the other end, and no pooler."""
    cursor = connection.cursor()
    cursor.execute(BACKEND)
    (pid,) = cursor.fetchone()
    direct: bool = pid == driver.info.backend_pid
    if not direct:
        # The next transaction may run where a statement that was prepared here is unknown.
        driver.prepare_threshold = None
    return direct


BACKEND: Final = "SELECT pg_backend_pid()"
"""Behind a pooler it differs from what the connection was told at its start: that was the pooler's word."""


def _sqlite(database_url: str) -> Engine:
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed.")
    engine = create_engine(
        database_url, poolclass=QueuePool, pool_size=5, connect_args={"check_same_thread": False, "timeout": 5}
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver's guess
        # auto_vacuum first: it counts only before the file has its first page
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"cache_size=-{CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # straight to the driver: every transaction begins here
        begin = connection.get_execution_options().get("begin", "BEGIN")
        try:
            connection.connection.driver_connection.execute(begin)
        except sqlite3.Error as error:
            raise OperationalError(begin, None, error) from error  # SQLAlchemy wraps what it executes itself only

    return engine


def impatient(connection: Connection) -> None:
    """Let SQLite say at once that the file is locked, for as long as the connection is open."""
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout=0")
