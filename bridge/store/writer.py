"""The one way to write: small functions, many to a transaction.

On PostgreSQL a thread runs them, because each statement waits for the network. On SQLite they run on the loop and only
the commit, which waits for the disk, goes to a thread: the driver lets go of the interpreter's lock for each statement,
and beside a busy loop a thread gets it back after milliseconds only (measured: 250 ms for a batch with 31 ms of work;
a turn costs a fifth less, and its acknowledgement waits a tenth as long).

No future resolves before its commit, so whatever waits for a write is durable when it goes on.
There is no linger: a batch is what came in while the last commit ran, so an idle store answers
after one commit and a busy one shares each commit among all that wait (measured: 12x at 64
clients on SQLite, 43x where an fsync takes 2 ms).
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, Transaction
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from bridge.errors import Replaced, StoreUnavailable
from bridge.model import Lease
from bridge.store.engine import impatient
from bridge.store.leases import Held, lock

A = TypeVar("A")
R = TypeVar("R")

BATCH = 256
BATCH_INLINE = 64  # some eight milliseconds of work, for so long the loop stands still
LOCKED_SECONDS = 15.0
TRIES = 3
SURELY_DOWN = 3  # so many writes in a row that could not commit: the rest of the batch is not tried one by one
TRANSIENT = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available


@dataclass(slots=True)
class Tx:
    """One transaction, shared by every write of a batch."""

    connection: Connection
    now: datetime
    node: str
    held: dict[str, Held] = field(default_factory=dict)

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still ours; its conversation row is locked until the commit."""
        row = self.held.get(lease.conversation_id)
        return row is not None and row.owner == self.node and row.epoch == lease.epoch


@dataclass(frozen=True, slots=True)
class Write(Generic[A, R]):
    """A kind of write: `run(tx, rows)` gets all rows of its kind in a batch and answers each, in order.

    With `lease`, the conversation rows are locked first, in the order of their ids, and rows whose
    lease is lost never reach `run`: their callers get `Replaced`. `conversation` names a row to be
    locked likewise by a write that needs no lease.
    """

    run: Callable[[Tx, Sequence[A]], Sequence[R]]
    lease: Callable[[A], Lease] | None = None
    conversation: Callable[[A], str] | None = None
    long: bool = False
    """It may touch very many rows, so the loop must not stand still for it."""

    def locks(self, args: A) -> str | None:
        """The conversation whose row is locked before anything else happens."""
        if self.lease is not None:
            return self.lease(args).conversation_id
        return self.conversation(args) if self.conversation is not None else None


@dataclass(slots=True)
class _Waiting:
    write: Write[Any, Any]
    args: Any
    future: asyncio.Future[Any]
    outcome: Any = None


