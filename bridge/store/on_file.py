"""Transactions on SQLite's file: statements run on the loop, only the commit, which waits for the disk, in a thread."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import Connection, Engine, Transaction
from sqlalchemy.exc import DBAPIError, OperationalError

from bridge.store.engine import impatient
from bridge.store.transactions import Statements, is_transient

LOCKED_SECONDS: Final = 15.0
_MOST: Final = 64  # writes, some eight milliseconds of work: for so long the loop stands still


class OnFile:
    """The one connection that writes; readers have their own."""

    most = _MOST

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
