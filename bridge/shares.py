"""Who may be at an agent at the same time: limits for agents, sources and people, and a fair line before them.

All of it is of this node alone: with several nodes, each has as much again.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from bridge.model import Turn

K = TypeVar("K")

_OF_A_SOURCE: Final = 0.9
_OF_A_PERSON: Final = 0.8
"""What one may take of all places where nothing else is configured: however long its turns are, some are left."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """On whose account a turn counts."""

    agent: str
    source: str
    person: str


def claimant_of(turn: Turn) -> Claimant:
    """On whose account this turn counts."""
    return Claimant(turn.agent, turn.source, turn.said[-1].message.author.id if turn.said else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many turns may run at the same time, in all and for each by its name; what is not named has the usual."""

    total: int
    agents: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    people: Mapping[str, int] = field(default_factory=dict)
    """For one person, by the source they speak at."""

    def of_agent(self, agent: str) -> int:
        """An agent has no limit of its own unless it is configured."""
        return self.agents.get(agent, self.total)

    def of_source(self, source: str) -> int:
        """Most of all places."""
        return self.sources.get(source, max(1, int(self.total * _OF_A_SOURCE)))

    def of_person(self, source: str) -> int:
        """Many of all places: the only person there is should not be held back much."""
        return self.people.get(source, max(1, int(self.total * _OF_A_PERSON)))


_Line: TypeAlias = OrderedDict[str, deque[asyncio.Future[bool]]]
"""Who waits, by person; whoever was served goes to the end."""


class Shares:
    """Places for turns. Who finds none waits; sources are served one after the other, and so are people within them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken = 0
        self._by_agent: Counter[str] = Counter()
        self._by_source: Counter[str] = Counter()
        self._by_person: Counter[tuple[str, str]] = Counter()
        self._lines: OrderedDict[str, OrderedDict[str, _Line]] = OrderedDict()

    def __len__(self) -> int:
        """How many wait for a place."""
        return sum(
            len(waiting) for line in self._lines.values() for people in line.values() for waiting in people.values()
        )

    def take(self, claimant: Claimant) -> bool:
        """Take a place at once, if there is one. It is nobody else's: whoever waits could not use it."""
        if not self._has_room(claimant):
            return False
        self.occupy(claimant)
        return True

    def occupy(self, claimant: Claimant) -> None:
        """Take a place whether or not there is one: the agent is at it already."""
        self._count(claimant, 1)

    def give(self, claimant: Claimant) -> None:
        """Give a place back; whoever is next has it at once."""
        self._count(claimant, -1)
        self._serve()

    async def wait(self, claimant: Claimant, served: asyncio.Future[bool]) -> bool:
        """Take a place as soon as it is this one's turn, which `served` tells then.

        Whoever sets that to False takes this one out of the line: then there is no place.
        """
        sources = self._lines.setdefault(claimant.agent, OrderedDict())
        sources.setdefault(claimant.source, OrderedDict()).setdefault(claimant.person, deque()).append(served)
        self._serve()
        try:
            has_place = await served
        except asyncio.CancelledError:
            if served.done() and not served.cancelled() and served.result():
                self.give(claimant)
            else:
                self._leave(claimant, served)
            raise
        if not has_place:
            self._leave(claimant, served)
        return has_place

    def _count(self, claimant: Claimant, by: int) -> None:
        self._taken += by
        _add(self._by_agent, claimant.agent, by)
        _add(self._by_source, claimant.source, by)
        _add(self._by_person, (claimant.source, claimant.person), by)

    def _has_room(self, claimant: Claimant) -> bool:
        return (
            self._taken < self._limits.total
            and self._by_agent[claimant.agent] < self._limits.of_agent(claimant.agent)
            and self._by_source[claimant.source] < self._limits.of_source(claimant.source)
            and self._by_person[claimant.source, claimant.person] < self._limits.of_person(claimant.source)
        )

    def _serve(self) -> None:
        while self._taken < self._limits.total and (claimant := self._next()) is not None:
            sources = self._lines[claimant.agent]
            line = sources[claimant.source]
            served = line[claimant.person].popleft()
            self._lines.move_to_end(claimant.agent)
            sources.move_to_end(claimant.source)
            line.move_to_end(claimant.person)
            self._tidy(claimant)
            if not served.done():
                self.occupy(claimant)
                served.set_result(True)

    def _next(self) -> Claimant | None:
        """Whole agents and sources without room are passed over at once, whoever waits there."""
        for agent, sources in self._lines.items():
            if self._by_agent[agent] >= self._limits.of_agent(agent):
                continue
            for source, line in sources.items():
                if self._by_source[source] >= self._limits.of_source(source):
                    continue
                most = self._limits.of_person(source)
                for person in line:
                    if self._by_person[source, person] < most:
                        return Claimant(agent, source, person)
        return None

    def _leave(self, claimant: Claimant, served: asyncio.Future[bool]) -> None:
        line = self._lines.get(claimant.agent, OrderedDict()).get(claimant.source, OrderedDict())
        if served in line.get(claimant.person, ()):
            line[claimant.person].remove(served)
            self._tidy(claimant)

    def _tidy(self, claimant: Claimant) -> None:
        sources = self._lines[claimant.agent]
        line = sources[claimant.source]
        if not line[claimant.person]:
            del line[claimant.person]
        if not line:
            del sources[claimant.source]
        if not sources:
            del self._lines[claimant.agent]


def _add(counts: Counter[K], key: K, by: int) -> None:
    """Count; what is at zero is forgotten, since people come and go."""
    counts[key] += by
    if not counts[key]:
        del counts[key]
