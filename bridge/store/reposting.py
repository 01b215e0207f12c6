"""Deliveries set going again by a person, under the same ids where they died, as a fresh copy where they arrived."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, case, exists, func, select, update

from bridge.errors import Conflict, Missing
from bridge.model import DeliveryState, Lease, new_id
from bridge.store.blanks import BLANK_DELIVERY
from bridge.store.bodies import dump_outbound, load_outbound
from bridge.store.rousing import rouse
from bridge.store.statements import AnyRow
from bridge.store.tables import attempts, deliveries
from bridge.store.writer import Tx, Write

_TOLD = ("answer", "error", "notice")
"""What a person reads; `progress` was only a view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A delivery that is to be tried again, now."""

    delivery_id: str
    conversation_id: str
    dry_run: bool = False
    claim: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What was done, or would be."""

    delivery_id: str
    dry_run: bool
    does: str
    wake: Lease | None = None


def place_of(connection: Connection, delivery_id: str) -> str:
    """The conversation of a delivery. Raises Missing."""
    query = select(deliveries.c.conversation_id).where(deliveries.c.id == delivery_id)
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise Missing(f"There is no delivery {delivery_id}.")
    return str(found)


def _retry(tx: Tx, rows: Sequence[Retry]) -> list[Retried | Conflict]:
    return [_retry_one(tx, row) for row in rows]


RETRY: Write[Retry, Retried] = Write(
    _retry,  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller
    conversation=lambda row: row.conversation_id,
)


def _retry_one(tx: Tx, row: Retry) -> Retried | Conflict:
    found = tx.connection.execute(select(deliveries).where(deliveries.c.id == row.delivery_id)).one_or_none()
    if found is None or found.conversation_id not in tx.held:
        return Conflict(f"{row.delivery_id} is not there any more.")
    if found.body == BLANK_DELIVERY:
        return Conflict(f"The words of delivery {found.id} are forgotten: there is nothing to send.")
    if found.state == DeliveryState.DEAD.value and found.copy == 0:
        does = f"Try delivery {found.id} again under the same id; it died of: {found.error}"
        statement = _OWED_AGAIN
    elif found.state in {"pending", "unknown"} and found.not_before is not None and found.not_before > tx.now:
        does = f"Try delivery {found.id} now and not only at {found.not_before:%Y-%m-%d %H:%M:%S} UTC."
        statement = _NOW
    else:
        return Conflict(_why_not(found))
    if row.dry_run:
        return Retried(delivery_id=found.id, dry_run=True, does=does)
    if statement is _NOW:
        tx.connection.execute(_NOW, {"ids": [found.id]})
    else:
        _owe_again(tx, [found.id])
    wake = rouse(tx, found.conversation_id, claim=row.claim)
    return Retried(delivery_id=found.id, dry_run=False, does=does, wake=wake)


def _why_not(found: AnyRow) -> str:
    if found.copy:
        return f"Delivery {found.id} was set aside by a replay: replay its message instead."
    reasons = {
        "sent": "was sent already: replay its message with how=repost for a fresh copy",
        "withdrawn": "was withdrawn: replay its message with how=repost for a fresh copy",
        "sending": "is being sent right now",
    }
    return f"Delivery {found.id} {reasons.get(found.state, 'is due already')}."


def check_idle(connection: Connection, turn_id: str) -> None:
    """Raises Conflict while something of this turn is on the wire, or about to be taken back."""
    busy = connection.execute(_ON_THE_WIRE, {"turn": turn_id}).scalars().first()
    if busy is not None:
        raise Conflict(f"Delivery {busy} is being sent right now: ask again in a moment.")


def owed(connection: Connection, turn_id: str, state: DeliveryState) -> Sequence[str]:
    """The deliveries of a turn, for people to read, that are in this state."""
    return list(connection.execute(_IN_STATE, {"turn": turn_id, "state": state.value}).scalars())


def silence(tx: Tx, turn_id: str) -> None:
    """What this turn still has to say is not said any more."""
    tx.connection.execute(_SILENCE, {"turn": turn_id, "now": tx.now})


def withdraw_dead(tx: Tx, turn_id: str) -> None:
    """What died is not owed any more."""
    tx.connection.execute(_NOT_OWED, {"turn": turn_id})


def set_aside(tx: Tx, turn_id: str, ids: Sequence[str] | None = None) -> None:
    """Make room for other deliveries of the same turn; what was sent stays on record, uncounted."""
    highest = tx.connection.execute(_HIGHEST, {"turn": turn_id}).scalar_one()
    statement = update(deliveries).where(deliveries.c.turn_id == turn_id, deliveries.c.copy == 0)
    if ids is not None:
        statement = statement.where(deliveries.c.id.in_(ids))
    tx.connection.execute(statement.values(copy=highest + 1))


