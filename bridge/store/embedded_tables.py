"""The tables of the embedded agent, and how they are read: tasks, and their turns with all that was said and told."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    func,
    select,
    text,
)

from bridge.agent_rows import TaskFilter, TaskTurn
from bridge.store.prepared import Prepared
from bridge.store.tables import Instant, metadata

_KEYED = text("idempotency_key IS NOT NULL")
LIVING = text("status IN ('pending', 'executing')")

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
    Index("ix_agent_turns_live", "node", sqlite_where=LIVING, postgresql_where=LIVING),
)

agent_backlog = Table(
    "agent_backlog",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("id", String, nullable=False),
    Column("idempotency_key", String),
    Column("request", Text, nullable=False),
    Column("user_id", String),
    Column("source", String),
    Column("enqueued_at", Instant, nullable=False),
)
"""What people said to a task while its turn ran; each becomes a turn of its own."""

FULL = select(agent_turns, agent_tasks.c.born_at).join(agent_tasks, agent_tasks.c.id == agent_turns.c.task_id)
LATEST = FULL.where(agent_turns.c.number == agent_tasks.c.number)


_FIELDS = FULL.exported_columns.keys()


def turn_of(row: Sequence[Any]) -> TaskTurn:
    """A row of FULL or LATEST as a value."""
    return TaskTurn(**dict(zip(_FIELDS, row, strict=True)))


def read_latest(connection: Connection, task_id: str) -> TaskTurn | None:
    """The latest turn of a task."""
    return next(map(turn_of, _ONE.rows(connection, {"task": task_id})), None)


_ONE = Prepared(LATEST.where(agent_turns.c.task_id == bindparam("task")))


def read_turns(connection: Connection, task_id: str, limit: int) -> list[TaskTurn]:
    """The newest turns of a task, oldest first."""
    return [turn_of(row) for row in reversed(_NEWEST.rows(connection, {"task": task_id, "most": limit}))]


_NEWEST = Prepared(
    FULL.where(agent_turns.c.task_id == bindparam("task"))
    .order_by(agent_turns.c.number.desc())
    .limit(bindparam("most", type_=Integer))
)


def read_page(connection: Connection, wanted: TaskFilter, offset: int, limit: int) -> tuple[list[TaskTurn], int]:
    """The latest turns of the tasks wanted, newest task first, and how many tasks there are."""
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
        LATEST.where(*conditions).order_by(agent_tasks.c.born_at.desc(), agent_tasks.c.id).offset(offset).limit(limit)
    )
    return [turn_of(row) for row in connection.execute(query)], connection.scalar(counted) or 0


def _conditions(wanted: TaskFilter) -> list[Any]:
    columns: Mapping[str, Column[Any]] = {
        "agent_id": agent_tasks.c.agent_id,
        "user_id": agent_tasks.c.user_id,
        "parent_task_id": agent_tasks.c.parent_id,
        "triggering_agent_id": agent_tasks.c.triggering_agent_id,
        "status": agent_turns.c.status,
    }
    return [column == value for name, column in columns.items() if (value := getattr(wanted, name)) is not None]
