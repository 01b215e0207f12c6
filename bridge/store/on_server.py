"""Transactions on PostgreSQL's server. The loop waits for it, and what needs no answer goes out with what does."""

import asyncio
import contextlib
from typing import Any, Final

from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from bridge.store.engine import is_direct
from bridge.store.line import Pipe
from bridge.store.transactions import Statements, is_unavailable

_MOST: Final = 256
_OPENING: Final = "opening"
_DIRECT: Final = ("BEGIN",)
_POOLED: Final = ("BEGIN", "SELECT set_config('idle_in_transaction_session_timeout', '4s', true)")
_PROMPTLY: Final = "SELECT set_config('idle_in_transaction_session_timeout', '4s', false)"
"""A node that freezes, or loses its way to the server, in the middle of a transaction holds rows that arrivals at other
nodes wait for. By then its leases are over, too. By itself the server waits for hours, or for ever.
"""
_BY_INDEX: Final = "SELECT " + ", ".join(
    f"set_config('enable_{plan}', 'off', false)" for plan in ("seqscan", "hashjoin", "mergejoin")
)
"""A prepared statement keeps the plan it was given on its first calls. Made when a table was nearly empty, that would
read the whole of it for each batch until the next ANALYZE; every statement of a writer has an index to go by."""


class OnServer:
    """One connection, opened when it is first needed, and anew whenever something went wrong with it."""

    most = _MOST

    def __init__(self, url: URL) -> None:
        self._engine = _engine(url)
        self._connection: AsyncConnection | None = None

    async def run(self, statements: Statements, *, long: bool) -> None:  # noqa: ARG002 - the server does the work
        try:
            if self._connection is None:
                self._connection = await self._engine.connect()
            await self._connection.run_sync(_commit, statements)
        except (DBAPIError, asyncio.CancelledError) as error:
            if not isinstance(error, DBAPIError) or is_unavailable(error):
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
    for opening in connection.info[_OPENING]:
        pipe.send(connection, opening)
    try:
        statements(connection)
        told = pipe.send(connection, "COMMIT").told()
    except Exception:
        _undo(connection, pipe)
        raise
    connection.commit()  # SQLAlchemy counts a transaction of its own, where it was used
    if told != "COMMIT":  # a statement had failed, and somebody took no notice
        raise RuntimeError(f"The server answered COMMIT with {told}.")


def _undo(connection: Connection, pipe: Pipe) -> None:
    with contextlib.suppress(DBAPIError):  # what went wrong first is what counts
        if not connection.invalidated:
            pipe.roll_back(connection)
        connection.rollback()


def _engine(url: URL) -> AsyncEngine:
    """Its connections are driven by the event loop, each with a pipe, and none is kept in a pool."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    sync = engine.sync_engine

    @event.listens_for(sync, "connect")
    def _connected(connection: Any, record: Any) -> None:
        Pipe.lay(connection, record.info)
        record.info[_OPENING] = _POOLED
        if is_direct(connection, connection.driver_connection):
            record.info[_OPENING] = _DIRECT
            connection.cursor().execute(_BY_INDEX)
            connection.cursor().execute(_PROMPTLY)
        connection.commit()

    @event.listens_for(sync, "before_cursor_execute")
    def _before(connection: Connection, *_: object) -> None:
        Pipe.of(connection).flush(connection)  # what was prepared and sent before this comes before it

    return engine