def repost(tx: Tx, turn_id: str, *, acting: bool) -> str:
    """Owe the turn's words again; says what that means. Raises Conflict where there is nothing to send."""
    dead = owed(tx.connection, turn_id, DeliveryState.DEAD)
    if dead:
        if acting:
            _owe_again(tx, dead)
        return (
            f"Try {_count(len(dead), 'dead delivery', 'dead deliveries')} again under the same ids: {', '.join(dead)}."
        )
    rows = tx.connection.execute(_LAST_WORDS, {"turn": turn_id}).all()
    rows = [row for row in rows if row.kind == rows[0].kind]
    if not rows:
        raise Conflict(f"Turn {turn_id} never owed anybody an answer, so there is nothing to send.")
    if any(row.state not in {"sent", "withdrawn"} for row in rows):
        raise Conflict(f"The {rows[0].kind} of turn {turn_id} is still on its way.")
    if acting:
        set_aside(tx, turn_id, [row.id for row in rows])
        tx.connection.execute(deliveries.insert(), [_fresh(tx, row) for row in rows])
    return f"Send a fresh copy of the {rows[0].kind} of turn {turn_id}, in {_count(len(rows), 'part', 'parts')}."


def _owe_again(tx: Tx, ids: Sequence[str]) -> None:
    """Tries are counted anew; those of the earlier life keep their order under numbers below 1."""
    _note_untold(tx, ids)
    for row in tx.connection.execute(_SPANS, {"ids": ids}).all():
        tx.connection.execute(_SHIFT, {"at": row.delivery_id, "by": row.span})
    tx.connection.execute(_OWED_AGAIN, {"ids": ids, "now": tx.now})


def _note_untold(tx: Tx, ids: Sequence[str]) -> None:
    """Of a try that a node did not live to see the end of nothing is noted, and it may have got through."""
    noted = {(row.delivery_id, row.number) for row in tx.connection.execute(_NOTED, {"ids": ids})}
    untold = [
        {
            "delivery_id": row.id,
            "number": number,
            "started_at": row.created_at,
            "ended_at": row.created_at,
            "outcome": "unknown",
        }
        for row in tx.connection.execute(_COUNTED, {"ids": ids}).all()
        for number in range(1, row.attempt + 1)
        if (row.id, number) not in noted
    ]
    if untold:
        tx.connection.execute(attempts.insert(), untold)


def _fresh(tx: Tx, row: AnyRow) -> dict[str, object]:
    message = replace(load_outbound(row.body), delivery_id=new_id("dlv"), created_at=tx.now)
    kept = {name: getattr(row, name) for name in ("conversation_id", "turn_id", "source", "kind", "part", "seq")}
    return kept | {
        "id": message.delivery_id,
        "state": DeliveryState.PENDING.value,
        "body": dump_outbound(message),
        "attempt": 0,
        "created_at": tx.now,
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


_words = (deliveries.c.turn_id == bindparam("turn"), deliveries.c.copy == 0, deliveries.c.kind.in_(_TOLD))
_ON_THE_WIRE = select(deliveries.c.id).where(
    deliveries.c.turn_id == bindparam("turn"),
    deliveries.c.kind != "progress",
    (deliveries.c.state == "sending") | (deliveries.c.marker.is_not(None) & deliveries.c.finished_at.is_(None)),
)
_IN_STATE = select(deliveries.c.id).where(*_words, deliveries.c.state == bindparam("state")).order_by(deliveries.c.part)
_HIGHEST = select(func.max(deliveries.c.copy)).where(deliveries.c.turn_id == bindparam("turn"))
# An answer rather than an apology, an apology rather than a notice.
_LAST_WORDS = (
    select(deliveries)
    .where(*_words)
    .order_by(case({kind: number for number, kind in enumerate(_TOLD)}, value=deliveries.c.kind), deliveries.c.part)
)
# A view that is still open belongs to nobody once nothing of its turn is sent any more.
_SILENCE = (
    update(deliveries)
    .where(deliveries.c.turn_id == bindparam("turn"), deliveries.c.state.in_(("pending", "unknown", "sending")))
    .values(state="withdrawn", finished_at=bindparam("now"))
)
_NOT_OWED = (
    update(deliveries)
    .where(deliveries.c.turn_id == bindparam("turn"), deliveries.c.copy == 0, deliveries.c.state == "dead")
    .values(state="withdrawn")
)
_unclear = exists().where(attempts.c.delivery_id == deliveries.c.id, attempts.c.outcome == "unknown")
_OWED_AGAIN = (
    update(deliveries)
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        # One that may have got through is looked up, or marked as a copy, before it is repeated.
        state=case((_unclear, "unknown"), else_="pending"),
        attempt=0,
        not_before=None,
        finished_at=None,
        created_at=bindparam("now"),  # its age counts from when it was owed
    )
)
_NOTED = select(attempts.c.delivery_id, attempts.c.number).where(
    attempts.c.delivery_id.in_(bindparam("ids", expanding=True)), attempts.c.number > 0
)
_COUNTED = select(deliveries.c.id, deliveries.c.attempt, deliveries.c.created_at).where(
    deliveries.c.id.in_(bindparam("ids", expanding=True))
)
_SPANS = (
    select(attempts.c.delivery_id, (func.max(attempts.c.number) - func.min(attempts.c.number) + 1).label("span"))
    .where(attempts.c.delivery_id.in_(bindparam("ids", expanding=True)))
    .group_by(attempts.c.delivery_id)
)
# By the whole span, so that no row ever meets another that has not moved yet.
_SHIFT = (
    update(attempts).where(attempts.c.delivery_id == bindparam("at")).values(number=attempts.c.number - bindparam("by"))
)
_NOW = update(deliveries).where(deliveries.c.id.in_(bindparam("ids", expanding=True))).values(not_before=None)
