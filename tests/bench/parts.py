"""The stages over a real store, with an agent and a platform that do nothing: what is left is the engine's own cost."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from bridge.agent.backend import Backend
from bridge.agent.request import InvokeRequest
from bridge.agent.task import Task
from bridge.calls import Agent
from bridge.clock import SystemClock
from bridge.model import Author, Candidate, Envelope, InboundMessage, Lease, OutboundMessage, Received
from bridge.outbox import Outbox
from bridge.patience import Patience
from bridge.shares import Limits, Shares
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST, Ingested
from bridge.store.migrations import migrate
from bridge.sweeper import Sweeper
from bridge.turns import Turns
from bridge.watching import Watchers

FILLER = "so that the message has the size of a usual one " * 16
_numbers = itertools.count()


class NoAgent(Backend):
    """Answers at once, or, where it is told to wait, when it is let go."""

    def __init__(self, begun: Callable[[str], None] | None = None, let_go: asyncio.Event | None = None) -> None:
        super().__init__(base_url="http://127.0.0.1:9", api_key="k", agent_id="a")
        self._begun = begun
        self._let_go = let_go

    async def invoke(self, request: InvokeRequest) -> Task:
        if self._begun:
            self._begun(request.prompt)
        if self._let_go:
            await self._let_go.wait()
        record = {"id": f"task-{next(_numbers)}", "status": "completed", "result": "done"}
        return self._task(record, self._pursuit(request))


class NoPlatform:
    """Takes every answer and keeps none."""

    max_chars = 10_000

    def __init__(self) -> None:
        self.sent = 0

    async def receive(self, envelope: Envelope) -> Received:
        raise NotImplementedError(envelope.source)

    async def send(self, message: OutboundMessage) -> str:
        self.sent += 1
        return message.delivery_id


@dataclass(frozen=True, slots=True)
class Engine:
    """A node without its edges."""

    store: Store
    turns: Turns
    platform: NoPlatform
    sweeper: Sweeper

    async def say(self, conversation: str, text: str = FILLER) -> Ingested:
        """Accept one message and wake its conversation."""
        ingested = await self.store.accept(INGEST, arrival(conversation, text))
        for lease in ingested.wake:
            self.turns.lanes.wake(lease)
        return ingested

    async def until_sent(self, count: int) -> None:
        while self.platform.sent < count:  # noqa: ASYNC110 - a counter does not tell
            await asyncio.sleep(0.005)


@asynccontextmanager
async def engine(
    url: str, agent: Backend, *, node: str | None = None, concurrency: int = 100_000
) -> AsyncIterator[Engine]:
    clock, platform = SystemClock(), NoPlatform()
    store = Store.open(url, clock, node=node)
    await asyncio.to_thread(migrate, store.engine)
    adapters = {"bench": platform}
    outbox = Outbox(store, clock, adapters=adapters, age=timedelta(hours=24))
    turns = Turns(
        store,
        clock,
        agents={"local": Agent(backend=agent, defaults={})},
        adapters=adapters,
        patience=Patience(),
        link=lambda ref: ref.url,
        deliver=outbox.lanes.wake,
        handing=outbox.handing,
        watchers=Watchers(store, clock),
        routes={},
        failed=lambda _agent, _error: None,
        shares=Shares(Limits(total=concurrency, sources={"bench": concurrency}, people={"bench": concurrency})),
    )

    def wake(lease: Lease) -> None:
        turns.lanes.wake(lease)
        outbox.lanes.wake(lease)

    sweeper = Sweeper(store, clock, wake, lanes=(turns.lanes, outbox.lanes))
    try:
        yield Engine(store, turns, platform, sweeper)
    finally:
        await asyncio.gather(turns.lanes.close(), outbox.lanes.close())
        await store.close()


def arrival(conversation: str, text: str = FILLER) -> Arrival:
    """A message nobody has said before."""
    number = next(_numbers)
    message = InboundMessage(
        message_key=f"m{number}",
        conversation=(Candidate(value=conversation, matched_by="thread"),),
        return_address="here",
        author=Author(id="bench"),
        text=text,
    )
    return Arrival(
        source="bench",
        delivery_key=f"d{number}",
        digest="0" * 64,
        sealed=FILLER.encode(),
        messages=(message,),
        received_at=SystemClock().now(),
        agent="local",
        busy="queue",
    )
