"""How a writer's batches become transactions: on SQLite's file, and on PostgreSQL's server. Both run on the event loop.

A thread beside a busy loop gets the interpreter's lock back after milliseconds only, and the drivers let go of it with
every statement (measured: 250 ms for a batch on SQLite with 31 ms of work, 24 ms on PostgreSQL with 7).
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeAlias

from sqlalchemy import URL, Connection, Engine, Transaction
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.engine import impatient, open_for_writing
from bridge.store.line import Pipe

Statements: TypeAlias = Callable[[Connection], None]

TRANSIENT: Final = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
LOCKED_SECONDS: Final = 15.0
_ON_FILE: Final = 64  # writes, some eight milliseconds of work: for so long the loop stands still
_ON_SERVER: Final = 256


class Transactions(Protocol):
    """One connection, one transaction at a time."""

    most: int
    """So many writes belong into one, at most."""

    async def run(self, statements: Statements, *, long: bool) -> None:
        """Run these and commit, or undo them and raise. `long`: they may touch very many rows."""

    async def disconnect(self) -> None:
        """Give the connection up; the next transaction opens another."""

    async def close(self) -> None:
        """No transaction follows."""


def is_transient(error: DBAPIError) -> bool:
    """Whether the same may succeed when it is tried again."""
    if error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) in TRANSIENT or "locked" in str(error.orig)


class OnFile:
    """SQLite: statements run on the loop, and only the commit, which waits for the disk, in a thread."""

    most = _ON_FILE

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-commit")
        self._connection: Connection | None = None

    async def run(self, statements: Statements, *, long: bool) -> None:
        """`long` ones run in the thread, too: the loop must not stand still for them."""
        connection = self._connected()
        transaction = await self._begun(connection)
        try:
            if long:
                await self._in_thread(statements, connection)
            else:
                statements(connection)
            await self._in_thread(transaction.commit)
        except Exception as error:
            transaction.rollback()  # also behind a commit that failed
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                await self.disconnect()
            raise

    async def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(DBAPIError):  # it may be broken, which is why it is closed
            if not connection.invalidated:
                connection.detach()  # no reader shall find it in the pool
            connection.close()

    async def close(self) -> None:
        await self.disconnect()
        self._thread.shutdown()

    async def _begun(self, connection: Connection) -> Transaction:
        """Nobody but us writes, yet a shell or a backup may hold the file for a moment; the loop must go on then."""
        until = self._loop.time() + LOCKED_SECONDS
        while True:
            try:
                return connection.begin()
            except OperationalError as error:
                if not is_transient(error) or self._loop.time() > until:
                    raise
            await asyncio.sleep(0.01)

    def _in_thread(self, function: Callable[..., None], *args: Any) -> asyncio.Future[None]:
        return self._loop.run_in_executor(self._thread, function, *args)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(begin="BEGIN IMMEDIATE")
            impatient(self._connection)
        return self._connection


class OnServer:
    """PostgreSQL: the loop waits for the server, and whatever needs no answer goes out with what does (see `Pipe`)."""

    most = _ON_SERVER

    def __init__(self, url: URL) -> None:
        self._engine = open_for_writing(url)
        self._connection: AsyncConnection | None = None

    async def run(self, statements: Statements, *, long: bool) -> None:  # noqa: ARG002 - the server does the work
        try:
            if self._connection is None:
                self._connection = await self._engine.connect()
            await self._connection.run_sync(_commit, statements)
        except (OperationalError, InterfaceError):
            await self.disconnect()  # whatever state it is in
            raise

    async def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(DBAPIError):  # it may be broken, which is why it is closed
            await connection.invalidate()
            await connection.close()

    async def close(self) -> None:
        await self.disconnect()
        await self._engine.dispose()


def _commit(connection: Connection, statements: Statements) -> None:
    pipe = Pipe.of(connection)
    pipe.send(connection, "BEGIN")
    try:
        statements(connection)
        pipe.send(connection, "COMMIT")
        pipe.flush(connection)
    except Exception:
        _undo(connection, pipe)
        raise
    connection.commit()  # SQLAlchemy counts a transaction of its own, where it was used


def _undo(connection: Connection, pipe: Pipe) -> None:
    with contextlib.suppress(DBAPIError):  # what went wrong first is what counts
        if not connection.invalidated:
            pipe.roll_back(connection)
        connection.rollback()
