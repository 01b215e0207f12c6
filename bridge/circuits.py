"""Which agents are away: what all nodes have learnt, as this one last read it."""

from datetime import timedelta

from bridge.circuit import BASE, CLOSED, Circuit
from bridge.store.circuits import CHANGE, Change, known
from bridge.store.database import Store


class Circuits:
    """The breakers of all agents.

    A healthy agent costs nothing: only a failure, a first success after one, and the try that decides are written.
    What other nodes learnt is seen at the next `refresh`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Circuit] = {}

    async def refresh(self) -> None:
        """Learn what is stored."""
        self._known = dict(await self._store.read(known))

    def is_open(self, agent: str) -> bool:
        """Whether the agent counts as away."""
        return self._of(agent).is_open

    def rest(self, agent: str) -> timedelta | None:
        """How long to leave the agent alone, as far as is known here; None: it may be tried."""
        return self._of(agent).wait(self._store.now())

    async def wait(self, agent: str) -> timedelta | None:
        """How long to leave the agent alone; None: go ahead. Of all who wait, at whatever node, one goes ahead."""
        if not self.is_open(agent):
            return None
        if (left := self.rest(agent)) is not None:
            return left
        if await self._change(Change(agent=agent, what="probe")):
            return None
        return self.rest(agent) or BASE

    async def failed(self, agent: str, after: float | None) -> timedelta | None:
        """Nothing could be sent; how long to leave the agent alone now, where that is settled for all."""
        await self._change(Change(agent=agent, what="failed", after=after))
        return self.rest(agent)

    async def succeeded(self, agent: str) -> None:
        """The agent answered, whatever it said."""
        if self._of(agent).failures:
            await self._change(Change(agent=agent, what="succeeded"))

    def _of(self, agent: str) -> Circuit:
        return self._known.get(agent, CLOSED)

    async def _change(self, change: Change) -> bool:
        changed = await self._store.write(CHANGE, change)
        self._known[change.agent] = changed.circuit
        return changed.may_try
