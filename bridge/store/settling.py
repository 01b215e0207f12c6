"""Letting go of conversations: closed when nothing is left to do, set aside when all of it is far off."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, bindparam, case, func, literal, or_, select, type_coerce, update

from bridge.store.prepared import Prepared, among
from bridge.store.tables import LIVE_DELIVERY_STATES, LIVE_TURN_STATES, Instant, conversations, deliveries, turns
from bridge.store.writer import Tx

NEAR = timedelta(seconds=60)
"""What is due within this time is waited for in memory; what is later waits in the table, owned by nobody."""

_AT_ONCE = literal(0)

_next_turn = (
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
TURN_AT: Final = type_coerce(_next_turn, Instant)
"""Of a conversation: when the turn at its head is due (long ago, if at once); null where there is none."""

_next_delivery = (
    select(func.min(func.coalesce(type_coerce(deliveries.c.not_before, BigInteger), _AT_ONCE)))
    .where(
        deliveries.c.conversation_id == conversations.c.id,
        deliveries.c.state.in_(LIVE_DELIVERY_STATES),
        or_(deliveries.c.kind != "progress", deliveries.c.marker.is_not(None)),  # a view waits for its turn's end
    )
    .scalar_subquery()
)
_HORIZON = Prepared(
    select(
        conversations.c.id, TURN_AT.label("turn_at"), type_coerce(_next_delivery, Instant).label("delivery_at")
    ).where(among(conversations.c.id, "ids"))
)
_LET_GO = Prepared(
    update(conversations)
    .where(conversations.c.id == bindparam("at"))
    .values(owner=None, open=bindparam("still_open"), wake_at=bindparam("due", type_=Instant))
)


def settle(tx: Tx, conversation_ids: Collection[str]) -> None:
    """Let go of those of these conversations, all of them locked and ours, that have nothing due soon.

    It asks what is left only after the rows are locked, in a statement of its own: a turn that was committed while
    this transaction waited for the lock is seen.
    """
    if conversation_ids:
        left = _HORIZON.rows(tx.connection, {"ids": conversation_ids})
        let_go(tx, {row.id: [at for at in (row.turn_at, row.delivery_at) if at is not None] for row in left})


def let_go(tx: Tx, due: Mapping[str, Sequence[datetime]]) -> None:
    """Let go of those of these conversations that have nothing `due` soon, whatever else is to be done in each."""
    near = tx.now + NEAR
    letting_go = [
        {"at": conversation_id, "still_open": bool(times), "due": min(times, default=None)}
        for conversation_id, times in due.items()
        if not times or min(times) > near
    ]
    _LET_GO.run(tx.connection, letting_go)
