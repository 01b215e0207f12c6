"""What became of a try to deliver, committed after the call."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Boolean, String, bindparam, case, func, null, select, update

from bridge.model import DeliveryState
from bridge.storable import storable, storable_id
from bridge.store.ahead import Ahead, Named
from bridge.store.deliveries import Delivery, stands
from bridge.store.prepared import Asked, Prepared, Record, among
from bridge.store.settling import TURN_AT, let_go
from bridge.store.statements import insert_missing
from bridge.store.tables import LIVE_DELIVERY_STATES, aliases, attempts, constants, conversations, deliveries
from bridge.store.writer import Tx, Write


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

    def __post_init__(self) -> None:
        if self.remote_id is not None:
            # It was sent. If its row could not take this, it would be sent again and again.
            object.__setattr__(self, "remote_id", storable_id(self.remote_id))

    @property
    def is_final(self) -> bool:
        """Whether no other try follows."""
        return self.state in _FINAL

    @property
    def is_said(self) -> bool:
        """Whether it stands there now, as what it was made for."""
        return self.state is DeliveryState.SENT and not self.is_changed

    @property
    def is_changed(self) -> bool:
        """Whether the try was to change or take back what was sent."""
        return self.delivery.revising or self.delivery.withdrawing


def _standing(tx: Tx, rows: Sequence[Outcome]) -> tuple[Asked, Ahead]:
    named = {
        (row.delivery.source, row.remote_id): Named(row.delivery.lease.conversation_id, row.delivery.created_at)
        for row in rows
        if row.remote_id and row.remote_id != row.delivery.id
    }
    ids = {row.delivery.lease.conversation_id for row in rows}
    return _STANDING.ask(tx.connection, {"ids": ids}), Ahead(tx, named)


def _end(tx: Tx, rows: Sequence[Outcome], asked: tuple[Asked, Ahead]) -> list[bool]:
    """Note the outcomes; tells of each conversation whether another delivery waits.

    One that is not on its way any more was noted by this very write, in a transaction whose answer was lost. Since then
    its words may have been taken back, or an operator may have set it going again.
    """
    ahead = asked[1]
    standing = asked[0].rows()
    on_the_way = {one.id for one in standing if one.state == DeliveryState.SENDING.value}
    outcomes = {row.delivery.id: row for row in rows if row.delivery.id in on_the_way}
    _ENDED.run(tx.connection, [_ended(row, tx.now) for row in outcomes.values()])
    # one may be there: of a try that began before a replay, and ended behind it
    insert_missing(tx.connection, attempts, [_attempt(outcomes[key], tx.now) for key in sorted(outcomes)])
    names = [
        {"source": source, "key": key, "conversation_id": ahead.named[source, key].conversation_id}
        for source, key in ahead.news()
    ]
    insert_missing(tx.connection, aliases, names)
    waiting, due = _left(tx, outcomes, standing)
    for conversation_id in ahead.heed():
        due[conversation_id].append(tx.now)
    let_go(tx, {key: times for key, times in due.items() if key not in waiting})
    return [row.delivery.lease.conversation_id in waiting for row in rows]


def _left(
    tx: Tx, outcomes: Mapping[str, Outcome], standing: Sequence[Record]
) -> tuple[Collection[str], Mapping[str, list[datetime]]]:
    """The conversations in which somebody waits for another delivery, and when what is left in each of all is due."""
    left = _end_views(tx, outcomes.values(), standing)
    due = {one.conversation_id: [one.turn_at] if one.turn_at else [] for one in standing}
    waiting = set()
    for one in standing:
        outcome = outcomes.get(one.id)
        is_view = stands(one) and one.id not in left
        if one.id is None or is_view or (outcome and _is_over(outcome, one.marker)):
            continue
        due[one.conversation_id].append((outcome.until if outcome else one.not_before) or tx.now)
        waiting.add(one.conversation_id)
    return waiting, due


def _end_views(tx: Tx, rows: Iterable[Outcome], standing: Iterable[Record]) -> Collection[str]:
    """Of a turn that is over, what was said has taken its view's place; else the view is left, and to be taken away.

    Returns those that are left.
    """
    ends = {row.delivery.message.turn_id: row for row in rows if row.is_final and row.delivery.message.ends}
    views = [one for one in standing if stands(one) and one.turn_id in ends]
    left = {one.id for one in views if not ends[one.turn_id].is_said}
    if left:
        _TAKE_AWAY.ask(tx.connection, {"ids": left})
    if replaced := {one.id for one in views} - left:
        _UNSHOWN.ask(tx.connection, {"ids": replaced, "now": tx.now})
    return left


def _is_over(outcome: Outcome, marker: str | None) -> bool:
    """Not where its words changed, or were taken back, while they were on their way: see `_to_change`."""
    changes = outcome.state is DeliveryState.SENT and marker in _CHANGING and not outcome.is_changed
    return outcome.is_final and not changes


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
        "changed": row.is_changed,
        "remote": row.remote_id,
        "why": storable(row.error or "") or None,
        "until": row.until,
        "ended": now if row.is_final else None,
    }


def _attempt(row: Outcome, now: datetime) -> dict[str, Any]:
    return {
        "delivery_id": row.delivery.id,
        "number": row.delivery.attempt,
        "started_at": row.delivery.begun_at,
        "ended_at": now,
        "outcome": _OUTCOMES[row.state],
        "error": storable(row.error or "") or None,
        "retry_after": None if row.retry_after is None else round(row.retry_after),
    }


_CHANGING: Final = ("revise", "withdraw")
_sent = bindparam("to", type_=String) == DeliveryState.SENT.value
_changed = bindparam("changed", type_=Boolean)
# Its words changed, or were taken back, while they were on their way.
_to_change = _sent & deliveries.c.marker.in_(constants(*_CHANGING)) & ~_changed
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


_FINAL = frozenset({DeliveryState.SENT, DeliveryState.DEAD, DeliveryState.WITHDRAWN})
_UNSHOWN = Prepared(
    update(deliveries)
    .where(among(deliveries.c.id, "ids"))
    .values(state=DeliveryState.WITHDRAWN.value, finished_at=bindparam("now", type_=deliveries.c.finished_at.type))
)
_TAKE_AWAY = Prepared(
    update(deliveries).where(among(deliveries.c.id, "ids")).values(state=DeliveryState.PENDING.value, marker="withdraw")
)

_STANDING = Prepared(
    select(
        conversations.c.id.label("conversation_id"),
        TURN_AT.label("turn_at"),
        *(deliveries.c[name] for name in ("id", "turn_id", "kind", "state", "marker", "not_before")),
    )
    .select_from(
        conversations.outerjoin(
            deliveries,
            (deliveries.c.conversation_id == conversations.c.id) & deliveries.c.state.in_(LIVE_DELIVERY_STATES),
        )
    )
    .where(among(conversations.c.id, "ids"))
)

END: Write[Outcome, bool] = Write(_end, lease=lambda row: row.delivery.lease, look=_standing)
