"""Turns: given a task by the agent, and ended together with what they have to say."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import String, bindparam, exists, func, select, update

from bridge.errors import BridgeError
from bridge.model import FileRef, Lease, OutboundMessage, Turn, TurnState
from bridge.storable import storable
from bridge.store import asked
from bridge.store.bodies import dump_files, dump_outbound
from bridge.store.prepared import Asked, Prepared, Record, among
from bridge.store.settling import settle
from bridge.store.tables import LIVE_DELIVERY_STATES, LIVE_TURN_STATES, conversations, deliveries, turns
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class Tasked:
    """The agent gave the turn a task: from here on it is re-attached to, never invoked again."""

    lease: Lease
    turn_id: str
    task_id: str


def _note_task(tx: Tx, rows: Sequence[Tasked]) -> list[None]:
    _TASKED.run(tx.connection, [{"at": r.turn_id, "task": r.task_id, "now": tx.now} for r in rows])
    values = [{"at": r.lease.conversation_id, "task": r.task_id, "turn": r.turn_id} for r in rows]
    _THREAD_OF.run(tx.connection, values)
    return [None] * len(rows)


_TASKED = Prepared(
    update(turns).where(turns.c.id == bindparam("at")).values(task_id=bindparam("task"), tasked_at=bindparam("now"))
)
_THREAD = Prepared(update(conversations).where(conversations.c.id == bindparam("at")).values(task_id=bindparam("task")))
_stopped = exists().where(turns.c.id == bindparam("turn", type_=String), turns.c.stop_at.is_not(None), ~turns.c.restart)
# Not of one that was stopped meanwhile: who begins anew has said so, and wants another thread.
_THREAD_OF = Prepared(
    update(conversations).where(conversations.c.id == bindparam("at"), ~_stopped).values(task_id=bindparam("task"))
)

NOTE_TASK: Write[Tasked, None] = Write(_note_task, lease=lambda row: row.lease)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a turn ends, and what is to be delivered. Both commit together."""

    turn: Turn
    state: TurnState
    task_id: str | None = None
    status: str | None = None
    result: str | None = None
    error: str | None = None
    files: tuple[FileRef, ...] = ()
    deliveries: tuple[OutboundMessage, ...] = ()
    begun: bool = False
    """The delivery is being made already, by the view that becomes the answer."""


class Stopping(BridgeError):
    """A person wanted the turn stopped before it could end: nothing of its end was written."""


def _end(tx: Tx, rows: Sequence[End], asked_live: Asked) -> list[bool | Stopping]:
    """End the turns; tells of each conversation whether another turn waits."""
    live = asked_live.rows()
    stopping = {one.id for one in live if one.stop_at is not None}
    ending = [row for row in rows if row.turn.id not in stopping]
    shown = {row.deliveries[0].delivery_id for row in ending if row.begun}
    more = iter(finish(tx, ending, live, begun=shown))
    return [Stopping() if row.turn.id in stopping else next(more) for row in rows]


def end_turns(tx: Tx, rows: Sequence[End]) -> list[bool]:
    """End these turns whatever was wished meanwhile; tells of each conversation whether another turn waits."""
    return finish(tx, rows, live_turns(tx, rows).rows(), begun=())


def live_turns(tx: Tx, rows: Sequence[End]) -> Asked:
    """All turns of these conversations that are not over, and whether something is being delivered in them."""
    return _LIVE.ask(tx.connection, {"ids": [row.turn.lease.conversation_id for row in rows]})


def finish(tx: Tx, rows: Sequence[End], live: Iterable[Record], *, begun: Container[str]) -> list[bool]:
    """End these turns among the `live` ones; of their deliveries those named in `begun` are being made already.

    Tells of each conversation whether another turn waits. A turn that is over was ended by this very write, in a
    transaction whose answer was lost; one that waits again was set going by an operator since.
    """
    live = [*live]
    over = {row.turn.id for row in rows}
    there = running(live)
    ending = [row for row in rows if row.turn.id in there]
    _ENDED.run(tx.connection, [_ended(row, tx.now) for row in ending])
    threads = [
        {"at": row.turn.lease.conversation_id, "task": row.task_id}
        for row in ending
        # one that was known before was noted then; the thread may have gone on elsewhere since
        if row.task_id and row.task_id not in {row.turn.thread_id, row.turn.task_id}
    ]
    _THREAD.run(tx.connection, threads)
    out = [
        delivery_row(row.turn, message) | (_BEGUN if message.delivery_id in begun else {})
        for row in ending
        for message in row.deliveries
    ]
    _OWE.run(tx.connection, out)
    if paused := [row.turn.id for row in ending if row.turn.pause is not None]:
        asked.close(tx, paused, asked.OVER)
    waiting = {one.conversation_id for one in live if one.id not in there or one.id not in over}
    silent = {row.turn.lease.conversation_id for row in rows if not row.deliveries}
    settle(tx, silent - waiting)
    return [row.turn.lease.conversation_id in waiting for row in rows]


def running(live: Iterable[Record]) -> set[str]:
    """Those of these turns that somebody took, and may end."""
    return {one.id for one in live if one.state != "queued"}


_BEGUN: Final[dict[str, Any]] = {"state": "sending", "attempt": 1}


def _ended(row: End, now: datetime) -> dict[str, Any]:
    return {
        "at": row.turn.id,
        "to": row.state.value,
        "task": row.task_id or row.turn.task_id,
        "agent_status": row.status,
        "text": row.result,
        "files": dump_files(row.files) if row.files else None,
        "why": storable(row.error or "") or None,
        "now": now,
    }


def delivery_row(turn: Turn, message: OutboundMessage) -> dict[str, Any]:
    """A new delivery of this turn."""
    return {
        "id": message.delivery_id,
        "conversation_id": turn.lease.conversation_id,
        "turn_id": turn.id,
        "source": turn.answered_through,
        "kind": message.kind,
        "part": message.part,
        "seq": turn.seq,
        "state": "pending",
        "body": dump_outbound(message),
        "attempt": 0,
        "created_at": message.created_at,
    }


_OWE = Prepared(deliveries.insert())
_ENDED = Prepared(
    update(turns)
    .where(turns.c.id == bindparam("at"))
    .values(
        state=bindparam("to"),
        task_id=bindparam("task"),
        status=bindparam("agent_status"),
        result=bindparam("text"),
        files=bindparam("files"),
        error=bindparam("why"),
        finished_at=bindparam("now"),
        tasked_at=func.coalesce(turns.c.tasked_at, bindparam("now", type_=turns.c.tasked_at.type)),
    )
)
_LIVE = Prepared(
    select(
        turns.c.id,
        turns.c.conversation_id,
        turns.c.state,
        turns.c.stop_at,
        exists()
        .where(deliveries.c.conversation_id == turns.c.conversation_id, deliveries.c.state.in_(LIVE_DELIVERY_STATES))
        .label("delivering"),
    ).where(among(turns.c.conversation_id, "ids"), turns.c.state.in_(LIVE_TURN_STATES))
)

END: Write[End, bool] = Write(_end, lease=lambda row: row.turn.lease, look=live_turns)  # type: ignore[arg-type]  # an error is raised to its caller
