"""The rows of the embedded agent: tasks, and their turns with all that was said and told in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from bridge.agent_rows import Begun, NewTurn, TaskFilter, TaskTurn, TurnChange
from bridge.store.database import Store
from bridge.store.statements import insert_new
from bridge.store.tables import Instant, metadata, nodes
from bridge.store.writer import Tx, Write

_KEYED = text("idempotency_key IS NOT NULL")
_LIVING = text("status IN ('pending', 'executing')")

LIVE = ("pending", "executing")
FINISHED = ("completed", "error", "failed", "stopped")

agent_tasks = Table(
    "agent_tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("agent_id", String, nullable=False),
    Column("number", Integer, nullable=False),  # of the latest turn
    Column("user_id", String),
    Column("parent_id", String),
    Column("triggering_agent_id", String),
    Column("born_at", Instant, nullable=False),
    Index("ix_agent_tasks_agent_id", "agent_id", "born_at"),
    Index("ix_agent_tasks_born_at", "born_at"),
    Index("ix_agent_tasks_parent_id", "parent_id"),
)

agent_turns = Table(
    "agent_turns",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("agent_id", String, nullable=False),
    Column("idempotency_key", String),
    Column("status", String, nullable=False),
    Column("request", Text, nullable=False),
    Column("result", Text),
    Column("events", Text, nullable=False),
    Column("changes", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("node", String, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Index(
        "uq_agent_turns_key",
        "agent_id",
        "idempotency_key",
        unique=True,
        sqlite_where=_KEYED,
        postgresql_where=_KEYED,
    ),
    Index("ix_agent_turns_live", "node", sqlite_where=_LIVING, postgresql_where=_LIVING),
)

_FULL = select(agent_turns, agent_tasks.c.born_at).join(agent_tasks, agent_tasks.c.id == agent_turns.c.task_id)
_LATEST = _FULL.where(agent_turns.c.number == agent_tasks.c.number)


def _turn(row: Row[Any]) -> TaskTurn:
    return TaskTurn(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def _begin(tx: Tx, rows: Sequence[NewTurn]) -> list[Begun]:
    """Store new turns, unless the key is known or the task is busy; several of one batch see each other."""
    by_key = _by_key(tx.connection, rows)
    latest = _locked(tx.connection, sorted({row.task_id for row in rows}))
    new: list[TaskTurn] = []
    born: list[dict[str, Any]] = []
    grown: list[dict[str, Any]] = []
    outcomes = []
    for row in rows:
        known, before = by_key.get((row.agent_id, row.idempotency_key)), latest.get(row.task_id)
        if known is not None:
            outcomes.append(Begun(how="repeated", turn=known))
        elif before is not None and before.agent_id != row.agent_id:
            outcomes.append(Begun(how="foreign", turn=before))
        elif before is not None and before.status in LIVE:
            outcomes.append(Begun(how="busy", turn=before))
        else:
            turn = _numbered(tx, row, before)
            if before is None:
                born.append(_task_values(row))
            else:
                grown.append({"at": row.task_id, "to": turn.number})
            new.append(turn)
            latest[row.task_id] = turn
            if row.idempotency_key is not None:
                by_key[row.agent_id, row.idempotency_key] = turn
            outcomes.append(Begun(how="new", turn=turn))
    _insert(tx.connection, new, born, grown)
    return outcomes


_GROW = update(agent_tasks).where(agent_tasks.c.id == bindparam("at")).values(number=bindparam("to"))


def _insert(
    connection: Connection, new: Iterable[TaskTurn], born: list[dict[str, Any]], grown: list[dict[str, Any]]
) -> None:
    if born:
        connection.execute(insert(agent_tasks), born)
    if grown:
        connection.execute(_GROW, grown)
    values = [{column.name: getattr(turn, column.name) for column in agent_turns.columns} for turn in new]
    if values:
        connection.execute(insert(agent_turns), values)


def _by_key(connection: Connection, rows: Sequence[NewTurn]) -> dict[tuple[str, str | None], TaskTurn]:
    keys = {(row.agent_id, row.idempotency_key) for row in rows if row.idempotency_key is not None}
    if not keys:
        return {}
    query = _FULL.where(tuple_(agent_turns.c.agent_id, agent_turns.c.idempotency_key).in_(sorted(keys)))
    found = [_turn(row) for row in connection.execute(query)]
    return {(turn.agent_id, turn.idempotency_key): turn for turn in found}


def _locked(connection: Connection, task_ids: Sequence[str]) -> dict[str, TaskTurn]:
    """The latest turns of these tasks; the tasks stay locked until the commit, always in the order of their ids."""
    connection.execute(
        select(agent_tasks.c.id).where(agent_tasks.c.id.in_(task_ids)).order_by(agent_tasks.c.id).with_for_update()
    )
    return {row.task_id: _turn(row) for row in connection.execute(_LATEST.where(agent_turns.c.task_id.in_(task_ids)))}


def _numbered(tx: Tx, row: NewTurn, before: TaskTurn | None) -> TaskTurn:
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
    keys = sorted({(row.task_id, row.number) for row in rows})
    lock = tuple_(agent_turns.c.task_id, agent_turns.c.number).in_(keys)
    query = _FULL.where(lock).order_by(agent_turns.c.task_id, agent_turns.c.number).with_for_update(of=agent_turns)
    turns = {(turn.task_id, turn.number): turn for turn in map(_turn, tx.connection.execute(query))}
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
    if changed:
        tx.connection.execute(_UPDATE, [_update_values(turn) for turn in changed.values()])
    return outcomes


_CHANGEABLE = ("status", "result", "events", "changes", "attempt", "node", "updated_at", "finished_at")
_UPDATE = (
    update(agent_turns)
    .where(agent_turns.c.task_id == bindparam("at_task"), agent_turns.c.number == bindparam("at_number"))
    .values({name: bindparam(f"new_{name}", type_=agent_turns.c[name].type) for name in _CHANGEABLE})
)


def _update_values(turn: TaskTurn) -> dict[str, Any]:
    return {"at_task": turn.task_id, "at_number": turn.number} | {
        f"new_{name}": getattr(turn, name) for name in _CHANGEABLE
    }


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
        _FULL.where(agent_turns.c.status.in_(LIVE), agent_turns.c.node.not_in(alive))
        .order_by(agent_turns.c.task_id)
        .limit(_TAKEN_AT_ONCE)
        .with_for_update(of=agent_turns, skip_locked=True)
    )
    taken = [_taken(tx, _turn(row)) for row in tx.connection.execute(query)]
    if taken:
        tx.connection.execute(_UPDATE, [_update_values(turn) for turn in taken])
    return [taken, *([] for _ in rows[1:])]


_TAKEN_AT_ONCE = 100


def _taken(tx: Tx, turn: TaskTurn) -> TaskTurn:
    values = {name: getattr(turn, name) for name in TaskTurn.__slots__}
    return TaskTurn(**values | {"node": tx.node, "attempt": turn.attempt + 1})


KEEP: Write[_Sign, list[TaskTurn]] = Write(_keep)


def _erase(tx: Tx, rows: Sequence[str]) -> list[bool]:
    known = set(tx.connection.scalars(select(agent_tasks.c.id).where(agent_tasks.c.id.in_(rows))))
    tx.connection.execute(delete(agent_turns).where(agent_turns.c.task_id.in_(known)))
    tx.connection.execute(delete(agent_tasks).where(agent_tasks.c.id.in_(known)))
    return [row in known for row in rows]


ERASE: Write[str, bool] = Write(_erase)


def _read_latest(connection: Connection, task_id: str) -> TaskTurn | None:
    row = connection.execute(_LATEST.where(agent_turns.c.task_id == task_id)).one_or_none()
    return None if row is None else _turn(row)


def _read_turns(connection: Connection, task_id: str, limit: int) -> list[TaskTurn]:
    query = _FULL.where(agent_turns.c.task_id == task_id).order_by(agent_turns.c.number.desc()).limit(limit)
    return [_turn(row) for row in reversed(connection.execute(query).all())]


def _read_page(connection: Connection, wanted: TaskFilter, offset: int, limit: int) -> tuple[list[TaskTurn], int]:
    conditions = _conditions(wanted)
    counted: Select[int] = (
        select(func.count())
        .select_from(agent_turns)
        .join(
            agent_tasks, and_(agent_tasks.c.id == agent_turns.c.task_id, agent_tasks.c.number == agent_turns.c.number)
        )
        .where(*conditions)
    )
    query = (
        _LATEST.where(*conditions).order_by(agent_tasks.c.born_at.desc(), agent_tasks.c.id).offset(offset).limit(limit)
    )
    return [_turn(row) for row in connection.execute(query)], connection.scalar(counted) or 0


def _conditions(wanted: TaskFilter) -> list[Any]:
    columns: Mapping[str, Column[Any]] = {
        "agent_id": agent_tasks.c.agent_id,
        "user_id": agent_tasks.c.user_id,
        "parent_task_id": agent_tasks.c.parent_id,
        "triggering_agent_id": agent_tasks.c.triggering_agent_id,
        "status": agent_turns.c.status,
    }
    return [column == value for name, column in columns.items() if (value := getattr(wanted, name)) is not None]


class EmbeddedRows:
    """The embedded agent's tasks in the bridge's own database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, turn: NewTurn) -> Begun:
        """Store a turn before anything of it is worked on, or say why not."""
        try:
            return await self._store.write(BEGIN, turn)
        except IntegrityError:  # two nodes stored the same key or task at once: this time it is seen
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

    async def latest(self, task_id: str) -> TaskTurn | None:
        """The latest turn of a task."""
        return await self._store.read(_read_latest, task_id)

    async def turns(self, task_id: str, *, limit: int) -> Sequence[TaskTurn]:
        """The newest turns of a task, oldest first."""
        return await self._store.read(_read_turns, task_id, limit)

    async def page(self, wanted: TaskFilter, *, offset: int, limit: int) -> tuple[Sequence[TaskTurn], int]:
        """The latest turns of the tasks wanted, newest task first, and how many tasks there are."""
        return await self._store.read(_read_page, wanted, offset, limit)
