"""Letting go of conversations: closed when nothing is left to do, set aside when all of it is far off."""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from sqlalchemy import BigInteger, bindparam, case, exists, func, literal, select, type_coerce, update

from bridge.store.prepared import Prepared, Record, among
from bridge.store.tables import LIVE_DELIVERY_STATES, LIVE_TURN_STATES, Instant, conversations, deliveries, turns
from bridge.store.writer import Tx

NEAR = timedelta(seconds=60)
"""What is due within this time is waited for in memory; what is later waits in the table, owned by nobody."""

_AT_ONCE = literal(0)

_turn_at = (
    select(
        case(
            (turns.c.state == "running", _AT_ONCE),
            else_=func.coalesce(type_coerce(turns.c.not_before, BigInteger), _AT_ONCE),
        )
    )
    .where(turns.c.conversation_id == conversations.c.id, turns.c.state.in_(LIVE_TURN_STATES))
    .order_by(turns.c.seq)
    .limit(1)
    .scalar_subquery()
)
_delivery_at = (
    select(func.min(func.coalesce(type_coerce(deliveries.c.not_before, BigInteger), _AT_ONCE)))
    .where(deliveries.c.conversation_id == conversations.c.id, deliveries.c.state.in_(LIVE_DELIVERY_STATES))
    .scalar_subquery()
)
_to_deliver = exists().where(
    deliveries.c.conversation_id == conversations.c.id, deliveries.c.state.in_(LIVE_DELIVERY_STATES)
)
_HORIZON = Prepared(
    select(
        conversations.c.id,
        _turn_at.label("turn_at"),
        _delivery_at.label("delivery_at"),
        _to_deliver.where(deliveries.c.kind != "progress").label("owes"),
        _to_deliver.where(deliveries.c.kind == "progress").label("shows"),
    ).where(among(conversations.c.id, "ids"))
)
_LET_GO = Prepared(
    update(conversations)
    .where(conversations.c.id == bindparam("at"))
    .values(owner=None, open=bindparam("still_open"), wake_at=bindparam("due", type_=Instant))
)


def horizon(tx: Tx, conversation_ids: Collection[str]) -> Sequence[Record]:
    """What is left in these conversations.

    When the next turn is due, when the next delivery, and what each `owes` (a delivery that somebody waits for) and
    `shows` (the view of a turn).

    To be asked only after the rows are locked, in a statement of its own: a turn that was committed while this
    transaction waited for the lock is seen.
    """
    return _HORIZON.rows(tx.connection, {"ids": conversation_ids}) if conversation_ids else ()


def settle(tx: Tx, conversation_ids: Collection[str]) -> None:
    """Let go of those of these conversations, all of them locked and ours, that have nothing due soon."""
    let_go(tx, horizon(tx, conversation_ids))


def let_go(tx: Tx, horizons: Iterable[Record]) -> None:
    """Let go of those conversations that have nothing due soon."""
    near = Instant().process_bind_param(tx.now + NEAR, tx.connection.dialect) or 0
    letting_go = []
    for row in horizons:
        due = [at for at in (row.turn_at, row.delivery_at) if at is not None]
        if not due or min(due) > near:
            wake_at = Instant().process_result_value(min(due, default=None), tx.connection.dialect)
            letting_go.append({"at": row.id, "still_open": bool(due), "due": wake_at})
    _LET_GO.run(tx.connection, letting_go)
