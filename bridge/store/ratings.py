"""What people thought of answers, on its way to the agent that gave them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from bridge.store.tables import deliveries, feedback, turns
from bridge.store.writer import Tx, Write

AT_ONCE: Final = 100
TELLS: Final = timedelta(days=7)
"""So long the agent service may be away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A person's opinion that the agent was not told yet."""

    delivery_id: str
    author_id: str
    value: int
    given_at: datetime
    agent: str
    task_id: str


def untold(connection: Connection, agents: Collection[str], now: datetime) -> Sequence[Rating]:
    """The oldest ones of answers by these agents."""
    query = (
        select(
            feedback.c.delivery_id,
            feedback.c.author_id,
            feedback.c.value,
            feedback.c.given_at,
            turns.c.agent,
            turns.c.task_id,
        )
        .join(deliveries, deliveries.c.id == feedback.c.delivery_id)
        .join(turns, turns.c.id == deliveries.c.turn_id)
        .where(feedback.c.told_at.is_(None), feedback.c.given_at > now - TELLS)
        .where(turns.c.agent.in_(agents), turns.c.task_id.is_not(None))
        .order_by(feedback.c.given_at)
        .limit(AT_ONCE)
    )
    return [Rating(**row._asdict()) for row in connection.execute(query)]


def _told(tx: Tx, rows: Sequence[Rating]) -> list[None]:
    tx.connection.execute(
        _TOLD, [{"at": row.delivery_id, "who": row.author_id, "given": row.given_at, "now": tx.now} for row in rows]
    )
    return [None] * len(rows)


# Another opinion of the same person may have come meanwhile: that one is still to be told.
_TOLD = (
    update(feedback)
    .where(feedback.c.delivery_id == bindparam("at"), feedback.c.author_id == bindparam("who"))
    .where(feedback.c.given_at == bindparam("given", type_=feedback.c.given_at.type))
    .values(told_at=bindparam("now"))
)

TOLD: Write[Rating, None] = Write(_told)
