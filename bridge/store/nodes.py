"""Who is alive, and who takes over from whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from bridge.model import Lease
from bridge.store.circuits import AWAY
from bridge.store.notices import ANYBODY, notify
from bridge.store.statements import insert_new
from bridge.store.tables import LIVE_DELIVERY_STATES, LIVE_TURN_STATES, Instant, conversations, deliveries, nodes, turns
from bridge.store.writer import Tx, Write

_VERSION: Final = version("agent-bridge")


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, and how many conversations the node would take up at once."""

    ttl: timedelta
    limit: int
    exclusive: bool
    """No other node can be alive (SQLite): whatever is not ours is taken at once."""


def _beat(tx: Tx, rows: Sequence[Beat]) -> list[list[Lease]]:
    """Live on, and take over what is due and owned by nobody alive. Answers the conversations taken."""
    until = tx.now + max(row.ttl for row in rows)
    values = {"id": tx.node, "until": until, "started_at": tx.now, "version": _VERSION}
    if not insert_new(tx.connection, nodes, [values], "id"):
        tx.connection.execute(update(nodes).where(nodes.c.id == tx.node).values(until=until))
    return [[*_claim(tx, row), *_nudged(tx, row.limit)] for row in rows]


def _claim(tx: Tx, row: Beat) -> list[Lease]:
    """Whole conversations are locked and skipped, never turns, so that their order holds whoever takes them."""
    taken: list[Lease] = []
    for query in _EXCLUSIVELY if row.exclusive else _AMONG_OTHERS:
        values = {"me": tx.node, "now": tx.now, "most": row.limit - len(taken)}
        found = tx.connection.execute(query, values)
        taken += [Lease(each.id, each.epoch + 1) for each in found]
    _take(tx, taken)
    return taken


