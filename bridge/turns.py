"""Runs turns: the head of each conversation goes to the agent, its result and what follows commit together."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from structlog.contextvars import bind_contextvars

from bridge import answers
from bridge.adapter import Adapter, Shows
from bridge.agent.asking import request_for
from bridge.agent.task import Task
from bridge.calls import Agent, Call, Stopped
from bridge.circuits import Circuits
from bridge.clock import Clock
from bridge.custody import as_named
from bridge.enriching import Enriching
from bridge.errors import AgentError, Busy, Interrupted, Refused, Silent, StoreUnavailable, Unreachable
from bridge.handing import Handing
from bridge.lanes import AGAIN, Lanes
from bridge.model import DeliveryState, FileRef, Lease, OutboundMessage, Turn, TurnState
from bridge.patience import Patience
from bridge.pauses import Pause, pause_of, with_notice
from bridge.routing import Route, routed
from bridge.shares import Claimant, Shares, claimant_of
from bridge.standby import Standby, unheard
from bridge.store import deliveries, halts, opinions
from bridge.store import turns as rows
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.settling import NEAR
from bridge.store.waiting import PUT_BACK
from bridge.views import View, open_view
from bridge.watching import Watchers

log = structlog.get_logger()

BUSY_AGAIN = timedelta(seconds=1)
WATCH_SECONDS = 1.0


class Turns:
    """The way to the agent. Holds nothing that its rows do not: a crash anywhere here is a resume."""

    def __init__(  # noqa: PLR0913 - every part it works with, each once
        self,
        store: Store,
        clock: Clock,
        *,
        agents: Mapping[str, Agent],
        adapters: Mapping[str, Adapter],
        patience: Patience,
        link: Callable[[FileRef], str],
        deliver: Callable[[Lease], None],
        handing: Handing,
        watchers: Watchers,
        routes: Mapping[str, Route],
        failed: Callable[[str, AgentError], None],
        shares: Shares,
        own: Callable[[str, Sequence[FileRef]], Awaitable[tuple[FileRef, ...]]] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._agents = agents
        self._adapters = adapters
        self._enriching = Enriching(store, adapters)
        self._showing = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Shows)}
        self._patience = patience
        self._link = link
        self._own = own or as_named
        self._deliver = deliver
        self._handing = handing
        self._watchers = watchers
        self._routes = routes
        self._failed = failed
        self._circuits = Circuits(store)
        self._calls: dict[str, Call] = {}
        self._shares = shares
        self.lanes = Lanes(self.step, clock, now=store.now, name="turns", near=NEAR)
        self.standby = Standby(self._circuits, store.now, wake=self.lanes.wake)

    def is_away(self, agent: str) -> bool:
        """Whether an agent counts as away: what arrives for it is kept until it is back."""
        return self._circuits.is_open(agent)

    def begin(self, lease: Lease, arrival: Arrival) -> None:
        """Something was said in a conversation of this node. Where all that can be done is to wait, it stands by."""
        agent = unheard(arrival, self._routes)
        if agent is None or self.lanes.holds(lease.conversation_id) or self._circuits.rest(agent) is None:
            self.lanes.wake(lease)
        else:
            self.standby.add(agent, lease, self._store.now() + self._patience.age)

    def stop(self, conversation_id: str) -> None:
        """A person wants the running turn of this conversation stopped; its row says what then."""
        if (call := self._calls.get(conversation_id)) is not None:
            call.interrupt()

    async def watch(self) -> None:
        """Until cancelled, heed what other nodes tell: what a person wanted stopped, and which agents are away."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("watch_missed", error=str(error))
            await self._clock.sleep(WATCH_SECONDS)

    async def look(self) -> None:
        """Heed what there is now."""
        await self._circuits.refresh()
        self.standby.look()
        for conversation_id in await self._store.read(halts.stops_of, self._store.node):
            self.stop(conversation_id)

    async def step(self, lease: Lease) -> timedelta | datetime | None:
        """Run the head of a conversation to its end, or put it off."""
        head = await self._take(lease)
        while isinstance(head, Turn):
            claimant = claimant_of(head)
            if self._admits(head, claimant):
                return await self._run_on(claimant, head)
            # back in its row it may be edited, joined or cancelled while it waits for a place
            await self._store.write(PUT_BACK, head)
            await self._shares.wait(claimant)
            head = await self._take_again(lease, claimant)
            if isinstance(head, Turn) and claimant_of(head) == claimant:
                return await self._run_on(claimant, head)
            self._shares.give(claimant)
        return head.until if isinstance(head, rows.NotYet) else None

    async def _take(self, lease: Lease) -> Turn | rows.NotYet | None:
        await self._store.room()
        return await self._store.write(rows.TAKE, lease)

    async def _take_again(self, lease: Lease, claimant: Claimant) -> Turn | rows.NotYet | None:
        try:
            return await self._take(lease)
        except BaseException:
            self._shares.give(claimant)
            raise

    def _admits(self, head: Turn, claimant: Claimant) -> bool:
        """Whether this turn may go to its agent now. What is there already, or is to be stopped, always may."""
        if head.task_id is None and not head.stopping:
            return self._shares.take(claimant)
        self._shares.occupy(claimant)
        return True

    async def _run_on(self, claimant: Claimant, head: Turn) -> timedelta | datetime | None:
        """Run the turn on a place that is taken, and give that back."""
        try:
            return await self._run(routed(head, self._routes))
        except rows.Stopping:  # a person wanted that while it was about to end: the next look finds it so
            return AGAIN
        finally:
            self._shares.give(claimant)
            self._watchers.poke(head.id)

    async def _run(self, turn: Turn) -> timedelta | datetime | None:
        bind_contextvars(turn=turn.id, messages=[said.id for said in turn.said])
        agent = self._agents.get(turn.agent)
        if agent is None:
            return await self._give_up(turn, f"No agent named {turn.agent!r} is configured.", answers.UNAVAILABLE)
        if turn.stopping:
            return await self._call(turn, agent)
        if self._has_expired(turn):
            return await self._give_up(turn, "Too old to be answered.", answers.UNAVAILABLE)
        if turn.task_id is None and (wait := await self._circuits.wait(turn.agent)) is not None:
            return await self._wait_for_agent(turn, Unreachable("The agent is away; not tried."), wait)
        return await self._call(turn, agent)

    async def _call(self, turn: Turn, agent: Agent) -> timedelta | datetime | None:
        turn = turn if turn.stopping else await self._enriching.complete(turn)
        wanted = tuple(said for said in turn.said if not said.message.declined)
        if not wanted:
            more = await self._store.write(halts.DECLINE, halts.Declined(turn, str(turn.said[-1].message.declined)))
            return AGAIN if more else None
        turn = turn if len(wanted) == len(turn.said) else replace(turn, said=wanted)
        view = self._watchers.recorder(
            turn, await open_view(self._store, turn, self._showing.get(turn.answered_through))
        )
        call = self._calls[turn.lease.conversation_id] = Call(self._store, turn, agent, view, self._circuits)
        try:
            if turn.stopping:
                return await self._halt(turn, call, view)
            await self._tell_decision(turn, agent)
            task = await call.run(
                request_for(turn, defaults=agent.defaults_at(turn.source), link=self._link), within=self._patience.stuck
            )
            return await self._conclude(turn, task, call, view)
        except (Stopped, rows.Stopping):
            return await self._halt(turn, call, view)
        except AgentError as error:
            await view.close(None)
            if self._is_stuck(turn, call, error):
                return await self._give_up_stuck(turn, call, error)
            return await self._fail(turn, error)
        finally:
            view.leave()  # it may be another node's turn by now, or come again with a view of its own
            self._calls.pop(turn.lease.conversation_id, None)

    async def _conclude(self, turn: Turn, task: Task, call: Call, view: View) -> timedelta | datetime | None:
        now, status = self._store.now(), task.status
        if status == "paused":
            await view.close(None)
            pause = pause_of(task, call.told)
            decidable = pause.kind != "approval" or self._agents[turn.agent].decisions is not None
            return await self._pause(turn, task, pause if decidable else replace(pause, choices=()))
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

    async def _fail(self, turn: Turn, error: AgentError) -> timedelta | datetime | None:
        """Nothing came of the call: what is spent, and when to come back, depends on what surely happened."""
        self._failed(turn.agent, error)
        if isinstance(error, (Refused, Busy)):
            await self._circuits.succeeded(turn.agent)
        if isinstance(error, Refused):
            return await self._give_up(turn, str(error), answers.REFUSED)
        if isinstance(error, Busy):
            return await self._postpone(turn, error, BUSY_AGAIN, spent=0)
        if isinstance(error, Unreachable):
            wait = await self._circuits.failed(turn.agent, error.after)
            return await self._wait_for_agent(turn, error, wait or self._patience.again(1, error.after))
        if turn.attempt >= self._patience.attempts:
            return await self._give_up(turn, str(error), answers.UNAVAILABLE)
        log.warning("turn_postponed", turn=turn.id, attempt=turn.attempt, error=str(error))
        return await self._postpone(turn, error, self._patience.again(turn.attempt, error.after), spent=1)

    async def _wait_for_agent(self, turn: Turn, error: Unreachable, wait: timedelta) -> datetime | None:
        """The agent is away. Whoever waits for it is told so once, and answered in order when it is back."""
        if not self._circuits.is_open(turn.agent):
            return await self._postpone(turn, error, wait, spent=0, away=True)
        await self._tell_away(turn, error)
        if wait > NEAR:
            return await self._postpone(turn, error, wait, spent=0, away=True)
        # due at once, so that it begins as soon as the agent is back, at whatever node
        await self._postpone(turn, error, AGAIN, spent=0, away=True)
        self.standby.add(turn.agent, turn.lease, turn.created_at + self._patience.age)
        return None

    async def _tell_away(self, turn: Turn, error: Unreachable) -> None:
        if turn.notices == 0:
            log.warning("agent_away", agent=turn.agent, turn=turn.id, error=str(error))
            for notice in answers.notice(turn, answers.AWAY, status="waiting", now=self._store.now(), part=0):
                if await self._store.write(halts.TELL, halts.Notice(turn, notice)):
                    self._deliver(turn.lease)

    async def _pause(self, turn: Turn, task: Task, pause: Pause) -> datetime:
        """The agent waits for a person: say so once for each thing it waits for, and look again later."""
        now, told = self._store.now(), pause.dump()
        until = now + (
            self._patience.pause
            if pause.kind == "question"  # nothing but the person's next message helps
            else self._patience.look_again(turn.paused_at or now, now)
        )
        waiting = halts.Waiting(turn=turn, task_id=task.id, pause=told, until=until)
        if told != turn.pause:
            waiting = with_notice(waiting, pause, now=now, expires_at=now + self._patience.pause)
        try:
            await self._store.write(halts.WAIT, waiting)
        finally:
            if waiting.notice:
                self._deliver(turn.lease)
        return until

    async def _tell_decision(self, turn: Turn, agent: Agent) -> None:
        """The agent learns what a person has decided; told again after a crash, under the same key."""
        if turn.pause is None or agent.decisions is None or turn.task_id is None:
            return
        if (made := await self._store.read(opinions.undelivered, turn.id)) is not None:
            await agent.backend.decide(
                agent.decisions, turn.task_id, decision_id=made.id, choice=made.choice, decided_by=made.decided_by
            )
            await self._store.write(opinions.TOLD, opinions.Told(made.id, self._store.now()))

    async def _halt(self, turn: Turn, call: Call, view: View) -> timedelta | None:
        """One path for every way of stopping: the agent stops, late output is nobody's, the person is told."""
        await call.stop()
        await view.close(None)
        turn = replace(turn, task_id=call.task_id)  # known since it was asked
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

    async def _give_up_stuck(self, turn: Turn, call: Call, error: AgentError) -> timedelta | None:
        """The conversation goes on; the agent is told to stop, so that its thread is free, too."""
        if not isinstance(error, Busy):  # then it is at another turn
            await call.stop()
        return await self._give_up(turn, f"stuck: {error}", answers.UNAVAILABLE)

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
        files: tuple[FileRef, ...] = (),
        view: View | None = None,
    ) -> timedelta | None:
        final = (
            out[0] if view and view.is_shown and len(out) == 1 and not files and state is TurnState.ANSWERED else None
        )
        end = rows.End(
            turn=turn,
            state=state,
            task_id=task.id if task else None,
            status=task.status if task else None,
            result=task.result if task and state is TurnState.ANSWERED else None,
            error=error,
            files=files,
            deliveries=out,
            begun=final is not None,
        )
        at_once = bool(out) and final is None
        try:
            more = await (self._handing.over(end) if at_once else self._store.write(rows.END, end))
            if view:
                await self._close(turn, view, final)
        finally:
            # Whatever became of the view, or is heard of the commit (it may have been made although the database is
            # away): what is `sending` from the beginning is looked for nowhere else.
            if out:
                self._deliver(turn.lease)
        return AGAIN if more else None

    async def _close(self, turn: Turn, view: View, final: OutboundMessage | None) -> None:
        """The view ends; where it has become the answer, nothing more is posted."""
        remote_id = await view.close(final)
        if final is None:
            return
        delivery = deliveries.begin_new(turn, final, self._store.now())
        state = DeliveryState.SENT if remote_id else DeliveryState.PENDING
        await self._store.write(deliveries.END, deliveries.Outcome(delivery=delivery, state=state, remote_id=remote_id))

    async def _postpone(
        self, turn: Turn, error: AgentError, wait: timedelta, *, spent: int, away: bool = False
    ) -> datetime:
        until = self._store.now() + max(wait, timedelta(seconds=error.after or 0))
        postponement = rows.Postponement(turn=turn, until=until, error=str(error), spent=spent, away=away)
        await self._store.write(rows.POSTPONE, postponement)
        return until

    def _has_expired(self, turn: Turn) -> bool:
        if turn.paused_at is not None:
            return self._store.now() - turn.paused_at > self._patience.pause
        return self._store.now() - turn.created_at > self._patience.age
