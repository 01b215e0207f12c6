"""How tasks of the embedded agent are forgotten, with all their turns."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select

from bridge.store.embedded_tables import agent_backlog, agent_tasks, agent_turns
from bridge.store.writer import Tx, Write


def _erase(tx: Tx, rows: Sequence[str]) -> list[bool]:
    known = set(tx.connection.scalars(select(agent_tasks.c.id).where(agent_tasks.c.id.in_(rows))))
    tx.connection.execute(delete(agent_backlog).where(agent_backlog.c.task_id.in_(known)))
    tx.connection.execute(delete(agent_turns).where(agent_turns.c.task_id.in_(known)))
    tx.connection.execute(delete(agent_tasks).where(agent_tasks.c.id.in_(known)))
    return [row in known for row in rows]


ERASE: Write[str, bool] = Write(_erase, long=True)


def _forget(tx: Tx, rows: Sequence[datetime]) -> list[int]:
    """Erase tasks whose latest turn ended before the time given, some at a time, oldest first."""
    old = (
        select(agent_turns.c.task_id)
        .join(agent_tasks, agent_tasks.c.id == agent_turns.c.task_id)
        .where(agent_turns.c.number == agent_tasks.c.number, agent_turns.c.finished_at < min(rows))
        .order_by(agent_turns.c.finished_at)
        .limit(_FORGOTTEN_AT_ONCE)
    )
    task_ids = list(tx.connection.scalars(old))
    _erase(tx, task_ids)
    return [len(task_ids), *(0 for _ in rows[1:])]


_FORGOTTEN_AT_ONCE = 500

FORGET: Write[datetime, int] = Write(_forget, long=True)
