"""How a writer's batches become transactions: on SQLite's file, and on PostgreSQL's server. Both run on the event loop.

A thread beside a busy loop gets the interpreter's lock back after milliseconds only, and the drivers let go of it with
every statement (measured: 250 ms for a batch on SQLite with 31 ms of work, 24 ms on PostgreSQL with 7).
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

Statements: TypeAlias = Callable[[Connection], None]

_TRANSIENT: Final = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # lock not available
    "23505",  # unique violation: another node stored the same at this moment, and it will be seen next time
}


_OF_ITS_OWN: Final = (IntegrityError, DataError, ProgrammingError, NotSupportedError)


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


def is_unavailable(error: DBAPIError) -> bool:
    """Whether this tells of the database's condition (away, full, taking no writes now), and not of a wrong statement.

    A server that takes no writes any more, since it was replaced, may answer for ever: a connection to it is of no use.
    """
    return error.connection_invalidated or not isinstance(error, _OF_ITS_OWN)


def is_transient(error: DBAPIError) -> bool:
    """Whether the same may succeed when it is tried again."""
    if error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) in _TRANSIENT or "locked" in str(error.orig)
