"""The rows of the embedded agent: how tasks and their turns are written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from sqlalchemy import Connection, String, bindparam, cast, insert, select, true, update

from bridge.agent_rows import Begun, NewTurn, TaskFilter, TaskTurn, TurnChange
from bridge.store.database import Store
from bridge.store.embedded_erasing import ERASE, FORGET
from bridge.store.embedded_tables import (
    FINISHED,
    FULL,
    LATEST,
    LIVE,
    LIVING,
    agent_tasks,
    agent_turns,
    read_latest,
    read_page,
    read_turns,
    turn_of,
)
from bridge.store.prepared import Prepared, among
from bridge.store.statements import insert_new
from bridge.store.tables import nodes
from bridge.store.writer import Tx, Write


def _begin(tx: Tx, rows: Sequence[NewTurn]) -> list[Begun]:
    """Store new turns, unless the key is known or the task is busy; several of one batch see each other."""
    by_key = turns_by_key(tx.connection, rows)
    latest = locked(tx.connection, sorted({row.task_id for row in rows}))
    new: list[TaskTurn] = []
    born: list[dict[str, Any]] = []
    grown: list[dict[str, Any]] = []
    outcomes = []
    for row in rows:
        known, before = by_key.get((row.agent_id, row.idempotency_key)), latest.get(row.task_id)
        if (mine := known or before) is not None and (mine.node, mine.created_at) == (tx.node, row.at):
            outcomes.append(Begun(how="new", turn=mine))  # the commit before this try had succeeded after all
        elif known is not None:
            outcomes.append(Begun(how="repeated", turn=known))
        elif before is not None and before.agent_id != row.agent_id:
            outcomes.append(Begun(how="foreign", turn=before))
        elif before is not None and before.status in LIVE:
            outcomes.append(Begun(how="busy", turn=before))
        else:
            turn = numbered(tx, row, before)
            if before is None:
                born.append(_task_values(row))
            else:
                grown.append({"at": row.task_id, "to": turn.number})
            new.append(turn)
            latest[row.task_id] = turn
            if row.idempotency_key is not None:
                by_key[row.agent_id, row.idempotency_key] = turn
            outcomes.append(Begun(how="new", turn=turn))
    insert_turns(tx.connection, new, born, grown)
    return outcomes


_BEAR = Prepared(insert(agent_tasks))
_GROW = Prepared(update(agent_tasks).where(agent_tasks.c.id == bindparam("at")).values(number=bindparam("to")))
_STORE = Prepared(insert(agent_turns))
_COLUMNS = [column.name for column in agent_turns.columns]


def insert_turns(
    connection: Connection, new: Iterable[TaskTurn], born: list[dict[str, Any]], grown: list[dict[str, Any]]
) -> None:
    """Store new turns, with their tasks where these are new, too (`born`) or go on (`grown`)."""
    _BEAR.run(connection, born)
    _GROW.run(connection, grown)
    _STORE.run(connection, [{name: getattr(turn, name) for name in _COLUMNS} for turn in new])


def turns_by_key(connection: Connection, rows: Sequence[NewTurn]) -> dict[tuple[str, str | None], TaskTurn]:
    """The turns that have these keys already."""
    keys = {row.idempotency_key for row in rows if row.idempotency_key is not None}
    if not keys:
        return {}
    found = map(turn_of, _KEYED.rows(connection, {"agents": {row.agent_id for row in rows}, "keys": keys}))
    return {(turn.agent_id, turn.idempotency_key): turn for turn in found}


# Two plain lists, since SQLite scans the whole table for a list of pairs.
_KEYED = Prepared(FULL.where(among(agent_turns.c.agent_id, "agents"), among(agent_turns.c.idempotency_key, "keys")))


def locked(connection: Connection, task_ids: Sequence[str]) -> dict[str, TaskTurn]:
    """The latest turns of these tasks; the tasks stay locked until the commit, always in the order of their ids."""
    if connection.dialect.name != "sqlite":  # there the one writer has the whole file
        _LOCK.rows(connection, {"ids": task_ids})
    return {row.task_id: turn_of(row) for row in _LATEST.rows(connection, {"ids": task_ids})}


_LOCK = Prepared(
    select(agent_tasks.c.id).where(among(agent_tasks.c.id, "ids")).order_by(agent_tasks.c.id).with_for_update()
)
_LATEST = Prepared(LATEST.where(among(agent_turns.c.task_id, "ids")))


def numbered(tx: Tx, row: NewTurn, before: TaskTurn | None) -> TaskTurn:
    """The turn as it is stored, behind the one before."""
    return TaskTurn(
        task_id=row.task_id,
        number=1 if before is None else before.number + 1,
        agent_id=row.agent_id,
        idempotency_key=row.idempotency_key,
        status=row.status,
        request=row.request,
        result=row.result,
        events="",
        changes="",
        attempt=1,
        node=tx.node,
        created_at=row.at,
        born_at=row.at if before is None else before.born_at,
        updated_at=row.at,
        finished_at=row.at if row.status in FINISHED else None,
    )


def _task_values(row: NewTurn) -> dict[str, Any]:
    return {
        "id": row.task_id,
        "agent_id": row.agent_id,
        "number": 1,
        "user_id": row.user_id,
        "parent_id": row.parent_id,
        "triggering_agent_id": row.triggering_agent_id,
        "born_at": row.at,
    }


BEGIN: Write[NewTurn, Begun] = Write(_begin)


def _change(tx: Tx, rows: Sequence[TurnChange]) -> list[TaskTurn | None]:
    """Apply each change to its turn as it is by then. None where the turn is gone or no longer the caller's."""
    wanted = {"ids": {row.task_id for row in rows}, "numbers": {str(row.number) for row in rows}}
    found = _CHANGING.rows(tx.connection, wanted)
    turns = {(turn.task_id, turn.number): turn for turn in map(turn_of, found)}
    outcomes: list[TaskTurn | None] = []
    changed = {}
    for row in rows:
        turn = turns.get((row.task_id, row.number))
        if turn is not None and _applies(tx, row, turn):
            turn = turns[row.task_id, row.number] = _changed(tx, row, turn)
            changed[row.task_id, row.number] = turn
            outcomes.append(turn)
        else:
            outcomes.append(None)
    _UPDATE.run(tx.connection, [_update_values(turn) for turn in changed.values()])
    return outcomes


