"""Conversations that wait in memory for an agent that is away: no lane runs for them, and nothing is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from bridge.circuits import Circuits
from bridge.model import Act, Lease
from bridge.routing import Route
from bridge.store.arrivals import Arrival


@dataclass(frozen=True, slots=True)
class _Waiting:
    lease: Lease
    until: datetime


class Standby:
    """Who waits for which agent, in the order of coming. They are woken here, at each `look`.

    The rows tell nothing of it: the turn is queued, the conversation is this node's. After a crash whoever takes it
    over finds out anew that the agent is away; a lease that was lost meanwhile is found out when it is woken.
    """

    def __init__(self, circuits: Circuits, now: Callable[[], datetime], *, wake: Callable[[Lease], None]) -> None:
        self._circuits = circuits
        self._now = now
        self._wake = wake
        self._waiting: dict[str, dict[str, _Waiting]] = {}
        self._first_until: datetime | None = None
        """Before then nobody has waited too long."""

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def add(self, agent: str, lease: Lease, until: datetime) -> None:
        """Wait for the agent, but not longer than `until`. Who waits already keeps the place in line, and the end."""
        waiting = self._waiting.setdefault(agent, {})
        before = waiting.get(lease.conversation_id)
        waiting[lease.conversation_id] = _Waiting(lease, min(until, before.until) if before else until)
        self._first_until = min(until, self._first_until or until)

    def look(self) -> None:
        """Wake everybody whose agent is back, one of those whose agent may be tried, and who has waited too long."""
        for agent in [*self._waiting]:
            if not self._circuits.is_open(agent):
                self._wake_all(self._waiting.pop(agent))
            elif self._circuits.rest(agent) is None:
                self._wake_first(agent)
        if self._first_until is not None and self._first_until <= self._now():
            self._wake_overdue()

    def _wake_all(self, waiting: dict[str, _Waiting]) -> None:
        for one in waiting.values():
            self._wake(one.lease)

    def _wake_first(self, agent: str) -> None:
        waiting = self._waiting[agent]
        first = waiting.pop(next(iter(waiting)))
        if not waiting:
            del self._waiting[agent]
        self._wake(first.lease)

    def _wake_overdue(self) -> None:
        now, self._first_until = self._now(), None
        for agent, waiting in [*self._waiting.items()]:
            del self._waiting[agent]
            for one in waiting.values():
                if one.until <= now:
                    self._wake(one.lease)
                else:
                    self.add(agent, one.lease, one.until)


def unheard(arrival: Arrival, routes: Mapping[str, Route]) -> str | None:
    """The agent that all of this is said to, where there is no address to tell anything to.

    To take such a turn, look, and put it off again would cost three times what storing it does, beside the very flood
    that comes in while an agent is away.
    """
    messages = arrival.messages or ()
    if arrival.source in routes or any(one.return_address or one.act is not Act.SAY for one in messages):
        return None
    agents = {one.agent or arrival.agent for one in messages}
    return agents.pop() if len(agents) == 1 else None
