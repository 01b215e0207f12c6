"""Turns that do not go through in one go: stopped by a person, begun anew, or waiting for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Connection, bindparam, case, exists, func, null, select, update

from bridge.model import OutboundMessage, Turn, TurnState, new_id
from bridge.store import asked
from bridge.store.leases import is_of
from bridge.store.settling import settle
from bridge.store.statements import insert_new
from bridge.store.tables import LIVE_TURN_STATES, Instant, conversations, decisions, deliveries, messages, turns
from bridge.store.turns import End, Stopping, delivery_row, end_turns
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The turn's task was stopped as a person wished."""

    turn: Turn
    confirmation: tuple[OutboundMessage, ...]
    """Told where it ends here, not where it begins anew."""


def _halt(tx: Tx, rows: Sequence[Halt]) -> list[bool]:
    """Cancel the turns, or put them back to begin anew; tells whether another turn waits."""
    keys = {row.turn.id: row.turn.idempotency_key for row in rows}
    found = tx.connection.execute(_STANDING, {"ids": [*keys]}).all()
    anew = [{"at": one.id, "key": new_id("idk")} for one in found if one.restart]
    # One with another key was put back already, in a transaction whose answer was lost.
    again = {one.id for one in found if one.restart or one.idempotency_key != keys[one.id]}
    if anew:
        tx.connection.execute(_AGAIN, anew)
        asked.void(tx, [one["at"] for one in anew])
    ends = [
        End(turn=row.turn, state=TurnState.CANCELLED, status="stopped", deliveries=row.confirmation)
        for row in rows
        if row.turn.id not in again
    ]
    more = iter(end_turns(tx, ends) if ends else ())
    return [row.turn.id in again or next(more) for row in rows]


_STANDING = select(turns.c.id, turns.c.state, turns.c.stop_at, turns.c.restart, turns.c.idempotency_key).where(
    turns.c.id.in_(bindparam("ids", expanding=True))
)
_AGAIN = (
    update(turns)
    .where(turns.c.id == bindparam("at"))
    .values(
        state=TurnState.QUEUED.value,
        idempotency_key=bindparam("key"),
        task_id=None,
        event_cursor=None,
        attempt=0,
        started_at=None,
        not_before=None,
        stop_at=None,
        restart=False,
        pause=None,
        paused_at=None,
    )
)

HALT: Write[Halt, bool] = Write(_halt, lease=lambda row: row.turn.lease)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The agent waits for a person; it is looked at again at `until`."""

    turn: Turn
    task_id: str
    pause: str
    until: datetime
    notice: tuple[OutboundMessage, ...] = ()
    decision: Mapping[str, Any] | None = None
    """The row of what a person is to decide, where there is something to choose."""
    anew: bool = False
    """It waits for something else than before, so its time begins now."""


def _wait(tx: Tx, rows: Sequence[Waiting]) -> list[Stopping | None]:
    """One that does not run any more waits already, by a transaction whose answer was lost."""
    standing = {one.id: one for one in tx.connection.execute(_STANDING, {"ids": [row.turn.id for row in rows]})}
    stopping = {one.id for one in standing.values() if one.stop_at is not None}
    running = {one.id for one in standing.values() if one.state == TurnState.RUNNING.value}
    if waiting := [row for row in rows if row.turn.id in running - stopping]:
        _pause(tx, waiting)
    return [Stopping() if row.turn.id in stopping else None for row in rows]


def _pause(tx: Tx, rows: Sequence[Waiting]) -> None:
    tx.connection.execute(
        _PAUSED,
        [
            {
                "at": r.turn.id,
                "task": r.task_id,
                "what": r.pause,
                "until": r.until,
                "now": tx.now,
                "more": len(r.notice),
                "anew": r.anew,
            }
            for r in rows
        ],
    )
    tx.connection.execute(_THREAD, [{"at": r.turn.lease.conversation_id, "task": r.task_id} for r in rows])
    out = [delivery_row(row.turn, message) for row in rows for message in row.notice]
    if out:
        tx.connection.execute(deliveries.insert(), out)
    asked.close(tx, [row.turn.id for row in rows if row.anew], asked.OVER)  # it waits for something else now
    open_ones = [dict(row.decision) for row in rows if row.decision]
    if open_ones:
        tx.connection.execute(decisions.insert(), open_ones)
    settle(tx, {row.turn.lease.conversation_id for row in rows if not row.notice})


_to_tell = exists().where(decisions.c.turn_id == turns.c.id, *asked.UNTOLD)
_now = bindparam("now", type_=Instant)
_PAUSED = (
    update(turns)
    .where(turns.c.id == bindparam("at"))
    .values(
        state=TurnState.PAUSED.value,
        started_at=None,
        task_id=bindparam("task"),
        status="paused",
        pause=bindparam("what"),
        # what was decided during a look is told at once, not only at the next one
        not_before=case((_to_tell, null()), else_=bindparam("until", type_=Instant)),
        paused_at=case((bindparam("anew", type_=Boolean), _now), else_=func.coalesce(turns.c.paused_at, _now)),
        notices=turns.c.notices + bindparam("more"),
    )
)
_THREAD = update(conversations).where(conversations.c.id == bindparam("at")).values(task_id=bindparam("task"))

WAIT: Write[Waiting, None] = Write(_wait, lease=lambda row: row.turn.lease)  # type: ignore[arg-type]  # an error is raised to its caller
"""Raises Stopping where a person wanted the turn stopped: it would wait with that wish."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a waiting person should know once, whatever the turn goes through."""

    turn: Turn
    message: OutboundMessage