_CHANGING = Prepared(
    FULL.where(among(agent_turns.c.task_id, "ids"), among(cast(agent_turns.c.number, String), "numbers"))
    .order_by(agent_turns.c.task_id, agent_turns.c.number)
    .with_for_update(of=agent_turns)
)
_CHANGEABLE = ("status", "result", "events", "changes", "attempt", "node", "updated_at", "finished_at")
_UPDATE = Prepared(
    update(agent_turns)
    .where(agent_turns.c.task_id == bindparam("at_task"), agent_turns.c.number == bindparam("at_number"))
    .values({name: bindparam(f"new_{name}", type_=agent_turns.c[name].type) for name in _CHANGEABLE})
)
_NEW = [(f"new_{name}", name) for name in _CHANGEABLE]


def _update_values(turn: TaskTurn) -> dict[str, Any]:
    values = {new: getattr(turn, name) for new, name in _NEW}
    values["at_task"], values["at_number"] = turn.task_id, turn.number
    return values


def _applies(tx: Tx, row: TurnChange, turn: TaskTurn) -> bool:
    if row.attempt is not None and (turn.node, turn.attempt) != (tx.node, row.attempt):
        return False
    return row.only_from is None or turn.status in row.only_from


def _changed(tx: Tx, row: TurnChange, turn: TaskTurn) -> TaskTurn:
    status = row.status or turn.status
    begins = status in LIVE and turn.status not in LIVE
    return TaskTurn(
        **{name: getattr(turn, name) for name in _KEPT},
        status=status,
        result=turn.result if row.result is None else row.result,
        events=turn.events if row.events is None else row.events,
        changes=turn.changes if row.changes is None else row.changes,
        attempt=turn.attempt + begins,
        node=tx.node if begins else turn.node,
        updated_at=row.at,
        finished_at=(turn.finished_at or row.at) if status in FINISHED else None,
    )


