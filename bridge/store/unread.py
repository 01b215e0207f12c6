"""Arrivals that are stored and acknowledged, but not read yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, or_, select, update

from bridge.model import InboundMessage, Lease
from bridge.storable import storable
from bridge.store.arrivals import Arrival
from bridge.store.batch import Batch
from bridge.store.ingest import Known, roused, take_in
from bridge.store.lookup import Lookup
from bridge.store.prepared import Prepared, among
from bridge.store.strays import hold_names
from bridge.store.tables import UNREAD, arrivals, envelopes, nodes
from bridge.store.writer import Tx, Write

AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """One arrival to be read."""

    envelope_id: str
    source: str
    delivery_key: str
    digest: str
    sealed: bytes
    attempt: int
    received_at: datetime


def unread(connection: Connection, envelope_ids: Sequence[str]) -> list[Unread]:
    """Those of these arrivals that are still to be read."""
    query = (
        select(arrivals, envelopes.c.sealed)
        .join(envelopes, envelopes.c.id == arrivals.c.envelope_id)
        .where(arrivals.c.state == UNREAD, arrivals.c.envelope_id.in_(envelope_ids))
    )
    return [
        Unread(
            envelope_id=row.envelope_id,
            source=row.source,
            delivery_key=row.delivery_key,
            digest=row.digest,
            sealed=row.sealed,
            attempt=row.attempt,
            received_at=row.received_at,
        )
        for row in connection.execute(query)
    ]


def due(connection: Connection, node: str, now: datetime) -> list[str]:
    """The envelopes this node should read now: its own, and those of nodes that are gone. Changes nothing."""
    alive = select(nodes.c.id).where(nodes.c.until > now, nodes.c.id != node)
    query = (
        select(arrivals.c.envelope_id)
        .where(
            arrivals.c.state == UNREAD,
            or_(arrivals.c.not_before.is_(None), arrivals.c.not_before <= now),
            or_(arrivals.c.owner.is_(None), arrivals.c.owner.not_in(alive)),
        )
        .order_by(arrivals.c.received_at)
        .limit(AT_ONCE)
    )
    return list(connection.execute(query).scalars())


def _take_over(tx: Tx, rows: Sequence[str]) -> list[bool]:
    """Make these arrivals this node's; False for one that another node has taken or read meanwhile."""
    query = (
        select(arrivals.c.envelope_id)
        .where(arrivals.c.state == UNREAD, arrivals.c.envelope_id.in_(rows))
        .order_by(arrivals.c.source, arrivals.c.delivery_key)
        .with_for_update(skip_locked=True)
    )
    mine = set(tx.connection.execute(query).scalars())
    if mine:
        tx.connection.execute(_OWN, [{"at": envelope_id, "me": tx.node} for envelope_id in sorted(mine)])
    return [envelope_id in mine for envelope_id in rows]


_OWN = (
    update(arrivals)
    .where(arrivals.c.envelope_id == bindparam("at"), arrivals.c.state == UNREAD)
    .values(owner=bindparam("me"))
)

TAKE_OVER: Write[str, bool] = Write(_take_over)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was read in an arrival."""

    unread: Unread
    messages: tuple[InboundMessage, ...]
    agent: str
    busy: str


@dataclass(frozen=True, slots=True)
class Placed:
    """The conversations that now have something to do, those with something to stop, and those to deliver in."""

    wake: tuple[Lease, ...] = ()
    stop: tuple[str, ...] = ()
    deliver: tuple[Lease, ...] = ()
    messages: tuple[Known, ...] = ()


def _read(tx: Tx, rows: Sequence[Read]) -> list[Placed]:
    """Place the messages as if they had just arrived; an arrival somebody else has read is left alone."""
    asked = {"ids": [row.unread.envelope_id for row in rows], "me": tx.node}
    mine = set(_MINE.words(tx.connection, asked))
    reading = {row.unread.envelope_id: _arrival(row) for row in rows if row.unread.envelope_id in mine}
    said = [(one.source, message) for one in reading.values() for message in one.messages or ()]
    hold_names(tx, said)
    lookup = Lookup(tx, said)
    reading = {envelope_id: _findable(lookup, one) for envelope_id, one in reading.items()}
    batch = Batch(tx, lookup, list(reading.values()))
    take_in(batch, [(one, envelope_id) for envelope_id, one in reading.items()])
    _IS_READ.run(tx.connection, [{"at": envelope_id} for envelope_id in reading])
    return [_placed(batch, reading.get(row.unread.envelope_id)) for row in rows]


def _arrival(row: Read) -> Arrival:
    return Arrival(
        source=row.unread.source,
        delivery_key=row.unread.delivery_key,
        digest=row.unread.digest,
        sealed=b"",
        messages=row.messages,
        received_at=row.unread.received_at,
        agent=row.agent,
        busy=row.busy,
    )


def _findable(lookup: Lookup, arrival: Arrival) -> Arrival:
    """It is acknowledged already, so what leads nowhere is not refused any more but kept for a person."""
    messages = tuple(
        message if lookup.missing(arrival.source, message) is None else replace(message, parked="unknown_conversation")
        for message in arrival.messages or ()
    )
    return replace(arrival, messages=messages)


def _placed(batch: Batch, arrival: Arrival | None) -> Placed:
    if arrival is None:
        return Placed()
    known = [
        batch.known[key] for m in arrival.messages or () if (key := (arrival.source, m.message_key)) in batch.known
    ]
    return Placed(*roused(batch, arrival, known), tuple(known))


_MINE = Prepared(
    select(arrivals.c.envelope_id)
    .where(arrivals.c.state == UNREAD, arrivals.c.owner == bindparam("me"), among(arrivals.c.envelope_id, "ids"))
    .order_by(arrivals.c.source, arrivals.c.delivery_key)
    .with_for_update()
)
_HERE = update(arrivals).where(arrivals.c.envelope_id == bindparam("at"), arrivals.c.state == UNREAD)
_IS_READ = Prepared(_HERE.values(state="read", error=None))

READ: Write[Read, Placed] = Write(_read)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Reading failed: again at `until`, or, where that is None, kept for a person."""

    envelope_id: str
    error: str
    until: datetime | None


def _put_off(tx: Tx, rows: Sequence[Unreadable]) -> list[None]:
    values = [
        {
            "at": row.envelope_id,
            "me": tx.node,
            "why": storable(row.error),
            "until": row.until,
            "to": "unread" if row.until else "parked",
        }
        for row in rows
    ]
    tx.connection.execute(_PUT_OFF, values)
    return [None] * len(rows)


# Not where another node has taken it over: that one reads it, and says what becomes of it.
_PUT_OFF = _HERE.where(arrivals.c.owner == bindparam("me")).values(
    state=bindparam("to"), error=bindparam("why"), not_before=bindparam("until"), attempt=arrivals.c.attempt + 1
)

PUT_OFF: Write[Unreadable, None] = Write(_put_off)
