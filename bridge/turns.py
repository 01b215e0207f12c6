"""Runs turns: the head of each conversation goes to the agent, its result and what follows commit together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from bridge import answers
from bridge.agent.asking import request_for
from bridge.agent.backend import Backend
from bridge.agent.request import InvokeRequest
from bridge.agent.task import Task
from bridge.backoff import delay
from bridge.clock import Clock
from bridge.errors import AgentError, Busy, Interrupted, Refused, Unreachable
from bridge.lanes import AGAIN, Lanes
from bridge.model import FileRef, Lease, OutboundMessage, Turn, TurnState
from bridge.store import turns as rows
from bridge.store.database import Store
from bridge.store.settling import NEAR

log = structlog.get_logger()

BUSY_AGAIN = timedelta(seconds=1)
PAUSED_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One configured agent."""

    backend: Backend
    defaults: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a turn is tried."""

    attempts: int = 8
    age: timedelta = timedelta(hours=24)
    base: timedelta = timedelta(seconds=2)
    cap: timedelta = timedelta(minutes=5)


class Turns:
    """The way to the agent. Holds nothing that its rows do not: a crash anywhere here is a resume."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        agents: Mapping[str, Agent],
        limits: Mapping[str, int],
        patience: Patience,
        link: Callable[[FileRef], str],
        deliver: Callable[[Lease], None],
    ) -> None:
        self._store = store
        self._agents = agents
        self._limits = limits
        self._patience = patience
        self._link = link
        self._deliver = deliver
        self.lanes = Lanes(self.step, clock, now=store.now, name="turns", near=NEAR)

    async def step(self, lease: Lease) -> timedelta | datetime | None:
        """Run the head of a conversation to its end, or put it off."""
        head = await self._store.write(rows.TAKE, lease)
        if head is None:
            return None
        return head.until if isinstance(head, rows.NotYet) else await self._run(head)

    async def _run(self, turn: Turn) -> timedelta | datetime | None:
        agent = self._agents.get(turn.agent)
        if agent is None:
            return await self._give_up(turn, f"No agent named {turn.agent!r} is configured.", answers.UNAVAILABLE)
        if self._store.now() - turn.created_at > self._patience.age:
            return await self._give_up(turn, "Too old to be answered.", answers.UNAVAILABLE)
        try:
            task = await self._finish(turn, agent.backend, request_for(turn, defaults=agent.defaults, link=self._link))
        except Busy as error:
            return await self._postpone(turn, error, BUSY_AGAIN, spent=0)
        except Refused as error:
            return await self._give_up(turn, str(error), answers.REFUSED)
        except (Unreachable, Interrupted) as error:
            return await self._try_again(turn, error)
        return await self._conclude(turn, task)

    async def _finish(self, turn: Turn, backend: Backend, request: InvokeRequest) -> Task:
        """The turn's task when it is over or waits for a person. Invoked anew only where no task id is known."""
        task = await self._attach(turn, backend, request) or await backend.invoke(request)
        if not task.finished and task.id != turn.task_id:
            await self._store.write(rows.NOTE_TASK, rows.Tasked(turn.lease, turn.id, task.id))
        async for _ in task.aevents():
            pass
        return task

    async def _attach(self, turn: Turn, backend: Backend, request: InvokeRequest) -> Task | None:
        if turn.task_id is None:
            return None
        task = await backend.attach(turn.task_id, request)
        try:
            async for _ in task.aevents():
                pass
        except Interrupted as error:
            log.warning("turn_repeated", turn=turn.id, task=turn.task_id, error=str(error))
            return None  # the task shows another turn: this one never began there, or was forgotten
        return task

    async def _conclude(self, turn: Turn, task: Task) -> timedelta | datetime | None:
        now, status = self._store.now(), task.status
        if status == "paused":
            return await self._postpone(turn, Busy("The agent waits for a person."), PAUSED_AGAIN, spent=0)
        if status == "completed":
            limit = self._limits[turn.source]
            out = answers.answer(turn, task.result or "", task_id=task.id, status=status, limit=limit, now=now)
            return await self._end(turn, TurnState.ANSWERED, out, task=task)
        if status == "stopped":
            out = answers.apology(turn, answers.STOPPED, status=status, now=now, task_id=task.id, kind="notice")
            return await self._end(turn, TurnState.CANCELLED, out, task=task)
        log.error("turn_failed", turn=turn.id, task=task.id, status=status, error=task.result)
        out = answers.apology(turn, answers.FAILED, status=status, now=now, task_id=task.id)
        return await self._end(turn, TurnState.DEAD, out, task=task, error=task.result or status)

    async def _try_again(self, turn: Turn, error: AgentError) -> timedelta | datetime | None:
        if turn.attempt >= self._patience.attempts:
            return await self._give_up(turn, str(error), answers.UNAVAILABLE)
        wait = delay(turn.attempt, base=self._patience.base, cap=self._patience.cap, after=error.after)
        log.warning("turn_postponed", turn=turn.id, attempt=turn.attempt, error=str(error))
        return await self._postpone(turn, error, wait, spent=1)

    async def _postpone(self, turn: Turn, error: AgentError, wait: timedelta, *, spent: int) -> datetime:
        until = self._store.now() + max(wait, timedelta(seconds=error.after or 0))
        postponement = rows.Postponement(turn=turn, until=until, error=str(error), spent=spent)
        await self._store.write(rows.POSTPONE, postponement)
        return until

    async def _give_up(self, turn: Turn, error: str, sentence: str) -> timedelta | None:
        log.error("turn_dead", turn=turn.id, attempt=turn.attempt, error=error)
        out = answers.apology(turn, sentence, status="failed", now=self._store.now())
        return await self._end(turn, TurnState.DEAD, out, error=error)

    async def _end(
        self,
        turn: Turn,
        state: TurnState,
        out: tuple[OutboundMessage, ...],
        *,
        task: Task | None = None,
        error: str | None = None,
    ) -> timedelta | None:
        end = rows.End(
            turn=turn,
            state=state,
            task_id=task.id if task else None,
            status=task.status if task else None,
            result=task.result if task and state is TurnState.ANSWERED else None,
            error=error,
            deliveries=out,
        )
        more = await self._store.write(rows.END, end)
        if out:
            self._deliver(turn.lease)
        return AGAIN if more else None
