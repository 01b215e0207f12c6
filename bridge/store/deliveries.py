"""Deliveries: `sending` is committed before each call, the outcome after it."""

import functools
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Boolean, String, bindparam, case, func, null, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bridge.model import DeliveryState, Lease, OutboundMessage, Turn
from bridge.store.bodies import load_outbound
from bridge.store.budgets import Cost, Purse, freeze
from bridge.store.prepared import Asked, Prepared, Record, among
from bridge.store.settling import horizon, let_go, settle
from bridge.store.statements import insert_new
from bridge.store.tables import LIVE_DELIVERY_STATES, aliases, attempts, constants, deliveries
from bridge.store.turns import NotYet
from bridge.store.writer import Tx, Write

OVERTAKE = timedelta(seconds=60)
"""A delivery that waits longer than this lets those of later turns pass; a shorter wait keeps the order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery, now `sending`."""

    id: str
    lease: Lease
    source: str
    message: OutboundMessage
    attempt: int
    """The number of the try that is about to be made."""
    uncertain: bool
    """An earlier try may have got through: find out before repeating it."""
    shown: str | None = None
    """What stands on the platform of the running turn: revise that instead of posting anew."""
    withdrawing: bool = False
    """It was sent, and is to be taken back."""
    revising: bool = False
    """It says something else now: change what was sent, or send it so."""
    remote_id: str | None = None
    """The platform's id, where it was sent before."""
    created_at: datetime
    begun_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """What to look for in a conversation, and what sending would count against (see `Budgets`)."""

    lease: Lease
    cost: Callable[[str, OutboundMessage], Sequence[Cost]]
    in_hand: Container[str] = ()
    """Deliveries that are `sending` because they were begun and are on their way to whoever sends them."""


def _look(tx: Tx, rows: Sequence[Due]) -> Asked:
    return _LIVE.ask(tx.connection, {"ids": [due.lease.conversation_id for due in rows]})


def _begin(tx: Tx, rows: Sequence[Due], live: Asked) -> list[Delivery | NotYet | None]:
    """The next due delivery of each conversation, set `sending`; or how long to wait; or none is left."""
    lines: dict[str, list[Record]] = {}
    for row in live.rows():
        lines.setdefault(row.conversation_id, []).append(row)
    found = [_pick(lines.get(due.lease.conversation_id, ()), tx.now, due.in_hand) for due in rows]
    picked = [
        one if one is None or isinstance(one, NotYet) else _delivery(due.lease, one, lines[one.conversation_id], tx.now)
        for due, one in zip(rows, found, strict=True)
    ]
    picked = _afford(tx, rows, picked)
    chosen = [one for one in picked if isinstance(one, Delivery)]
    _SENDING.run(tx.connection, [{"at": one.id} for one in chosen])
    idle = [due.lease for due, one in zip(rows, picked, strict=True) if not isinstance(one, Delivery)]
    settle(tx, [lease.conversation_id for lease in idle])
    return picked


def _afford(tx: Tx, rows: Sequence[Due], picked: Sequence[Delivery | NotYet | None]) -> list[Delivery | NotYet | None]:
    """Put off what a platform's rate limit does not allow yet; spend what the rest costs."""
    costs = [
        due.cost(one.source, one.message) if isinstance(one, Delivery) else ()
        for due, one in zip(rows, picked, strict=True)
    ]
    until = Purse(tx, costs).spend(costs)
    return [one if wait is None else NotYet(wait) for one, wait in zip(picked, until, strict=True)]


def begin_new(turn: Turn, message: OutboundMessage, now: datetime) -> Delivery:
    """The first try of one that is stored as `sending` from the beginning."""
    return Delivery(
        id=message.delivery_id,
        lease=turn.lease,
        source=turn.answered_through,
        message=message,
        attempt=1,
        uncertain=False,
        created_at=message.created_at,
        begun_at=now,
    )


def _pick(line: Iterable[Record], now: datetime, in_hand: Container[str]) -> Record | NotYet | None:
    passed: list[Record] = []
    for row in line:
        if row.id in in_hand:
            return None  # it goes first, and whoever brings it comes
        if row.kind == "progress" or any(row.turn_id == other.turn_id for other in passed):
            continue  # a view ends with its answer; parts of one answer never overtake each other
        if row.not_before is None or row.not_before <= now:
            return row
        if row.not_before <= now + OVERTAKE:
            return NotYet(min(r.not_before for r in (*passed, row)))
        passed.append(row)
    return NotYet(min(row.not_before for row in passed)) if passed else None


def _delivery(lease: Lease, row: Record, line: Iterable[Record], now: datetime) -> Delivery:
    shown = (other.remote_id for other in line if other.kind == "progress" and other.turn_id == row.turn_id)
    return Delivery(
        id=row.id,
        lease=lease,
        source=row.source,
        message=load_outbound(row.body),
        attempt=row.attempt + 1,
        uncertain=row.state != DeliveryState.PENDING.value,
        shown=next(shown, None) if row.kind in {"answer", "error"} and row.part == 0 else None,
        withdrawing=row.marker == "withdraw",
        revising=row.marker == "revise",
        remote_id=row.remote_id,
        created_at=row.created_at,
        begun_at=now,
    )


