"""Agents that live in other processes: workers of xpander-sdk (`@on_task`), connected to the controller dialect.

While one is connected for an agent, it does that agent's turns instead of its brain. It holds an event stream open, is
sent tasks, and ends each by updating the task's record.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bridge.agent.server.brains import Ask, BrainFault, Pause, Result, Told
from bridge.agent.server.tasks import ORGANIZATION, stamp
from bridge.model import Json, new_id

_RETURN_SECONDS: Final = 60.0
"""How long a turn waits for another worker when its own has gone; the SDK reconnects within seconds."""

Show = Callable[[str], Awaitable[Json]]


@dataclass(slots=True, eq=False)
class _Worker:
    tasks: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    at_work: set[str] = field(default_factory=set)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Workers:
    """The workers connected to this process, by agent."""

    def __init__(self) -> None:
        self._connected: dict[str, list[_Worker]] = {}
        self._arrival = asyncio.Event()

    def serves(self, agent_id: str) -> bool:
        """Whether a worker is connected for this agent."""
        return bool(self._connected.get(agent_id))

    async def connect(self, agent_id: str, now: datetime, show: Show) -> AsyncGenerator[bytes, None]:
        """A worker's event stream: its registration, then a task for each turn it is given."""
        worker = _Worker()
        self._connected.setdefault(agent_id, []).append(worker)
        self._arrival.set()
        self._arrival = asyncio.Event()
        try:
            yield _event("worker-registration", _registration(agent_id, now))
            while True:
                task_id = await worker.tasks.get()
                if task_id in worker.at_work:  # else it was stopped before it was sent
                    yield _event("agent-execution", await show(task_id))
        finally:
            self._connected[agent_id].remove(worker)
            worker.gone.set()

    async def answer(self, ask: Ask) -> AsyncIterator[str | Told | Result | Pause]:
        """Gives the turn to a worker and waits: the worker's update of the record ends it from outside.

        A worker that leaves in the middle loses the turn to the next one, which begins it anew.
        """
        while True:
            worker = await self._least_busy(ask.agent_id)
            worker.at_work.add(ask.task_id)
            worker.tasks.put_nowait(ask.task_id)
            try:
                await worker.gone.wait()
            finally:
                worker.at_work.discard(ask.task_id)
            yield Told("think", "The worker at this task has gone; the next one begins it anew.")

    async def _least_busy(self, agent_id: str) -> _Worker:
        try:
            async with asyncio.timeout(_RETURN_SECONDS):
                while not self.serves(agent_id):
                    await self._arrival.wait()
        except TimeoutError as error:
            raise BrainFault("The worker that had this task is gone, and no other came.") from error
        return min(self._connected[agent_id], key=lambda worker: len(worker.at_work))


def _registration(agent_id: str, now: datetime) -> Json:
    """What xpander-sdk 2.0.537 must be told of itself; the four empty keys must be there (measured)."""
    return {
        "id": new_id("wrk"),
        "name": f"worker of {agent_id}",
        "organization_id": ORGANIZATION,
        "type": "worker",
        "created_at": stamp(now),
        "created_by": None,
        "last_heartbeat": stamp(now),
        "configuration": None,
        "dedicated_agent_id": agent_id,
        "parent_asset_id": None,
        "metadata": None,
    }


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
