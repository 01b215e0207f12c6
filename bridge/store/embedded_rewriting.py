"""A message of a task is rewritten: what came after it is dropped, and it begins a turn of its own, in one step."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from bridge.agent_rows import Begun, NewTurn, TaskTurn
from bridge.store.embedded import insert_turns, locked, numbered, turns_by_key
from bridge.store.embedded_tables import LIVE, agent_turns
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Turn `number` of a task, and what stands in its place."""

    number: int
    turn: NewTurn


def _rewrite(tx: Tx, rows: Sequence[Rewriting]) -> list[Begun | None]:
    """None where the task has no such turn."""
    latest = locked(tx.connection, sorted({row.turn.task_id for row in rows}))
    begun = []
    for row in rows:
        outcome = _rewritten(tx, row, latest.get(row.turn.task_id))
        if outcome is not None and outcome.how == "new":
            latest[row.turn.task_id] = outcome.turn
        begun.append(outcome)
    return begun


def _rewritten(tx: Tx, row: Rewriting, before: TaskTurn | None) -> Begun | None:
    new = row.turn
    if before is not None and (before.node, before.created_at) == (tx.node, new.at):
        return Begun(how="new", turn=before)  # the commit before this try had succeeded after all
    if known := turns_by_key(tx.connection, [new]).get((new.agent_id, new.idempotency_key)):
        return Begun(how="repeated", turn=known)
    behind = (agent_turns.c.task_id == new.task_id, agent_turns.c.number >= row.number)
    dropped = select(agent_turns.c.number).where(*behind).order_by(agent_turns.c.number).limit(1)
    if before is None or tx.connection.scalar(dropped) != row.number:
        return None
    if before.agent_id != new.agent_id or before.status in LIVE:
        return Begun(how="busy" if before.agent_id == new.agent_id else "foreign", turn=before)
    tx.connection.execute(delete(agent_turns).where(*behind))
    # Numbers only grow: who still reads a dropped turn by its number is told of no other one.
    turn = numbered(tx, new, before)
    insert_turns(tx.connection, [turn], [], [{"at": new.task_id, "to": turn.number}])
    return Begun(how="new", turn=turn)


REWRITE: Write[Rewriting, Begun | None] = Write(_rewrite)
