"""Raw requests that an operator wants to look at: the newest of each source, nothing else is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select

from bridge.model import new_id
from bridge.store.tables import captures
from bridge.store.writer import Tx, Write

NEWEST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One request with its answer, encrypted."""

    source: str
    sealed: bytes
    created_at: datetime


def _capture(tx: Tx, rows: Sequence[Captured]) -> list[None]:
    """Keep these, and forget what is older than the newest of their sources."""
    values = [
        {"id": new_id("cap"), "source": row.source, "sealed": row.sealed, "created_at": row.created_at} for row in rows
    ]
    tx.connection.execute(captures.insert(), values)
    for source in sorted({row.source for row in rows}):
        tx.connection.execute(_FORGET, {"of": source})
    return [None] * len(rows)


_FORGET = delete(captures).where(
    captures.c.source == bindparam("of"),
    captures.c.id.not_in(
        select(captures.c.id)
        .where(captures.c.source == bindparam("of"))
        .order_by(captures.c.created_at.desc(), captures.c.id.desc())
        .limit(NEWEST)
    ),
)

CAPTURE: Write[Captured, None] = Write(_capture)


def captured(connection: Connection, source: str) -> list[Captured]:
    """What is kept of a source, newest first."""
    query = (
        select(captures).where(captures.c.source == source).order_by(captures.c.created_at.desc(), captures.c.id.desc())
    )
    return [
        Captured(source=row.source, sealed=row.sealed, created_at=row.created_at) for row in connection.execute(query)
    ]
