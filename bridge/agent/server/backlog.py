"""What people say to a task while its turn runs: kept where tasks are kept, and begun one by one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from bridge.agent_rows import Begun, FollowUp, LinedUp, NewTurn, TaskTurn


class Backlog(Protocol):
    """Where follow-ups wait. Whatever returns from here is durable."""

    async def line_up(self, said: FollowUp) -> LinedUp:
        """Let it wait behind the live turn of its task, once for each key; where nothing is live, store nothing."""
        ...

    async def begin_next(self, task_id: str, at: datetime, *, asked: bool) -> TaskTurn | None:
        """Make the oldest that waits a turn of this node, in one step; None where nothing waits or may begin.

        After a stop, and where an answer is awaited, only who asks for it makes the next one begin.
        """
        ...

    async def clear(self, task_id: str) -> None:
        """Forget what waits."""
        ...

    async def rewrite(self, turn: NewTurn, *, number: int) -> Begun | None:
        """Drop a turn and all behind it, and begin this one instead; None where the task has no such turn."""
        ...

    async def waiting(self, task_id: str) -> Sequence[FollowUp]:
        """What waits, oldest first."""
        ...

    async def left(self) -> Sequence[str]:
        """Tasks whose next one should have begun, but whoever should have seen to it has ceased."""
        ...