_LIVE = Prepared(
    select(deliveries)
    .where(
        among(deliveries.c.conversation_id, "ids"),
        deliveries.c.state.in_(LIVE_DELIVERY_STATES),
    )
    # not by id alone: ids made in the same millisecond, as those of an answer's parts are, come in any order
    .order_by(
        deliveries.c.conversation_id, deliveries.c.seq, deliveries.c.created_at, deliveries.c.part, deliveries.c.id
    )
)
_SENDING = Prepared(
    update(deliveries)
    .where(deliveries.c.id == bindparam("at"))
    .values(state=DeliveryState.SENDING.value, attempt=deliveries.c.attempt + 1)
)

BEGIN: Write[Due, Delivery | NotYet | None] = Write(_begin, lease=lambda due: due.lease, look=_look)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a try."""

    delivery: Delivery
    state: DeliveryState
    """sent, pending or unknown (again at `until`), dead."""
    remote_id: str | None = None
    error: str | None = None
    until: datetime | None = None
    retry_after: float | None = None
    freeze: tuple[str, ...] = ()
    """The budgets the platform closed for `retry_after` seconds, for every node."""


def _end(tx: Tx, rows: Sequence[Outcome]) -> list[bool]:
    """Note the outcomes; tells of each conversation whether another delivery waits."""
    _ENDED.run(tx.connection, [_ended(row, tx.now) for row in rows])
    _tried(tx.connection.dialect.name).run(tx.connection, [_attempt(row, tx.now) for row in rows])
    named = {
        (row.delivery.source, row.remote_id): row for row in rows if row.remote_id and row.remote_id != row.delivery.id
    }
    insert_new(
        tx.connection,
        aliases,
        [
            {"source": source, "key": key, "conversation_id": row.delivery.lease.conversation_id}
            for (source, key), row in sorted(named.items())
        ],
        "source",
        "key",
    )
    freeze(tx, {key: row.until for row in rows if row.until for key in row.freeze})
    left = _left(tx, rows)
    waiting = {one.id for one in left if one.owes}
    let_go(tx, [one for one in left if not one.owes])
    return [row.delivery.lease.conversation_id in waiting for row in rows]


def _left(tx: Tx, rows: Sequence[Outcome]) -> Sequence[Record]:
    """What is left in the conversations. The view of a turn whose answer is out of the way is nothing any more."""
    ids = {row.delivery.lease.conversation_id for row in rows}
    left = horizon(tx, ids)
    finished = [row.delivery.message.turn_id for row in rows if row.state in _FINAL]
    if not finished or not any(one.shows for one in left):
        return left
    _UNSHOWN.ask(tx.connection, {"ids": finished, "now": tx.now})
    return horizon(tx, ids)


_OUTCOMES: dict[DeliveryState, Literal["sent", "retry", "unknown", "permanent", "withdrawn"]] = {
    DeliveryState.SENT: "sent",
    DeliveryState.PENDING: "retry",
    DeliveryState.UNKNOWN: "unknown",
    DeliveryState.DEAD: "permanent",
    DeliveryState.WITHDRAWN: "withdrawn",
}


def _ended(row: Outcome, now: datetime) -> dict[str, Any]:
    return {
        "at": row.delivery.id,
        "to": row.state.value,
        "changed": row.delivery.revising or row.delivery.withdrawing,
        "remote": row.remote_id,
        "why": row.error,
        "until": row.until,
        "ended": now if row.state in _FINAL else None,
    }


def _attempt(row: Outcome, now: datetime) -> dict[str, Any]:
    return {
        "delivery_id": row.delivery.id,
        "number": row.delivery.attempt,
        "started_at": row.delivery.begun_at,
        "ended_at": now,
        "outcome": _OUTCOMES[row.state],
        "error": row.error,
        "retry_after": None if row.retry_after is None else round(row.retry_after),
    }


_sent = bindparam("to", type_=String) == DeliveryState.SENT.value
_changed = bindparam("changed", type_=Boolean)
# Its words changed, or were taken back, while they were on their way.
_to_change = _sent & deliveries.c.marker.in_(constants("revise", "withdraw")) & ~_changed
_ENDED = Prepared(
    update(deliveries)
    .where(deliveries.c.id == bindparam("at"))
    .values(
        state=case((_to_change, DeliveryState.PENDING.value), else_=bindparam("to")),
        marker=case((_sent & _changed, null()), else_=deliveries.c.marker),
        remote_id=func.coalesce(bindparam("remote", type_=String), deliveries.c.remote_id),
        error=bindparam("why"),
        not_before=bindparam("until"),
        finished_at=case((_to_change, null()), else_=bindparam("ended", type_=deliveries.c.finished_at.type)),
    )
)


@functools.cache
def _tried(dialect: str) -> Prepared:
    """One that is there already was noted in a transaction whose answer was lost."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return Prepared(insert(attempts).on_conflict_do_nothing())


_FINAL = frozenset({DeliveryState.SENT, DeliveryState.DEAD, DeliveryState.WITHDRAWN})
_UNSHOWN = Prepared(
    update(deliveries)
    .where(among(deliveries.c.turn_id, "ids"), deliveries.c.kind == "progress")
    .where(deliveries.c.state == "sending")
    .values(state=DeliveryState.WITHDRAWN.value, finished_at=bindparam("now", type_=deliveries.c.finished_at.type))
)

END: Write[Outcome, bool] = Write(_end, lease=lambda row: row.delivery.lease)
