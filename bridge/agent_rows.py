"""What the embedded agent keeps, as values: the language between its server and its tables."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTurn:
    """One accepted invocation, about to be stored."""

    task_id: str
    agent_id: str
    idempotency_key: str | None
    request: str
    """The accepted body, as JSON."""
    user_id: str | None = None
    source: str | None = None
    parent_id: str | None = None
    triggering_agent_id: str | None = None
    status: str = "executing"
    result: str | None = None
    """Set where the turn was worked on elsewhere and is only reported here."""
    at: datetime
    """Never the same for two turns of one process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTurn:
    """One turn of a task, as stored. A task shows its latest turn."""

    task_id: str
    number: int
    """Counts the turns of the task, from 1."""
    agent_id: str
    idempotency_key: str | None
    status: str
    request: str
    result: str | None
    events: str
    """What the brain told on the way, as a JSON array; empty until the turn ends or pauses."""
    changes: str
    """What clients changed in the task's record, as a JSON object; empty where nothing."""
    attempt: int
    """How many processes have begun this turn; with `node` it says whose work it is."""
    node: str
    created_at: datetime
    """When the turn was accepted."""
    born_at: datetime
    """When the task was."""
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What became of a NewTurn."""

    how: Literal["new", "repeated", "busy", "foreign"]
    """`repeated`: the key was used before; `busy`: another turn runs; `foreign`: the task is another agent's."""
    turn: TaskTurn
    """The new turn, the one of the key, or the one in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnChange:
    """A change of one turn; None leaves a value as it is."""

    task_id: str
    number: int
    status: str | None = None
    result: str | None = None
    events: str | None = None
    changes: str | None = None
    attempt: int | None = None
    """Only if the turn is still this node's, at this attempt."""
    only_from: frozenset[str] | None = None
    """Only if the turn has one of these statuses."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; None means any."""

    agent_id: str | None = None
    user_id: str | None = None
    parent_task_id: str | None = None
    triggering_agent_id: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """What somebody says to a task that may be at work."""

    id: str
    task_id: str
    agent_id: str
    idempotency_key: str | None
    request: str
    """As a turn's."""
    user_id: str | None = None
    source: str | None = None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LinedUp:
    """What became of a FollowUp."""

    how: Literal["idle", "queued", "foreign"]
    """`idle`: nothing runs that it could wait for, so it was not stored; `foreign`: the task is another agent's."""
    id: str | None = None
    """Under which it waits; an earlier one's where the key is known."""
    depth: int = 0
    """How many wait now."""
