"""Turns that go back to the head of the line: taken too early, as if nobody had looked, or put off until later."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, bindparam, case, null, update

from bridge.model import Turn, TurnState
from bridge.storable import storable
from bridge.store.prepared import Prepared
from bridge.store.settling import settle
from bridge.store.tables import Instant, turns
from bridge.store.writer import Tx, Write


def _put_back(tx: Tx, rows: Sequence[Turn]) -> list[None]:
    """No attempt is spent: no call was made. As a waiting turn it may be edited, joined and cancelled at once."""
    tx.connection.execute(_WAITING, [{"at": turn.id} for turn in rows])
    return [None] * len(rows)


_WAITING = (
    update(turns)
    .where(turns.c.id == bindparam("at"), turns.c.state == "running")
    .values(
        state=TurnState.QUEUED.value,
        attempt=turns.c.attempt - 1,
        started_at=case((turns.c.attempt > 1, turns.c.started_at), else_=None),
    )
)

PUT_BACK: Write[Turn, None] = Write(_put_back, lease=lambda turn: turn.lease)


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponement:
    """The turn goes back to the head of the line and is tried again at `until`."""

    turn: Turn
    until: datetime
    error: str
    spent: int = 1
    """0 where nothing was tried (the thread was busy, the circuit open): no attempt is counted."""
    away: bool = False
    """It waits for an agent that is away, which is no work on it."""


def _postpone(tx: Tx, rows: Sequence[Postponement]) -> list[None]:
    values = [
        {"at": r.turn.id, "until": r.until, "why": storable(r.error), "unspent": 1 - r.spent, "is_away": r.away}
        for r in rows
    ]
    _POSTPONED.run(tx.connection, values)
    settle(tx, [row.turn.lease.conversation_id for row in rows])
    return [None] * len(rows)


_POSTPONED = Prepared(
    update(turns)
    # or it was put off already, and only the answer to that was lost
    .where(turns.c.id == bindparam("at"), turns.c.state == TurnState.RUNNING.value)
    .values(
        state=TurnState.QUEUED.value,
        # one that is to be stopped is looked at again at once
        not_before=case((turns.c.stop_at.is_not(None), null()), else_=bindparam("until", type_=Instant)),
        error=bindparam("why"),
        attempt=turns.c.attempt - bindparam("unspent"),
        started_at=case((bindparam("is_away", type_=Boolean), None), else_=turns.c.started_at),
    )
)

POSTPONE: Write[Postponement, None] = Write(_postpone, lease=lambda row: row.turn.lease)
