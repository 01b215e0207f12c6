"""What a turn comes to: an answer, an apology, a pause or another try, each written with what people are told of it."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bridge import answers
from bridge.adapter import Adapter
from bridge.agent.task import Task
from bridge.calls import Agent, Call
from bridge.circuits import Circuits
from bridge.errors import AgentError, Busy, Interrupted, Refused, Silent, Unreachable
from bridge.handing import Handing
from bridge.lanes import AGAIN, When
from bridge.model import DeliveryState, FileRef, Lease, OutboundMessage, Turn, TurnState
from bridge.patience import Patience
from bridge.pauses import Pause, pause_of, with_notice
from bridge.standby import Standby
from bridge.store import deliveries, halts, opinions, tries
from bridge.store import turns as rows
from bridge.store.database import Store
from bridge.store.settling import NEAR
from bridge.store.waiting import POSTPONE, Postponement
from bridge.views import View

log = structlog.get_logger()

BUSY_AGAIN = timedelta(seconds=1)
A_MOMENT = timedelta(minutes=1)
"""A pause counts from its commit: looked at before that is over, it would begin to wait as long again."""


class Endings:
    """Ends each turn, or puts it off; tells when its conversation is to be looked at again."""

    def __init__(  # noqa: PLR0913 - every part it works with, each once
        self,
        store: Store,
        *,
        agents: Mapping[str, Agent],
        adapters: Mapping[str, Adapter],
        patience: Patience,
        circuits: Circuits,
        standby: Standby,
        handing: Handing,
        deliver: Callable[[Lease], None],
        failed: Callable[[str, AgentError], None],
        own: Callable[[str, Sequence[FileRef]], Awaitable[tuple[FileRef, ...]]],
    ) -> None:
        self._store = store
        self._agents = agents
        self._adapters = adapters
        self._patience = patience
        self._circuits = circuits
        self._standby = standby
        self._handing = handing
        self._deliver = deliver
        self._failed = failed
        self._own = own

    async def decline(self, turn: Turn) -> When:
        """Nothing that was said in it is for the agent, as its platform could tell only late."""
        more = await self._store.write(halts.DECLINE, halts.Declined(turn, str(turn.said[-1].message.declined)))
        return AGAIN if more else None

    async def conclude(self, turn: Turn, task: Task, call: Call, view: View) -> When:
        """The agent has said what became of it."""
        now, status = self._store.now(), task.status
        if status == "paused":
            await view.close(None)
            pause = pause_of(task, call.told)
            decidable = pause.kind != "approval" or self._agents[turn.agent].decisions is not None
            return await self._pause(turn, task, pause if decidable else replace(pause, choices=()), call)
        if status == "completed":
            adapter = self._adapters.get(turn.answered_through)  # none: it is not configured any more
            files = await self._own(turn.agent, task.files) if task.files else ()
            out = answers.answer(
                turn,
                task.result or "",
                files=files,
                task_id=task.id,
                status=status,
                limit=adapter.max_chars if adapter else sys.maxsize,
                now=now,
            )
            return await self._end(turn, TurnState.ANSWERED, out, task=task, files=files, view=view)
        if status == "stopped":
            out = answers.apology(turn, answers.STOPPED, status=status, now=now, task_id=task.id, kind="notice")
            return await self._end(turn, TurnState.CANCELLED, out, task=task, view=view)
        log.error("turn_failed", turn=turn.id, task=task.id, status=status, error=task.result)
        out = answers.apology(turn, answers.FAILED, status=status, now=now, task_id=task.id)
        return await self._end(turn, TurnState.DEAD, out, task=task, error=task.result or status, view=view)

    async def fail(self, turn: Turn, error: AgentError, call: Call, view: View) -> When:
        """Nothing came of the call: what is spent, and when to come back, depends on what surely happened."""
        await view.close(None)
        if self._is_stuck(turn, call, error):
            return await self._give_up_stuck(turn, call, error)
        self._failed(turn.agent, error)
        if isinstance(error, (Refused, Busy)):
            await self._circuits.succeeded(turn.agent)
        if isinstance(error, Refused):
            return await self.give_up(turn, str(error), answers.REFUSED)
        if isinstance(error, Busy):
            return await self._postpone(turn, error, BUSY_AGAIN, spent=0)
        if isinstance(error, Unreachable):
            wait = await self._circuits.failed(turn.agent, error.after)
            return await self.wait_for_agent(turn, error, wait or self._patience.again(1, error.after))
        if turn.attempt >= self._patience.attempts:
            return await self.give_up(turn, str(error), answers.UNAVAILABLE)
        log.warning("turn_postponed", turn=turn.id, attempt=turn.attempt, error=str(error))
        return await self._postpone(turn, error, self._patience.again(turn.attempt, error.after), spent=1)

    async def stumble(self, turn: Turn, error: Exception) -> When:
        """Something failed that nobody foresaw: tried again like a call that may have got through, so that it ends."""
        log.error("turn_stumbled", turn=turn.id, attempt=turn.attempt, exc_info=error)
        if turn.attempt >= self._patience.attempts and turn.stopping:
            return await self.stopped(turn)
        if turn.attempt >= self._patience.attempts:
            return await self.give_up(turn, f"failed: {error!r}", answers.FAILED)
        wait = self._patience.again(turn.attempt, None)
        return await self._postpone(turn, Interrupted(f"Failed: {error!r}"), wait, spent=1)

    async def wait_for_agent(self, turn: Turn, error: Unreachable, wait: timedelta) -> When:
        """The agent is away. Whoever waits for it is told so once, and answered in order when it is back."""
        if not self._circuits.is_open(turn.agent):
            return await self._postpone(turn, error, wait, spent=0, away=True)
        await self._tell_away(turn, error)
        if wait > NEAR:
            return await self._postpone(turn, error, wait, spent=0, away=True)
        # due at once, so that it begins as soon as the agent is back, at whatever node
        await self._postpone(turn, error, AGAIN, spent=0, away=True)
        self._standby.add(turn.agent, turn.lease, turn.created_at + self._patience.age)
        return None

    async def _tell_away(self, turn: Turn, error: Unreachable) -> None:
        if turn.notices == 0:
            log.warning("agent_away", agent=turn.agent, turn=turn.id, error=str(error))
            for notice in answers.notice(turn, answers.AWAY, status="waiting", now=self._store.now(), part=0):
                if await self._store.write(halts.TELL, halts.Notice(turn, notice)):
                    self._deliver(turn.lease)

    async def _pause(self, turn: Turn, task: Task, pause: Pause, call: Call) -> datetime:
        """The agent waits for a person: say so once for each thing it waits for, and look again later."""
        now = self._store.now()
        until = now + (
            self._patience.pause + A_MOMENT
            if pause.kind == "question"  # nothing but the person's next message helps
            else self._patience.look_again(turn.paused_at or now, now)
        )
        waiting = halts.Waiting(turn=turn, task_id=task.id, pause=pause.dump(), until=until)
        if await self._is_new(turn, pause, call):
            waiting = with_notice(waiting, pause, now=now, expires_at=now + self._patience.pause)
        try:
            await self._store.write(halts.WAIT, waiting)
        finally:
            if waiting.notice:
                self._deliver(turn.lease)
        return until

    async def _is_new(self, turn: Turn, pause: Pause, call: Call) -> bool:
        """Whether nobody was asked this yet. In the same words, it is something else once the last decision is told."""
        before = Pause.load(turn.pause) if turn.pause else None
        if before is None or not before.says(pause):
            return True
        went_on = call.went_on or before.mark != pause.mark
        return went_on and await self._store.read(opinions.is_told, turn.id)

    async def halt(self, turn: Turn, call: Call, view: View) -> When:
        """One path for every way of stopping: the agent stops, late output is nobody's, the person is told."""
        await call.stop()
        await view.close(None)
        return await self.stopped(replace(turn, task_id=call.task_id))  # known since it was asked

    async def stopped(self, turn: Turn) -> When:
        """It ends as a person wished, who is told so, or begins anew with what was said since."""
        out = answers.apology(turn, answers.STOPPED, status="stopped", now=self._store.now(), kind="notice")
        try:
            more = await self._store.write(halts.HALT, halts.Halt(turn=turn, confirmation=out))
        finally:
            self._deliver(turn.lease)
        return AGAIN if more else None

    def _is_stuck(self, turn: Turn, call: Call, error: AgentError) -> bool:
        """Whether nothing was heard of it for too long, over all tries. An agent that is away is waited for instead."""
        if isinstance(error, Silent):  # measured by the machine, whose clock the database's may be a little behind
            return True
        since = call.alive_at or turn.started_at or self._store.now()
        return isinstance(error, (Interrupted, Busy)) and self._store.now() - since >= self._patience.stuck

    async def _give_up_stuck(self, turn: Turn, call: Call, error: AgentError) -> When:
        """The conversation goes on; the agent is told to stop, so that its thread is free, too."""
        if not isinstance(error, Busy):  # then it is at another turn
            await call.stop()
        return await self.give_up(turn, f"stuck: {error}", answers.UNAVAILABLE)

    async def give_up(self, turn: Turn, error: str, sentence: str) -> When:
        """It is dead for this reason; whoever waits is told `sentence`."""
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
        files: tuple[FileRef, ...] = (),
        view: View | None = None,
    ) -> When:
        stands = view is not None and view.is_shown
        becomes = stands and len(out) == 1 and not files and state is TurnState.ANSWERED
        end = rows.End(
            turn=turn,
            state=state,
            task_id=task.id if task else None,
            status=task.status if task else None,
            result=task.result if task and state is TurnState.ANSWERED else None,
            error=error,
            files=files,
            deliveries=out,
            begun=becomes,
        )
        try:
            if view and stands and out:
                more = await (self._become(end, view) if becomes else self._replace(end, view))
            else:
                more = await (self._handing.over(end) if out else self._store.write(rows.END, end))
                if view:
                    await view.close(None)
        finally:
            # Whatever became of the view, or is heard of the commit (it may have been made although the database is
            # away): what is `sending` from the beginning is looked for nowhere else.
            if out:
                self._deliver(turn.lease)
        return AGAIN if more else None

    async def _become(self, end: rows.End, view: View) -> bool:
        """The turn ends, and its view becomes the answer; only where it cannot, something is posted."""
        (final,) = end.deliveries
        with self._handing.holding(final.delivery_id):
            more = await self._store.write(rows.END, end)
            remote_id = await view.close(final)
            delivery = deliveries.begin_new(end.turn, final, self._store.now())
            state = DeliveryState.SENT if remote_id else DeliveryState.PENDING
            outcome = tries.Outcome(delivery=delivery, state=state, remote_id=remote_id)
            await self._store.write(tries.END, outcome)
        return more

    async def _replace(self, end: rows.End, view: View) -> bool:
        """The turn ends, and its view goes before anything is posted: said in its place, it would go with it."""
        with self._handing.holding(end.deliveries[0].delivery_id):
            more = await self._store.write(rows.END, end)
            await view.close(None)
        return more

    async def _postpone(
        self, turn: Turn, error: AgentError, wait: timedelta, *, spent: int, away: bool = False
    ) -> datetime:
        until = self._store.now() + max(wait, timedelta(seconds=error.after or 0))
        postponement = Postponement(turn=turn, until=until, error=str(error), spent=spent, away=away)
        await self._store.write(POSTPONE, postponement)
        return until