def _tell(tx: Tx, rows: Sequence[Notice]) -> list[bool]:
    """Make the notices that are not there yet; tells of each whether it is new."""
    values = [delivery_row(row.turn, row.message) for row in sorted(rows, key=lambda row: row.turn.id)]
    new = {(row.turn_id, row.part) for row in insert_new(tx.connection, deliveries, values, "turn_id", "part")}
    again = [row.message.delivery_id for row in rows if (row.turn.id, row.message.part) not in new]
    # One that has its very id went in already, in a transaction whose answer was lost.
    there = set(tx.connection.execute(_THERE, {"ids": again}).scalars()) if again else ()
    return [(row.turn.id, row.message.part) in new or row.message.delivery_id in there for row in rows]


_THERE = select(deliveries.c.id).where(deliveries.c.id.in_(bindparam("ids", expanding=True)))


TELL: Write[Notice, bool] = Write(_tell, lease=lambda row: row.turn.lease)


def is_stopping(connection: Connection, turn_id: str) -> bool:
    """Whether a person wants this turn stopped."""
    wanted = select(turns.c.id).where(turns.c.id == turn_id, turns.c.stop_at.is_not(None))
    return connection.execute(wanted).first() is not None


def stops_of(connection: Connection, node: str) -> Sequence[str]:
    """The conversations of this node in which a turn has to be stopped."""
    query = (
        select(turns.c.conversation_id)
        .where(turns.c.stop_at.is_not(None), turns.c.state.in_(LIVE_TURN_STATES), is_of(node))
        .limit(1000)
    )
    return connection.execute(query).scalars().all()


@dataclass(frozen=True, slots=True)
class Declined:
    """Only a look at the platform told that this is not for the agent."""

    turn: Turn
    reason: str


def _decline(tx: Tx, rows: Sequence[Declined]) -> list[bool | Stopping]:
    """The messages count as declined, and their turn as never wanted; tells whether another turn waits."""
    found = tx.connection.execute(_STANDING, {"ids": [row.turn.id for row in rows]}).all()
    joined = {one.id for one in found if one.restart}
    declined = [row for row in rows if row.turn.id not in joined]
    if declined:
        tx.connection.execute(_DECLINED, [{"turn": row.turn.id, "why": f"declined:{row.reason}"} for row in declined])
    ends = [End(turn=row.turn, state=TurnState.CANCELLED, error=row.reason) for row in declined]
    more = iter(end_turns(tx, ends) if ends else ())
    return [Stopping() if row.turn.id in joined else next(more) for row in rows]


_DECLINED = (
    update(messages).where(messages.c.turn_id == bindparam("turn")).values(admission=bindparam("why"), turn_id=None)
)

DECLINE: Write[Declined, bool] = Write(_decline, lease=lambda row: row.turn.lease)  # type: ignore[arg-type]  # an error is raised to its caller
"""Raises Stopping where somebody interrupted it meanwhile: what was said then is another matter."""
