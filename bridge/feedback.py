"""Tells agents what people thought of their answers, where their service takes it."""

import asyncio
from collections.abc import Mapping
from hashlib import sha256

import structlog

from bridge.calls import Agent
from bridge.clock import Clock
from bridge.errors import AgentError, Refused, StoreUnavailable
from bridge.store.database import Store
from bridge.store.ratings import TOLD, Rating, untold

log = structlog.get_logger()

EVERY_SECONDS = 5.0


class Feedback:
    """Beside all other work. Told again after a crash, under the same key; two nodes may both tell."""

    def __init__(self, store: Store, clock: Clock, agents: Mapping[str, Agent]) -> None:
        self._store = store
        self._clock = clock
        self._agents = {name: agent for name, agent in agents.items() if agent.feedback is not None}

    async def run(self) -> None:
        """Until cancelled; where no agent takes any there is nothing to do."""
        while self._agents:
            try:
                await self.once()
            except StoreUnavailable as error:
                log.warning("feedback_put_off", error=str(error))
            await self._clock.sleep(EVERY_SECONDS)
        await asyncio.Event().wait()

    async def once(self) -> None:
        """Tell what is untold, but not for long where an agent is away."""
        away: set[str] = set()
        for rating in await self._store.read(untold, list(self._agents), self._store.now()):
            if rating.agent in away:
                continue
            try:
                await self._tell(rating)
            except Refused as error:
                log.warning("feedback_refused", agent=rating.agent, delivery=rating.delivery_id, error=str(error))
            except AgentError as error:
                log.info("feedback_waits", agent=rating.agent, error=str(error))
                away.add(rating.agent)
                continue
            await self._store.write(TOLD, rating)

    async def _tell(self, rating: Rating) -> None:
        agent = self._agents[rating.agent]
        given_at = rating.given_at.isoformat()
        key = sha256(f"{rating.delivery_id} {rating.author_id} {given_at}".encode()).hexdigest()
        opinion = {
            "delivery_id": rating.delivery_id,
            "value": rating.value,
            "given_by": rating.author_id,
            "given_at": given_at,
        }
        await agent.backend.tell(agent.feedback or "", rating.task_id, opinion, key=key)
