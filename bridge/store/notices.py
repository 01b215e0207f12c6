"""Hints between nodes over PostgreSQL's NOTIFY: they only make the next beat come sooner, and may all be lost."""

from collections.abc import AsyncGenerator, Collection
from typing import Final

from sqlalchemy import text

from bridge.errors import StoreUnavailable
from bridge.store.engine import BACKEND
from bridge.store.writer import Tx

CHANNEL: Final = "agent_bridge"
ANYBODY: Final = "*"
"""In place of a node: conversations were let go of, whoever is there may claim them."""

_NOTIFY = text("SELECT pg_notify(:channel, :nodes)")


class Deaf(StoreUnavailable):
    """Through a pooler nothing ever comes; worse, it would listen with a connection that others are lent."""


def notify(tx: Tx, nodes: Collection[str]) -> None:
    """Hint these nodes once the transaction commits. One NOTIFY, since each takes a lock of the whole server."""
    if nodes and tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_NOTIFY, {"channel": CHANNEL, "nodes": " ".join(sorted(nodes))})


async def hints(url: str) -> AsyncGenerator[frozenset[str]]:
    """The nodes each hint names, as they come in; first an empty one, once it listens: what was before is unknown.

    Needs a connection of its own for as long as it is read, and PostgreSQL itself at the other end. Raises Deaf
    where that is a pooler, StoreUnavailable when it breaks.
    """
    import psycopg  # noqa: PLC0415 - comes with the extra `postgres` only

    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=5, keepalives_idle=15, keepalives_interval=5, keepalives_count=3
        ) as connection:
            (pid,) = await (await connection.execute(BACKEND)).fetchone() or (None,)
            if pid != connection.info.backend_pid:
                raise Deaf("The database is reached through a pooler, where no hint can be heard.")
            await connection.execute(f"LISTEN {CHANNEL}")
            yield frozenset()
            async for notice in connection.notifies():
                yield frozenset(notice.payload.split())
    except psycopg.Error as error:
        raise StoreUnavailable(f"The database's hints cannot be heard: {error}") from error
