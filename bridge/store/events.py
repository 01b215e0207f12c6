"""Task events that callers asked for: numbered in their turn, stored before they are sent, so any node can resume."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from bridge.model import Lease
from bridge.store.leases import is_of
from bridge.store.tables import LIVE_TURN_STATES, events, turns
from bridge.store.writer import Tx, Write

RESTARTED = "restarted"
PAGE = 500
_LIVE = ("queued", "running", "paused")


@dataclass(frozen=True, slots=True)
class Happened:
    """One event that is not numbered yet."""

    type: str
    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """What happened in a running turn."""

    lease: Lease
    turn_id: str
    events: tuple[Happened, ...]
    begins: bool
    """The first of one call to the agent: where there are events of an earlier call, `restarted` goes before it."""
    cursor: str | None = None
    """Where the agent's own stream goes on behind these events."""
    follows: int | None = None
    """The number of the newest event before them, where it is known: none of them is stored twice then."""


def _append(tx: Tx, rows: Sequence[Append]) -> list[int]:
    """Number and store them; tells each newest number. A turn that is over gets no more: its end is its last event."""
    ids = [row.turn_id for row in rows]
    heads: dict[str, int] = {row.id: row.seq for row in tx.connection.execute(_HEADS, {"ids": ids})}
    values = [value for row in rows if row.turn_id in heads for value in _numbered(row, heads, tx)]
    if values:
        tx.connection.execute(events.insert(), values)
    if places := [{"at": row.turn_id, "cursor": row.cursor} for row in rows if row.turn_id in heads]:
        tx.connection.execute(_PLACED, places)
    return [heads.get(row.turn_id, row.follows or 0) for row in rows]


def _numbered(row: Append, heads: dict[str, int], tx: Tx) -> Iterable[dict[str, Any]]:
    head = heads[row.turn_id]
    follows = head if row.follows is None else row.follows
    told = (Happened(RESTARTED, None), *row.events) if row.begins and follows > 0 else row.events
    for each in told[head - follows :]:  # those before went in already, in a transaction whose answer was lost
        heads[row.turn_id] += 1
        yield {
            "turn_id": row.turn_id,
            "seq": heads[row.turn_id],
            "type": each.type,
            "data": json.dumps(each.data, ensure_ascii=False, default=str),
            "created_at": tx.now,
        }


_PLACED = update(turns).where(turns.c.id == bindparam("at")).values(event_cursor=bindparam("cursor"))

_HEADS = (
    select(turns.c.id, func.coalesce(func.max(events.c.seq), 0).label("seq"))
    .outerjoin(events, events.c.turn_id == turns.c.id)
    .where(turns.c.id.in_(bindparam("ids", expanding=True)), turns.c.state == "running")
    .group_by(turns.c.id)
)

APPEND: Write[Append, int] = Write(_append, lease=lambda row: row.lease)


def _listen(tx: Tx, rows: Sequence[str]) -> list[None]:
    """Somebody wants the events of these turns, whichever node runs them."""
    tx.connection.execute(_LISTENED, {"ids": sorted(set(rows))})
    return [None] * len(rows)


_LISTENED = (
    update(turns)
    .where(turns.c.id.in_(bindparam("ids", expanding=True)), turns.c.state.in_(_LIVE), ~turns.c.listened)
    .values(listened=True)
)

LISTEN: Write[str, None] = Write(_listen)


@dataclass(frozen=True, slots=True)
class Event:
    """One stored event."""

    seq: int
    type: str
    data: str
    """JSON."""


def after(connection: Connection, turn_id: str, seq: int) -> list[Event]:
    """The events behind `seq`, oldest first, a page at most."""
    query = (
        select(events.c.seq, events.c.type, events.c.data)
        .where(events.c.turn_id == turn_id, events.c.seq > seq)
        .order_by(events.c.seq)
        .limit(PAGE)
    )
    return [Event(*row) for row in connection.execute(query)]


def last_seq(connection: Connection, turn_id: str) -> int:
    """The number of the newest event, 0 where there is none."""
    return connection.scalar(select(func.max(events.c.seq)).where(events.c.turn_id == turn_id)) or 0


@dataclass(frozen=True, slots=True)
class Signs:
    """What can be seen of turns from outside."""

    versions: Mapping[str, tuple[object, ...]]
    """Another value means that something has changed."""
    live: frozenset[str]
    listened: frozenset[str]
    """Turns of this node whose events somebody wants, at whatever node he asked."""


def signs(connection: Connection, turn_ids: Collection[str], node: str) -> Signs:
    """Look at the turns that are watched, and for those that should be recorded here."""
    found = connection.execute(_SIGNS, {"ids": list(turn_ids)}).all()
    wanted = select(turns.c.id).where(turns.c.listened, turns.c.state.in_(LIVE_TURN_STATES), is_of(node))
    listened = connection.execute(wanted).scalars()
    return Signs(
        versions={row.id: tuple(row) for row in found},
        live=frozenset(row.id for row in found if row.state in _LIVE),
        listened=frozenset(listened),
    )


_SIGNS = (
    select(turns.c.id, turns.c.state, turns.c.pause, func.max(events.c.seq).label("seq"))
    .outerjoin(events, events.c.turn_id == turns.c.id)
    .where(turns.c.id.in_(bindparam("ids", expanding=True)))
    .group_by(turns.c.id, turns.c.state, turns.c.pause)
)
