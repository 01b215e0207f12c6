"""What waits behind a task's live turn: lined up while it runs, and begun one by one once it is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from bridge.agent_rows import Begun, FollowUp, LinedUp, NewTurn, TaskTurn
from bridge.store.database import Store
from bridge.store.embedded import insert_turns, locked, numbered, turns_by_key
from bridge.store.embedded_rewriting import REWRITE, Rewriting
from bridge.store.embedded_tables import LIVE, agent_backlog, agent_tasks, agent_turns
from bridge.store.writer import Tx, Write

_GOES_ON = ("completed", "error", "failed")
"""After these the next one begins by itself. Who stopped a turn wants quiet, and a pause is for an answer."""


def _line_up(tx: Tx, rows: Sequence[FollowUp]) -> list[LinedUp]:
    latest = locked(tx.connection, sorted({row.task_id for row in rows}))
    return [_lined_up(tx, row, latest.get(row.task_id)) for row in rows]


def _lined_up(tx: Tx, row: FollowUp, turn: TaskTurn | None) -> LinedUp:
    if turn is not None and turn.agent_id != row.agent_id:
        return LinedUp(how="foreign")
    waiting = read_backlog(tx.connection, row.task_id)
    if turn is None or not (turn.status in LIVE or (waiting and turn.status in _GOES_ON)):
        return LinedUp(how="idle", depth=len(waiting))
    if row.idempotency_key is not None:
        if known := next((one for one in waiting if one.idempotency_key == row.idempotency_key), None):
            return LinedUp(how="queued", id=known.id, depth=len(waiting))
        if turns_by_key(tx.connection, [_turn(row, row.at)]):
            return LinedUp(how="queued", depth=len(waiting))  # it has become a turn already
    last = tx.connection.scalar(select(func.max(agent_backlog.c.seq)).where(agent_backlog.c.task_id == row.task_id))
    tx.connection.execute(
        insert(agent_backlog).values(
            task_id=row.task_id,
            seq=(last or 0) + 1,
            id=row.id,
            idempotency_key=row.idempotency_key,
            request=row.request,
            user_id=row.user_id,
            source=row.source,
            enqueued_at=row.at,
        )
    )
    return LinedUp(how="queued", id=row.id, depth=len(waiting) + 1)


LINE_UP: Write[FollowUp, LinedUp] = Write(_line_up)


@dataclass(frozen=True, slots=True)
class _Next:
    task_id: str
    at: datetime
    asked: bool
    """A person wants it, whatever the last turn came to; else only where it goes on by itself."""


def _begin_next(tx: Tx, rows: Sequence[_Next]) -> list[TaskTurn | None]:
    latest = locked(tx.connection, sorted({row.task_id for row in rows}))
    begun: list[TaskTurn | None] = []
    for row in rows:
        turn = _begun(tx, row, latest.get(row.task_id))
        if turn is not None:
            latest[row.task_id] = turn
        begun.append(turn)
    return begun


def _begun(tx: Tx, row: _Next, before: TaskTurn | None) -> TaskTurn | None:
    """The oldest that waits, as a turn; one whose key has become a turn by another way is done with."""
    if before is None or before.status in LIVE or not (row.asked or before.status in _GOES_ON):
        return None
    for waiting in read_backlog(tx.connection, row.task_id):
        _remove(tx.connection, waiting)
        new = _turn(waiting, row.at, agent_id=before.agent_id)
        if new.idempotency_key is None or not turns_by_key(tx.connection, [new]):
            turn = numbered(tx, new, before)
            insert_turns(tx.connection, [turn], [], [{"at": row.task_id, "to": turn.number}])
            return turn
    return None


def _turn(row: Any, at: datetime, *, agent_id: str | None = None) -> NewTurn:
    return NewTurn(
        task_id=row.task_id,
        agent_id=agent_id or row.agent_id,
        idempotency_key=row.idempotency_key,
        request=row.request,
        user_id=row.user_id,
        source=row.source,
        at=at,
    )


def _remove(connection: Connection, row: Row[Any]) -> None:
    connection.execute(
        delete(agent_backlog).where(agent_backlog.c.task_id == row.task_id, agent_backlog.c.seq == row.seq)
    )


BEGIN_NEXT: Write[_Next, TaskTurn | None] = Write(_begin_next)


def _clear(tx: Tx, rows: Sequence[str]) -> list[None]:
    tx.connection.execute(delete(agent_backlog).where(agent_backlog.c.task_id.in_(rows)))
    return [None] * len(rows)


CLEAR: Write[str, None] = Write(_clear)


def read_backlog(connection: Connection, task_id: str) -> Sequence[Row[Any]]:
    """What waits, oldest first."""
    query = select(agent_backlog).where(agent_backlog.c.task_id == task_id).order_by(agent_backlog.c.seq)
    return connection.execute(query).all()


def read_left(connection: Connection) -> list[str]:
    """Tasks in which something waits although it could begin: whoever should have begun it has ceased."""
    query = (
        select(agent_backlog.c.task_id)
        .join(agent_tasks, agent_tasks.c.id == agent_backlog.c.task_id)
        .join(
            agent_turns,
            (agent_turns.c.task_id == agent_tasks.c.id) & (agent_turns.c.number == agent_tasks.c.number),
        )
        .where(agent_turns.c.status.in_(_GOES_ON))
        .distinct()
        .limit(100)
    )
    return list(connection.scalars(query))


class EmbeddedBacklog:
    """Conversations of the embedded agent in the bridge's own database: what waits, and what is rewritten."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def line_up(self, said: FollowUp) -> LinedUp:
        """Let it wait behind the live turn of its task, once for each key; where nothing is live, store nothing."""
        return await self._store.write(LINE_UP, said)

    async def begin_next(self, task_id: str, at: datetime, *, asked: bool) -> TaskTurn | None:
        """Make the oldest that waits a turn of this node, in one step; None where nothing waits or may begin."""
        return await self._store.write(BEGIN_NEXT, _Next(task_id, at, asked))

    async def clear(self, task_id: str) -> None:
        """Forget what waits."""
        await self._store.write(CLEAR, task_id)

    async def rewrite(self, turn: NewTurn, *, number: int) -> Begun | None:
        """Drop a turn and all behind it, and begin this one instead; None where the task has no such turn."""
        return await self._store.write(REWRITE, Rewriting(number, turn))

    async def waiting(self, task_id: str) -> Sequence[FollowUp]:
        """What waits, oldest first."""
        return [
            FollowUp(
                id=row.id,
                task_id=row.task_id,
                agent_id="",
                idempotency_key=row.idempotency_key,
                request=row.request,
                user_id=row.user_id,
                source=row.source,
                at=row.enqueued_at,
            )
            for row in await self._store.read(read_backlog, task_id)
        ]

    async def left(self) -> Sequence[str]:
        """Tasks whose next one should have begun, but whoever should have seen to it has ceased."""
        return await self._store.read(read_left)
