"""Hints between nodes over PostgreSQL's NOTIFY: they only make the next beat come sooner, and may all be lost."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import text

from bridge.store.writer import Tx

CHANNEL: Final = "agent_bridge"
ANYBODY: Final = "*"
"""In place of a node: conversations were let go of, whoever is there may claim them."""

_NOTIFY = text("SELECT pg_notify(:channel, :nodes)")


def notify(tx: Tx, nodes: Collection[str]) -> None:
    """Hint these nodes once the transaction commits. One NOTIFY, since each takes a lock of the whole server."""
    if nodes and tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_NOTIFY, {"channel": CHANNEL, "nodes": " ".join(sorted(nodes))})
