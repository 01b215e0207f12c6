"""One asyncio task per conversation with something to do: that is the whole ordering mechanism."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog
from structlog.contextvars import bind_contextvars

from bridge.clock import Clock
from bridge.errors import Replaced, StoreUnavailable
from bridge.model import Lease

log = structlog.get_logger()

AGAIN = timedelta(0)
RECOVER = timedelta(seconds=1)

When: TypeAlias = timedelta | datetime | None
"""When to come back: after a delay, at a time, or never (nothing is left)."""

Step: TypeAlias = Callable[[Lease], Awaitable[When]]
"""One piece of work on a conversation."""


class _Lane:
    __slots__ = ("is_nudged", "lease", "sleeper", "task")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.is_nudged = True
        self.sleeper: asyncio.Future[None] | None = None
        """While it waits; an Event would hold a deque in each of ten thousand lanes."""
        self.task: asyncio.Task[None] | None = None

    def nudge(self) -> None:
        self.is_nudged = True
        if self.sleeper is not None and not self.sleeper.done():
            self.sleeper.set_result(None)


class Lanes:
    """Runs steps, one conversation beside the other, one step of a conversation after the other.

    Due times are compared with `now`, the database's clock. A wait longer than `near` ends the lane: it
    is kept in the table, where the sweeper finds it.
    """

    def __init__(self, step: Step, clock: Clock, *, now: Callable[[], datetime], name: str, near: timedelta) -> None:
        self._step = step
        self._clock = clock
        self._now = now
        self.name = name
        self._near = near
        self._lanes: dict[str, _Lane] = {}
        self._still = False
        self._missed: dict[str, Lease] = {}
        """Woken for while all stood still."""

    def __len__(self) -> int:
        return len(self._lanes)

    def wake(self, lease: Lease) -> None:
        """There is something to do. May be said any number of times; a newer epoch replaces an older lane."""
        if self._still:
            newest = self._missed.setdefault(lease.conversation_id, lease)
            self._missed[lease.conversation_id] = max(newest, lease, key=lambda one: one.epoch)
            return
        lane = self._lanes.get(lease.conversation_id)
        if lane is not None and lane.lease.epoch >= lease.epoch:
            lane.nudge()
            return
        if lane is not None and lane.task is not None:
            lane.task.cancel()
        lane = self._lanes[lease.conversation_id] = _Lane(lease)
        # In a context of its own: the lines of whoever woke it have nothing to do with it.
        name, context = f"{self.name} {lease.conversation_id}", Context()
        lane.task = asyncio.create_task(self._run(lane), name=name, context=context)

    def holds(self, conversation_id: str) -> bool:
        """Whether a lane is at work on this conversation."""
        return conversation_id in self._lanes

    def suspend(self) -> None:
        """Stop every lane where it is, and begin none, until `resume`: another node may be at it soon."""
        self._still = True
        for lane in self._lanes.values():
            if lane.task:
                lane.task.cancel()

    def resume(self) -> None:
        """Go on with what there was to do meanwhile; what was stopped is woken by whoever claims it anew."""
        self._still = False
        missed, self._missed = self._missed, {}
        for lease in missed.values():  # one that is not ours any more finds that out
            self.wake(lease)

    async def close(self) -> None:
        """Stop every lane where it is; what it was doing is resumed from its rows."""
        self.suspend()
        tasks = [lane.task for lane in self._lanes.values() if lane.task]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, lane: _Lane) -> None:
        bind_contextvars(conversation=lane.lease.conversation_id)
        try:
            while lane.is_nudged:
                # cleared before the step: what is committed from here on is either seen by it or nudges again
                lane.is_nudged = False
                wait = await self._guarded(lane.lease)
                if wait is not None:
                    await self._pause(lane, wait)
                    lane.is_nudged = True
        finally:
            if self._lanes.get(lane.lease.conversation_id) is lane:
                del self._lanes[lane.lease.conversation_id]

    async def _guarded(self, lease: Lease) -> timedelta | None:
        try:
            due = await self._step(lease)
        except Replaced:
            return None
        except StoreUnavailable as error:
            log.warning("store_unavailable", lane=self.name, conversation=lease.conversation_id, error=str(error))
            return RECOVER
        except Exception:  # one conversation's trouble must not end the others; it is tried again
            log.exception("step_failed", lane=self.name, conversation=lease.conversation_id)
            return RECOVER
        if not isinstance(due, datetime):
            return due
        wait = due - self._now()
        return wait if wait <= self._near else None  # far off: it waits in the table, the sweeper wakes it

    async def _pause(self, lane: _Lane, wait: timedelta) -> None:
        if wait <= AGAIN:
            return
        if lane.is_nudged:
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(wait.total_seconds()))
        nudged = lane.sleeper = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((sleeping, nudged), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            nudged.cancel()
            lane.sleeper = None
