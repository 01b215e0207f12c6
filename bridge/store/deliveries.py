"""Deliveries: `sending` is committed before each call; what becomes of it, after it (`tries`)."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update

from bridge.model import DeliveryState, Lease, OutboundMessage, Turn
from bridge.store.bodies import load_outbound
from bridge.store.budgets import Cost, Purse
from bridge.store.heads import NotYet
from bridge.store.prepared import Asked, Prepared, Record, among
from bridge.store.settling import settle
from bridge.store.tables import LIVE_DELIVERY_STATES, deliveries
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
        if stands(row) or any(row.turn_id == other.turn_id for other in passed):
            continue  # parts of one answer never overtake each other
        if row.not_before is None or row.not_before <= now:
            return row
        if row.not_before <= now + OVERTAKE:
            return NotYet(min(r.not_before for r in (*passed, row)))
        passed.append(row)
    return NotYet(min(row.not_before for row in passed)) if passed else None


def stands(row: Record) -> bool:
    """Whether it is the view of a turn, for what ends that to take its place."""
    return row.kind == "progress" and row.marker is None


def _delivery(lease: Lease, row: Record, line: Iterable[Record], now: datetime) -> Delivery:
    message = load_outbound(row.body)
    replaces = message.ends and (message.part == 0 or message.kind == "notice")
    shown = (other.remote_id for other in line if stands(other) and other.turn_id == row.turn_id)
    return Delivery(
        id=row.id,
        lease=lease,
        source=row.source,
        message=message,
        attempt=row.attempt + 1,
        uncertain=row.state != DeliveryState.PENDING.value,
        shown=next(shown, None) if replaces else None,
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

BEGIN: Write[Due, Delivery | NotYet | None] = Write(_begin, lease=lambda due: due.lease, look=_look, spends=True)
