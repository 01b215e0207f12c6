"""An operator stops a conversation: what waits is cancelled, what runs is stopped by whichever node runs it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from bridge.errors import Missing
from bridge.model import Lease
from bridge.store.rousing import rouse
from bridge.store.tables import conversations
from bridge.store.taking_back import LIVE_TURNS, ending, stop_all
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The conversation to be stopped."""

    conversation_id: str
    dry_run: bool = False
    claim: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What was done, or would be."""

    conversation_id: str
    dry_run: bool
    does: str
    cancelled: int
    """Turns that had not begun."""
    stopping: int
    """Turns that the agent knows: one runs, waits for a person, or is to go on with its task."""
    wake: Lease | None = None


def check_exists(connection: Connection, conversation_id: str) -> None:
    """Raises Missing."""
    found = connection.execute(select(conversations.c.id).where(conversations.c.id == conversation_id)).first()
    if found is None:
        raise Missing(f"There is no conversation {conversation_id}.")


def has_live_turns(connection: Connection, conversation_id: str) -> bool:
    """Whether anything of it waits, runs or pauses."""
    return connection.execute(LIVE_TURNS, {"conversation": conversation_id}).first() is not None


def _stop(tx: Tx, rows: Sequence[Stop]) -> list[Stopped]:
    return [_stop_one(tx, row) for row in rows]


STOP_CONVERSATION: Write[Stop, Stopped] = Write(_stop, conversation=lambda row: row.conversation_id)


def _stop_one(tx: Tx, row: Stop) -> Stopped:
    found = ending(tx, row.conversation_id)
    wake = None
    if (found.waiting or found.begun) and not row.dry_run:
        stop_all(tx, row.conversation_id)
        wake = rouse(tx, row.conversation_id, claim=row.claim)
    return Stopped(
        conversation_id=row.conversation_id,
        dry_run=row.dry_run,
        does=_sentence(found.waiting, found.begun),
        cancelled=found.waiting,
        stopping=found.begun,
        wake=wake,
    )


def _sentence(waiting: int, begun: int) -> str:
    parts = []
    if begun:
        parts.append("stop the running turn at the agent")
    if waiting:
        parts.append(f"cancel {waiting} waiting {'turn' if waiting == 1 else 'turns'}")
    return f"{' and '.join(parts).capitalize()}." if parts else "Nothing runs or waits: nothing to stop."