def _free(*conditions: ColumnElement[bool]) -> Select[tuple[str, int]]:
    """In the order of their index, so that a beat costs the same with ten conversations as with a million."""
    return (
        select(conversations.c.id, conversations.c.epoch)
        .where(conversations.c.open, *conditions)
        .order_by(conversations.c.owner, conversations.c.wake_at)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


def _owners() -> CTE:
    """Whoever owns something, each found behind the one before: some nodes own ten thousands."""
    first = select(func.min(conversations.c.owner).label("owner")).where(conversations.c.open)
    found = first.cte("owners", recursive=True)
    behind = select(func.min(conversations.c.owner)).where(conversations.c.open, conversations.c.owner > found.c.owner)
    return found.union_all(select(behind.scalar_subquery()).where(found.c.owner.is_not(None)))


def _of_others_than(alive: ColumnElement[bool]) -> Select[tuple[str, int]]:
    owners = _owners()
    living = select(nodes.c.id).where(alive)
    gone = select(owners.c.owner).where(owners.c.owner.is_not(None), owners.c.owner.not_in(living))
    return _free(conversations.c.owner.in_(gone))


_UNOWNED = (
    _free(conversations.c.owner.is_(None), conversations.c.wake_at.is_(None)),
    _free(conversations.c.owner.is_(None), conversations.c.wake_at <= bindparam("now", type_=Instant)),
)
_AMONG_OTHERS = (*_UNOWNED, _of_others_than(nodes.c.until > bindparam("now", type_=Instant)))
_EXCLUSIVELY = (*_UNOWNED, _of_others_than(nodes.c.id == bindparam("me")))


def _take(tx: Tx, leases: Sequence[Lease]) -> None:
    if leases:
        tx.connection.execute(_TAKE, [{"at": lease.conversation_id, "me": tx.node} for lease in leases])
    for lease in leases:
        tx.moved(lease.conversation_id, tx.node, lease.epoch)


_TAKE = (
    update(conversations)
    .where(conversations.c.id == bindparam("at"))
    .values(owner=bindparam("me"), epoch=conversations.c.epoch + 1, wake_at=None, nudged=False)
)

BEAT: Write[Beat, list[Lease]] = Write(_beat)


def _nudged(tx: Tx, limit: int) -> list[Lease]:
    """Conversations of this node that another one left work in. What is locked right now is found the next time."""
    rows = tx.connection.execute(_NUDGED_HERE, {"me": tx.node, "most": limit})
    found = [Lease(row.id, row.epoch) for row in rows]
    if found:
        tx.connection.execute(_NOTICED, [{"at": lease.conversation_id} for lease in found])
    return found


_NUDGED_HERE = (
    select(conversations.c.id, conversations.c.epoch)
    .where(conversations.c.nudged, conversations.c.owner == bindparam("me"))
    .order_by(conversations.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_NOTICED = update(conversations).where(conversations.c.id == bindparam("at")).values(nudged=False)

NUDGED: Write[int, list[Lease]] = Write(lambda tx, rows: [_nudged(tx, limit) for limit in rows])
"""Takes up to so many of them."""


def _reclaim(tx: Tx, rows: Sequence[datetime]) -> list[list[Lease]]:
    """Everything that is still this node's, under new epochs: whatever it was doing there is void."""
    held = select(conversations.c.id, conversations.c.epoch).where(
        conversations.c.open, conversations.c.owner == tx.node
    )
    found = tx.connection.execute(held.order_by(conversations.c.id).with_for_update()).all()
    leases = [Lease(row.id, row.epoch + 1) for row in found]
    _take(tx, leases)
    return [leases, *([] for _ in rows[1:])]


RECLAIM: Write[datetime, list[Lease]] = Write(_reclaim, long=True)


def overlooked(connection: Connection, node: str, before: datetime) -> list[Lease]:
    """Conversations of this node with something that was due before and that nobody has begun.

    None, as long as every wake-up arrives. One that does not (whoever was to pass it on was cancelled
    after the commit) costs a delay so, and not a message. What waits for an agent that is away is left alone.
    """
    earlier = turns.alias("earlier")
    behind = select(earlier.c.id).where(
        earlier.c.conversation_id == turns.c.conversation_id,
        earlier.c.seq < turns.c.seq,
        earlier.c.state.in_(LIVE_TURN_STATES),
    )
    heads = select(turns.c.conversation_id).where(
        turns.c.state.in_(LIVE_TURN_STATES),  # all that the index has
        turns.c.state == "queued",
        func.coalesce(turns.c.not_before, turns.c.created_at, type_=Instant) < before,
        turns.c.agent.not_in(AWAY),
        ~behind.exists(),
    )
    owed = select(deliveries.c.conversation_id).where(
        deliveries.c.state.in_(LIVE_DELIVERY_STATES),
        deliveries.c.state.in_(("pending", "unknown")),
        func.coalesce(deliveries.c.not_before, deliveries.c.created_at, type_=Instant) < before,
    )
    query = select(conversations.c.id, conversations.c.epoch).where(
        conversations.c.id.in_(heads.union(owed)), conversations.c.open, conversations.c.owner == node
    )
    return [Lease(row.id, row.epoch) for row in connection.execute(query)]


def begun(connection: Connection, node: str, before: datetime) -> list[tuple[str, Lease]]:
    """Conversations of this node in which something began before: a turn runs, a pause is over, a delivery is out.

    With the name of the lanes that should be at work on it, which the rows do not tell. None is where this node took
    over from another, and never heard of the commit.
    """
    going = select(literal("turns").label("lanes"), turns.c.conversation_id).where(
        turns.c.state.in_(LIVE_TURN_STATES),  # all that the index has
        or_(
            and_(turns.c.state == "running", func.coalesce(turns.c.started_at, turns.c.created_at) < before),
            and_(turns.c.state == "paused", func.coalesce(turns.c.not_before, turns.c.created_at) < before),
        ),
    )
    out = select(literal("outbox").label("lanes"), deliveries.c.conversation_id).where(
        deliveries.c.state.in_(LIVE_DELIVERY_STATES),
        deliveries.c.state == "sending",
        deliveries.c.kind != "progress",  # that ends with its turn
        deliveries.c.created_at < before,
    )
    there = going.union(out).subquery()
    query = (
        select(there.c.lanes, conversations.c.id, conversations.c.epoch)
        .join(conversations, conversations.c.id == there.c.conversation_id)
        .where(conversations.c.open, conversations.c.owner == node)
    )
    return [(row.lanes, Lease(row.id, row.epoch)) for row in connection.execute(query)]


def _leave(tx: Tx, rows: Sequence[datetime]) -> list[None]:
    """Let go of everything at once, so that others need not wait for this node's lease to run out."""
    tx.connection.execute(
        update(conversations).where(conversations.c.open, conversations.c.owner == tx.node).values(owner=None)
    )
    for conversation_id, held in [*tx.held.items()]:
        if held.owner == tx.node:
            tx.moved(conversation_id, None, held.epoch)
    tx.connection.execute(delete(nodes).where(nodes.c.id == tx.node))
    notify(tx, {ANYBODY})
    return [None] * len(rows)


LEAVE: Write[datetime, None] = Write(_leave, long=True)
