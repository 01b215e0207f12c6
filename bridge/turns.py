"""Runs turns: the head of each conversation goes to the agent, its result and what follows commit together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import structlog
from structlog.contextvars import bind_contextvars

from bridge import answers
from bridge.adapter import Adapter, Shows
from bridge.agent.asking import request_for
from bridge.calls import Agent, Call, Stopped
from bridge.circuits import Circuits
from bridge.clock import Clock
from bridge.custody import as_named
from bridge.endings import Endings
from bridge.enriching import Enriching
from bridge.errors import AgentError, Permanent, Replaced, StoreUnavailable, Unreachable
from bridge.handing import Handing
from bridge.lanes import AGAIN, Lanes, When
from bridge.model import FileRef, Lease, Turn
from bridge.patience import Patience
from bridge.routing import Route, routed
from bridge.shares import Claimant, Shares, claimant_of
from bridge.standby import Standby, unheard
from bridge.store import halts, opinions
from bridge.store import turns as rows
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.heads import TAKE, NotYet
from bridge.store.settling import NEAR
from bridge.store.waiting import PUT_BACK
from bridge.views import View, open_view
from bridge.watching import Watchers

log = structlog.get_logger()

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
        self._enriching = Enriching(store, adapters)
        self._showing = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Shows)}
        self._patience = patience
        self._link = link
        self._watchers = watchers
        self._routes = routes
        self._circuits = Circuits(store)
        self._calls: dict[str, Call] = {}
        self._places: dict[str, asyncio.Future[bool]] = {}
        """Of the conversations that wait for one: told whether there is one."""
        self._shares = shares
        self.lanes = Lanes(self.step, clock, now=store.now, name="turns", near=NEAR)
        self.standby = Standby(self._circuits, store.now, wake=self.lanes.wake)
        self._endings = Endings(
            store,
            agents=agents,
            adapters=adapters,
            patience=patience,
            circuits=self._circuits,
            standby=self.standby,
            handing=handing,
            deliver=deliver,
            failed=failed,
            own=own or as_named,
        )

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
        if (place := self._places.get(conversation_id)) is not None and not place.done():
            place.set_result(False)  # to be stopped needs none

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

    async def step(self, lease: Lease) -> When:
        """Run the head of a conversation to its end, or put it off."""
        head = await self._take(lease)
        while isinstance(head, Turn):
            claimant = claimant_of(head)
            if self._admits(head, claimant):
                return await self._run_on(claimant, head)
            # back in its row it may be edited, joined or cancelled while it waits for a place
            await self._store.write(PUT_BACK, head)
            if not await self._has_place(lease, claimant):
                head = await self._take(lease)
                continue
            head = await self._take_again(lease, claimant)
            if isinstance(head, Turn) and claimant_of(head) == claimant:
                return await self._run_on(claimant, head)
            self._shares.give(claimant)
        return head.until if isinstance(head, NotYet) else None

    async def _has_place(self, lease: Lease, claimant: Claimant) -> bool:
        """Wait for a place; False where a person wants the turn stopped meanwhile."""
        place = self._places[lease.conversation_id] = asyncio.get_running_loop().create_future()
        try:
            return await self._shares.wait(claimant, place)
        finally:
            if self._places.get(lease.conversation_id) is place:
                del self._places[lease.conversation_id]

    async def _take(self, lease: Lease) -> Turn | NotYet | None:
        await self._store.room()
        return await self._store.write(TAKE, lease)

    async def _take_again(self, lease: Lease, claimant: Claimant) -> Turn | NotYet | None:
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

    async def _run_on(self, claimant: Claimant, head: Turn) -> When:
        """Run the turn on a place that is taken, and give that back."""
        try:
            return await self._run(routed(head, self._routes))
        except rows.Stopping:  # a person wanted that while it was about to end: the next look finds it so
            return AGAIN
        except (Replaced, StoreUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - a defect, ours or an adapter's, must not be met again for good
            return await self._endings.stumble(head, error)
        finally:
            self._shares.give(claimant)
            self._watchers.poke(head.id)

    async def _run(self, turn: Turn) -> When:
        bind_contextvars(turn=turn.id, messages=[said.id for said in turn.said])
        agent = self._agents.get(turn.agent)
        if agent is None and turn.stopping:
            return await self._endings.stopped(turn)
        if agent is None:
            return await self._endings.give_up(
                turn, f"No agent named {turn.agent!r} is configured.", answers.UNAVAILABLE
            )
        if turn.stopping:
            return await self._call(turn, agent)
        if self._has_expired(turn):
            return await self._endings.give_up(turn, "Too old to be answered.", answers.UNAVAILABLE)
        if turn.task_id is None and (wait := await self._circuits.wait(turn.agent)) is not None:
            return await self._endings.wait_for_agent(turn, Unreachable("The agent is away; not tried."), wait)
        return await self._call(turn, agent)

    async def _call(self, turn: Turn, agent: Agent) -> When:
        try:
            turn = turn if turn.stopping else await self._enriching.complete(turn)
        except Permanent as error:
            return await self._endings.give_up(turn, f"Not known to be for the agent: {error}", answers.UNAVAILABLE)
        wanted = tuple(said for said in turn.said if not said.message.declined)
        if not wanted:
            return await self._endings.decline(turn)
        turn = turn if len(wanted) == len(turn.said) else replace(turn, said=wanted)
        view = self._watchers.recorder(
            turn, await open_view(self._store, turn, self._showing.get(turn.answered_through))
        )
        call = self._calls[turn.lease.conversation_id] = Call(self._store, turn, agent, view, self._circuits)
        try:
            if turn.stopping:
                return await self._endings.halt(turn, call, view)
            await self._tell_decision(turn, agent)
            task = await call.run(
                request_for(turn, defaults=agent.defaults_at(turn.source), link=self._link), within=self._patience.stuck
            )
            return await self._endings.conclude(turn, task, call, view)
        except (Stopped, rows.Stopping):
            return await self._halt(turn, call, view)
        except AgentError as error:
            return await self._endings.fail(turn, error, call, view)
        finally:
            view.leave()  # it may be another node's turn by now, or come again with a view of its own
            if self._calls.get(turn.lease.conversation_id) is call:
                del self._calls[turn.lease.conversation_id]

    async def _halt(self, turn: Turn, call: Call, view: View) -> When:
        """If it is this turn: who interrupts names the conversation, where the one he meant may be over by now."""
        if not await self._store.read(halts.is_stopping, turn.id):
            return AGAIN
        return await self._endings.halt(turn, call, view)

    async def _tell_decision(self, turn: Turn, agent: Agent) -> None:
        """The agent learns what a person has decided; told again after a crash, under the same key."""
        if turn.pause is None or agent.decisions is None or turn.task_id is None:
            return
        if (made := await self._store.read(opinions.undelivered, turn.id)) is not None:
            await agent.backend.decide(
                agent.decisions, turn.task_id, decision_id=made.id, choice=made.choice, decided_by=made.decided_by
            )
            await self._store.write(opinions.TOLD, opinions.Told(made.id, self._store.now()))

    def _has_expired(self, turn: Turn) -> bool:
        if turn.paused_at is not None:
            return self._store.now() - turn.paused_at > self._patience.pause
        return self._store.now() - turn.created_at > self._patience.age
