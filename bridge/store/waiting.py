"""Turns that were taken too early: back to the head of the line as if nobody had looked."""

from collections.abc import Sequence

from sqlalchemy import bindparam, case, update

from bridge.model import Turn, TurnState
from bridge.store.tables import turns
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
