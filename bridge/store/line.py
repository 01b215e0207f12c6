"""How prepared statements reach the driver: each at once, or, on PostgreSQL's own line, several in one round trip."""

from collections.abc import Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

Values: TypeAlias = Sequence[Any]

_PIPE: Final = "pipe"


class Sent(Protocol):
    """A statement that was handed over; it has run, in its order, once anything is asked of it."""

    def rows(self) -> list[Any]:
        """What it found or returned."""

    def count(self) -> int:
        """How many rows it touched."""


class Line(Protocol):
    """Runs statements in the order they are sent in. Its errors come out as SQLAlchemy's."""

    def send(self, connection: Connection, sql: str, values: Values | None = None) -> Sent:
        """Run it now, or as soon as an answer is wanted."""


def line(connection: Connection) -> Line:
    """Where this connection's statements go."""
    return connection.info.get(_PIPE) or _DIRECT


class _Done:
    """Ran already."""

    __slots__ = ("_count", "_rows")

    def __init__(self, cursor: Any) -> None:
        self._rows: list[Any] = cursor.fetchall() if cursor.description else []
        self._count: int = cursor.rowcount

    def rows(self) -> list[Any]:
        return self._rows

    def count(self) -> int:
        return self._count


class _Direct:
    """One after the other, each answered before the next: nothing is gained by waiting where no network is."""

    def send(self, connection: Connection, sql: str, values: Values | None = None) -> _Done:
        with translated(connection, sql):
            return _Done(connection.connection.driver_connection.execute(sql, values or ()))  # type: ignore[union-attr]


_DIRECT: Final = _Direct()


class _Underway:
    """Waits with the others until somebody wants an answer."""

    __slots__ = ("_connection", "_pipe", "cursor", "found", "sql", "values")

    def __init__(self, pipe: "Pipe", connection: Connection, sql: str, values: Values | None) -> None:
        self._pipe = pipe
        self._connection = connection
        self.sql = sql
        self.values = values
        self.cursor: Any = None
        self.found: list[Any] = []

    def rows(self) -> list[Any]:
        self._arrive()
        return self.found

    def count(self) -> int:
        self._arrive()
        return int(self.cursor.rowcount)

    def told(self) -> str | None:
        """What the server says that it did."""
        self._arrive()
        status: str | None = self.cursor.statusmessage
        return status

    def _arrive(self) -> None:
        if self.cursor is None:
            self._pipe.flush(self._connection)


class Pipe:
    """PostgreSQL's pipeline: what is sent waits for the next answer somebody wants, then all of it shares a round trip.

    For a connection that is driven by the event loop, from within SQLAlchemy's greenlet. Beside a busy loop each wait
    costs a round of it (measured: 5 ms for a transaction of eight statements instead of 19).
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._waiting: list[_Underway] = []

    @classmethod
    def lay(cls, dbapi_connection: Any, info: dict[Any, Any]) -> None:
        """Let everything prepared go through a pipe on this connection."""
        info[_PIPE] = cls(dbapi_connection.driver_connection)

    @classmethod
    def of(cls, connection: Connection) -> "Pipe":
        """The one that was laid on this connection."""
        pipe: Pipe = connection.info[_PIPE]
        return pipe

    def send(self, connection: Connection, sql: str, values: Values | None = None) -> _Underway:
        """Put it at the end of what waits."""
        sent = _Underway(self, connection, sql, values)
        self._waiting.append(sent)
        return sent

    def flush(self, connection: Connection) -> None:
        """Send what waits and wait for all of it."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            with translated(connection, *[sent.sql for sent in waiting]):
                await_only(self._answered(waiting))

    def roll_back(self, connection: Connection) -> None:
        """Forget what waits; undo what ran since the last commit."""
        self._waiting.clear()
        with translated(connection, "ROLLBACK"):
            await_only(self._driver.rollback())

    async def _answered(self, waiting: Sequence[_Underway]) -> None:
        if len(waiting) == 1:
            cursors = [await self._driver.execute(waiting[0].sql, waiting[0].values)]
        else:
            async with self._driver.pipeline() as pipeline:
                pipeline._exit_gen = partial(_leave, pipeline)  # noqa: SLF001 - see there
                cursors = [await self._driver.execute(sent.sql, sent.values) for sent in waiting]
        for sent, cursor in zip(waiting, cursors, strict=True):
            sent.found = await cursor.fetchall() if cursor.description else []
            sent.cursor = cursor


def _leave(pipeline: Any) -> Iterator[Any]:
    """End a pipeline with a Sync and nothing behind it.

    The driver's own way asks for what that flushes anyway, and to the server a client who has just asked for something
    is not idle: it would wait for one that is gone, with all its locks, for ever.
    """
    try:
        pipeline._enqueue_sync()  # noqa: SLF001 - there is no public way
        yield from pipeline._communicate_gen()  # noqa: SLF001
    finally:
        yield from pipeline._fetch_gen(flush=False)  # noqa: SLF001


class translated:  # noqa: N801 - reads like the context manager it is
    """The driver's errors come out as SQLAlchemy's, without the values: people said them."""

    __slots__ = ("_connection", "_statements")

    def __init__(self, connection: Connection, *statements: str) -> None:
        self._connection = connection
        self._statements = statements

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, dialect = self._connection, self._connection.dialect
        if not isinstance(error, dialect.loaded_dbapi.Error):
            return
        broken = dialect.is_disconnect(error, connection.connection.driver_connection, None)
        if broken:
            connection.invalidate(error)
        raise DBAPIError.instance(
            "; ".join(self._statements),
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=broken,
            dialect=dialect,
        ) from error
