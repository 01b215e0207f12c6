"""Hints between nodes over PostgreSQL's NOTIFY: they only make the next beat come sooner, and may all be lost."""

from collections.abc import AsyncGenerator, Collection
from typing import Final

from sqlalchemy import Engine, text

from bridge.errors import StoreUnavailable
from bridge.store.writer import Tx

CHANNEL: Final = "agent_bridge"
ANYBODY: Final = "*"
"""In place of a node: conversations were let go of, whoever is there may claim them."""

_NOTIFY = text("SELECT pg_notify(:channel, :nodes)")


def notify(tx: Tx, nodes: Collection[str]) -> None:
    """Hint these nodes once the transaction commits. One NOTIFY, since each takes a lock of the whole server."""
    if nodes and tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_NOTIFY, {"channel": CHANNEL, "nodes": " ".join(sorted(nodes))})


async def hints(engine: Engine) -> AsyncGenerator[frozenset[str]]:
    """The nodes each hint names, as they come in; first an empty one, once it listens: what was before is unknown.

    Needs a connection of its own for as long as it is read, and PostgreSQL itself at the other end: through a
    pooler that lends connections for a transaction nothing ever comes. Raises StoreUnavailable when it breaks.
    """
    import psycopg  # noqa: PLC0415 - comes with the extra `postgres` only

    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=5, keepalives_idle=15, keepalives_interval=5, keepalives_count=3
        ) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            yield frozenset()
            async for notice in connection.notifies():
                yield frozenset(notice.payload.split())
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"The database's hints cannot be heard: {error}") from error