_KEPT = ("task_id", "number", "agent_id", "idempotency_key", "request", "created_at", "born_at")

CHANGE: Write[TurnChange, TaskTurn | None] = Write(_change)


@dataclass(frozen=True, slots=True)
class _Sign:
    lifetime: timedelta
    exclusive: bool
    """No other node can be alive (SQLite): whatever is not ours is taken at once."""


def _keep(tx: Tx, rows: Sequence[_Sign]) -> list[list[TaskTurn]]:
    """A sign of life; answers the live turns of nodes that are no more, which are ours from now on."""
    until = tx.now + max(row.lifetime for row in rows)
    values = {"id": tx.node, "until": until, "started_at": tx.now, "version": version("agent-bridge")}
    if not insert_new(tx.connection, nodes, [values], "id"):
        tx.connection.execute(update(nodes).where(nodes.c.id == tx.node).values(until=until))
    alive = select(nodes.c.id).where(nodes.c.until > tx.now, nodes.c.id == tx.node if rows[0].exclusive else true())
    query = (
        FULL.where(LIVING, agent_turns.c.node.not_in(alive))
        .limit(_TAKEN_AT_ONCE)
        .with_for_update(of=agent_turns, skip_locked=True)
    )
    taken = [_taken(tx, turn_of(row)) for row in tx.connection.execute(query)]
    _UPDATE.run(tx.connection, [_update_values(turn) for turn in taken])
    return [taken, *([] for _ in rows[1:])]


_TAKEN_AT_ONCE = 100


def _taken(tx: Tx, turn: TaskTurn) -> TaskTurn:
    values = {name: getattr(turn, name) for name in TaskTurn.__slots__}
    return TaskTurn(**values | {"node": tx.node, "attempt": turn.attempt + 1})


KEEP: Write[_Sign, list[TaskTurn]] = Write(_keep)


class EmbeddedRows:
    """The embedded agent's tasks in the bridge's own database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def node(self) -> str:
        """This process, as the turns it works on are marked."""
        return self._store.node

    async def begin(self, turn: NewTurn) -> Begun:
        """Store a turn before anything of it is worked on, or say why not."""
        return await self._store.write(BEGIN, turn)

    async def change(self, change: TurnChange) -> TaskTurn | None:
        """Change a turn; None where it is gone, or finished, or another node's, as the change demands."""
        return await self._store.write(CHANGE, change)

    async def keep(self, lifetime: timedelta) -> Sequence[TaskTurn]:
        """Live on for `lifetime`; answers the turns taken over from nodes that ceased, each exactly once."""
        return await self._store.write(KEEP, _Sign(lifetime, self._store.exclusive))

    async def erase(self, task_id: str) -> bool:
        """Forget a task with all its turns; False where there is none."""
        return await self._store.write(ERASE, task_id)

    async def forget(self, before: datetime) -> int:
        """Erase some of the tasks that ended before; answers how many, 0 when none is left."""
        return await self._store.write(FORGET, before)

    async def latest(self, task_id: str) -> TaskTurn | None:
        """The latest turn of a task."""
        return await self._store.read(read_latest, task_id)

    async def turns(self, task_id: str, *, limit: int) -> Sequence[TaskTurn]:
        """The newest turns of a task, oldest first."""
        return await self._store.read(read_turns, task_id, limit)

    async def page(self, wanted: TaskFilter, *, offset: int, limit: int) -> tuple[Sequence[TaskTurn], int]:
        """The latest turns of the tasks wanted, newest task first, and how many tasks there are."""
        return await self._store.read(read_page, wanted, offset, limit)