class Writer:
    """One connection, one batch at a time. Make it inside a running event loop; `close` waits for what is queued."""

    def __init__(self, engine: Engine, *, node: str, now: Callable[[], datetime], name: str) -> None:
        self._engine = engine
        self._inline = engine.dialect.name == "sqlite"
        self._node = node
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._urgent: deque[_Waiting] = deque()
        self._queue: deque[_Waiting] = deque()
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, write: Write[A, R], args: A) -> R:
        """Run one write and return its result after the commit.

        Raises StoreUnavailable if the database cannot commit (nothing is stored), Replaced if the
        lease is lost, and whatever the write raised for these very args.
        """
        return await self._queued(self._queue, write, args)

    async def urgently(self, write: Write[A, R], args: A) -> R:
        """The same, before all else that waits: for what somebody outside waits for."""
        return await self._queued(self._urgent, write, args)

    async def _queued(self, queue: deque[_Waiting], write: Write[A, R], args: A) -> R:
        future: asyncio.Future[R] = self._loop.create_future()
        queue.append(_Waiting(write, args, future))
        if self._work is None:
            # in a context of its own: what is bound to the lines of whoever came first concerns nobody else
            self._work = self._loop.create_task(self._until_idle(), name="writer", context=Context())
        return await future

    def waiting(self) -> int:
        """How many writes wait for the next batch."""
        return len(self._urgent) + len(self._queue)

    async def close(self) -> None:
        """Finish what is queued, then end the thread and the connection."""
        while self._work is not None:
            await self._work
        self._disconnect()
        self._thread.shutdown()

    async def _until_idle(self) -> None:
        try:
            while batch := self._next():
                await self._survive(batch)
                _resolve(batch)
                await asyncio.sleep(0)  # whoever waited writes on, into the next batch
        finally:
            self._work = None

    def _next(self) -> list[_Waiting]:
        most = BATCH_INLINE if self._inline else BATCH
        batch: list[_Waiting] = []
        # a quarter is left for the rest, or a flood of arrivals would keep this node from its heartbeat
        for queue, until in ((self._urgent, most * 3 // 4), (self._queue, most), (self._urgent, most)):
            while queue and len(batch) < until:
                batch.append(queue.popleft())
        return batch

    async def _survive(self, batch: list[_Waiting]) -> None:
        """Whatever goes wrong, callers are told: nobody would ever answer them else."""
        try:
            await self._run(batch)
        except Exception as error:  # noqa: BLE001 - a defect of ours; the next batch may do better
            for waiting in batch:
                waiting.outcome = error
            self._disconnect()

    async def _run(self, batch: list[_Waiting]) -> None:
        """Commit the whole batch, or, where it fails for good, each write by itself: only the culprit fails."""
        error = await self._attempt(batch)
        if error is None:
            return
        if len(batch) == 1:
            batch[0].outcome = error
            return
        down = 0
        for waiting in batch:
            if down < SURELY_DOWN:
                error = await self._attempt([waiting])
                down = down + 1 if isinstance(error, StoreUnavailable) else 0
            waiting.outcome = error or waiting.outcome

    async def _attempt(self, batch: list[_Waiting]) -> Exception | None:
        for number in itertools.count(1):
            try:
                await self._commit(batch)
            except (OperationalError, InterfaceError) as error:
                self._disconnect_if_broken(error)
                if number >= TRIES or not _is_transient(error):
                    return StoreUnavailable(f"The database cannot commit: {error.orig}")
            except Exception as error:  # noqa: BLE001 - the writer must survive a batch; its callers get the error
                return error
            else:
                return None
        raise AssertionError("unreachable")

    async def _commit(self, batch: list[_Waiting]) -> None:
        if not self._inline:
            await self._in_thread(self._whole, batch)
            return
        connection = self._connected()
        transaction = await self._begun(connection)
        try:
            if any(waiting.write.long for waiting in batch):
                await self._in_thread(self._statements, connection, batch)
            else:
                self._statements(connection, batch)
            await self._in_thread(transaction.commit)
        except Exception:
            transaction.rollback()  # also behind a commit that failed
            raise

    async def _begun(self, connection: Connection) -> Transaction:
        """Nobody but us writes, yet a shell or a backup may hold the file for a moment; the loop must go on then."""
        until = self._loop.time() + LOCKED_SECONDS
        while True:
            try:
                return connection.begin()
            except OperationalError as error:
                if not _is_transient(error) or self._loop.time() > until:
                    raise
            await asyncio.sleep(0.01)

    def _whole(self, batch: list[_Waiting]) -> None:
        connection = self._connected()
        with connection.begin():
            self._statements(connection, batch)

    def _statements(self, connection: Connection, batch: list[_Waiting]) -> None:
        tx = Tx(connection, self._now(), self._node)
        wanted = {w.write.locks(w.args) for w in batch}
        tx.held = lock(connection, {conversation_id for conversation_id in wanted if conversation_id})
        for write, group in _by_kind(batch):
            _apply(tx, write, group)

    def _in_thread(self, function: Callable[..., None], *args: Any) -> asyncio.Future[None]:
        return self._loop.run_in_executor(self._thread, function, *args)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(begin="BEGIN IMMEDIATE")
            if self._inline:
                impatient(self._connection)
        return self._connection

    def _disconnect_if_broken(self, error: DBAPIError) -> None:
        if error.connection_invalidated or self._engine.dialect.name != "sqlite":
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(DBAPIError):  # it may be broken, which is why it is closed
            if not connection.invalidated:
                connection.detach()  # no reader shall find it in the pool
            connection.close()


def _by_kind(batch: Iterable[_Waiting]) -> Iterable[tuple[Write[Any, Any], list[_Waiting]]]:
    groups: dict[int, tuple[Write[Any, Any], list[_Waiting]]] = {}
    for waiting in batch:
        groups.setdefault(id(waiting.write), (waiting.write, []))[1].append(waiting)
    return groups.values()


def _apply(tx: Tx, write: Write[Any, Any], group: list[_Waiting]) -> None:
    if write.lease is not None:
        for waiting in group:
            waiting.outcome = None if tx.holds(write.lease(waiting.args)) else Replaced()
        group = [waiting for waiting in group if waiting.outcome is None]
        if not group:
            return
    for waiting, outcome in zip(group, write.run(tx, [w.args for w in group]), strict=True):
        waiting.outcome = outcome


def _resolve(batch: Sequence[_Waiting]) -> None:
    for waiting in batch:
        if waiting.future.done():  # its caller was cancelled; the write stands
            continue
        if isinstance(waiting.outcome, Exception):
            waiting.future.set_exception(waiting.outcome)
        else:
            waiting.future.set_result(waiting.outcome)


def _is_transient(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) in TRANSIENT or "locked" in str(error.orig)
