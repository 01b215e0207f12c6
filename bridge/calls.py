"""One turn at its agent: asked, watched, shown, and stopped if a person wants that."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from bridge.agent.backend import Backend
from bridge.agent.request import InvokeRequest
from bridge.agent.task import Task, TaskEvent
from bridge.circuits import Circuits
from bridge.errors import AgentError, BridgeError, Interrupted, Silent
from bridge.model import Turn
from bridge.pauses import TOLD
from bridge.store import turns as rows
from bridge.store.database import Store
from bridge.views import View

log = structlog.get_logger()

STOP_SECONDS = 10


class Stopped(BridgeError):
    """A person wants the turn stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One configured agent."""

    backend: Backend
    defaults: Mapping[str, Any]
    source_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What some sources set instead, by their names."""
    decisions: str | None = None
    """The route of the service that takes an approval, with `{task_id}` in it; None: it takes none from here."""
    feedback: str | None = None
    """Likewise for what people think of an answer."""

    def defaults_at(self, source: str) -> Mapping[str, Any]:
        """What a request from this source carries unless the message says otherwise. Facts add up."""
        here = self.source_defaults.get(source, {})
        facts = [text for given in (self.defaults, here) if (text := given.get("additional_context"))]
        return {**self.defaults, **here, **({"additional_context": "\n".join(facts)} if facts else {})}


class Call:
    """Follows one turn's task. `told` holds what the agent said it waits for."""

    __slots__ = (  # one for each turn in flight
        "_agent",
        "_circuits",
        "_given_up",
        "_heard_at",
        "_limit",
        "_loop",
        "_runner",
        "_store",
        "_turn",
        "_view",
        "alive_at",
        "task_id",
        "told",
        "went_on",
    )

    def __init__(self, store: Store, turn: Turn, agent: Agent, view: View, circuits: Circuits) -> None:
        self._store = store
        self._circuits = circuits
        self._turn = turn
        self._agent = agent
        self._view = view
        self._loop = asyncio.get_running_loop()
        self._runner: asyncio.Task[Any] | None = None
        """Who follows it, until it is given up."""
        self._given_up: BridgeError | None = None
        self.task_id = turn.task_id
        self.told: list[TaskEvent] = []
        self.went_on = False
        """Whether the agent was seen at work on it."""
        self.alive_at: datetime | None = None
        """When the agent last told anything of it."""
        self._heard_at = 0.0
        """The same on the loop's clock, the call itself included."""
        self._limit: asyncio.TimerHandle | None = None

    async def run(self, request: InvokeRequest, *, within: timedelta) -> Task:
        """The task when it is over or waits for a person. `within` is how long it may go without a sign of life.

        Raises Stopped if a person wants it stopped, Silent after that time, and the agent's errors as they are.
        """
        runner = self._runner = asyncio.current_task()
        self._heard_at = self._loop.time()
        self._listen_on(within)
        try:
            return await self._follow(request)
        except asyncio.CancelledError:
            if self._given_up is None or self._runner or runner is None or runner.uncancel():
                raise  # somebody else wants the runner ended
            raise self._given_up from None
        finally:
            self._runner = None
            if self._limit is not None:
                self._limit.cancel()

    def interrupt(self) -> None:
        """A person wants it stopped: whatever is awaited is given up."""
        self._give_up(Stopped())

    async def stop(self) -> None:
        """Tell the agent to stop. Its late output is nobody's any more, so a failure here is only logged."""
        if self.task_id is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._agent.backend.stop(self.task_id)
        except (AgentError, TimeoutError) as error:
            log.warning("task_not_stopped", turn=self._turn.id, task=self.task_id, error=str(error))

    async def _follow(self, request: InvokeRequest) -> Task:
        if self._turn.task_id is not None:
            # Behind a pause the agent tells anew, and nothing of it has been told yet.
            cursor = self._turn.event_cursor if self._turn.pause is None else None
            with suppress(_NotThisTurn):
                task = await self._agent.backend.attach(self._turn.task_id, request, cursor=cursor)
                return await self._watch(task, attached=True)
        task = await self._agent.backend.begun(request) or await self._agent.backend.invoke(request)
        await self._view.show(TaskEvent("task_created", task.id, task.record))
        if not task.finished:
            await self._note(task)
        await self._circuits.succeeded(self._turn.agent)
        return await self._watch(task, attached=False)

    def _give_up(self, why: BridgeError) -> None:
        self._given_up = self._given_up or why
        if self._runner is not None:
            self._runner.cancel()
            self._runner = None

    def _listen_on(self, within: timedelta) -> None:
        """Give up after so long without a sign of life. One timer, however much is told: it looks when it strikes."""
        until = self._heard_at + within.total_seconds()
        if until <= self._loop.time():
            self._give_up(Silent(f"No sign of life for {within}."))
        else:
            self._limit = self._loop.call_at(until, self._listen_on, within)

    async def _watch(self, task: Task, *, attached: bool) -> Task:
        try:
            async for event in task.aevents():
                self._show_life()
                self.went_on = self.went_on or task.status == "executing"
                if event.type in TOLD:
                    self.told.append(event)
                await self._view.show(event)
        except Interrupted as error:
            if not attached:
                raise
            log.warning("turn_repeated", turn=self._turn.id, task=task.id, error=str(error))
            raise _NotThisTurn from error
        return task

    def _show_life(self) -> None:
        self.alive_at = self._store.now()
        self._heard_at = self._loop.time()

    async def _note(self, task: Task) -> None:
        """From here on the turn is re-attached to, whatever dies."""
        self.task_id = task.id
        if task.id != self._turn.task_id:
            await self._store.write(rows.NOTE_TASK, rows.Tasked(self._turn.lease, self._turn.id, task.id))


class _NotThisTurn(BridgeError):
    """The task shows another turn: this one never began there, or was forgotten. It is asked for again, same key."""
