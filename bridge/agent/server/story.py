"""What a turn tells, as lines of an event stream: from its start, or from the place where a reader was cut off."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bridge.agent.server.orders import Order
from bridge.agent.server.tasks import FINISHED, ORGANIZATION, encoded, order_of, record, stamp
from bridge.agent_rows import TaskTurn

Telling: TypeAlias = tuple[str, str | None, Any]
"""Type, time and data of one event."""

_PLACE: Final = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader has come; each event carries it as its `id`, `Last-Event-ID` brings it back.

    Fragments of the answer count by their characters, since they are kept joined once there are many.
    """

    turn: int
    attempt: int
    others: int = 0
    """Events so far that are no fragments."""
    characters: int = 0
    """Characters of fragments so far."""

    def __str__(self) -> str:
        return f"{self.turn}.{self.attempt}.{self.others}.{self.characters}"


def place_from(text: str | None) -> Place | None:
    """The place a reader names, or None where it names none of ours: it is then told everything."""
    found = _PLACE.fullmatch(text or "")
    return Place(*map(int, found.groups())) if found else None


class Teller:
    """Tells one turn to one reader."""

    def __init__(self, turn: TaskTurn, order: Order, since: Place | None) -> None:
        self._turn = turn
        self._order = order
        self._place = Place(turn.number, turn.attempt)
        # Another attempt tells another story: who heard a part of the first hears the whole of the second.
        known = since is not None and (since.turn, since.attempt) == (turn.number, turn.attempt)
        self._since = since if known else None

    def beginning(self) -> bytes:
        """What every turn's stream begins with: the task as created, then at work."""
        if self._since is not None:
            return b""
        at, record_as = stamp(self._turn.created_at), (("task_created", "pending"), ("task_updated", "executing"))
        return b"".join(
            self._line(kind, record(self._turn, status=status, order=self._order), at) for kind, status in record_as
        )

    def lines(self, told: Iterable[Telling]) -> bytes:
        """The next events, without what the reader knows already."""
        return b"".join([self._line(kind, data, time) for kind, time, data in self._news(told)])

    def end(self, turn: TaskTurn) -> bytes:
        """What every turn's stream ends with: finished, or paused."""
        kind = "task_finished" if turn.status in FINISHED else "task_updated"
        return self._line(kind, record(turn, order=self._order), stamp(turn.updated_at))

    def _news(self, told: Iterable[Telling]) -> Iterator[Telling]:
        known = self._since or Place(0, 0)
        for kind, time, data in told:
            before = self._place
            if kind == "chunk" and isinstance(data, str):
                self._place = Place(before.turn, before.attempt, before.others, before.characters + len(data))
                if self._place.characters > known.characters:
                    yield kind, time, data[max(known.characters - before.characters, 0) :]
            else:
                self._place = Place(before.turn, before.attempt, before.others + 1, before.characters)
                if self._place.others > known.others:
                    yield kind, time, data

    def _line(self, kind: str, data: Any, time: str | None) -> bytes:
        event = {
            "type": kind,
            "task_id": self._turn.task_id,
            "organization_id": ORGANIZATION,
            "time": time,
            "data": data,
        }
        return b"id: %s\ndata: %s\n\n" % (str(self._place).encode(), encoded(event))


def whole_story(turn: TaskTurn, since: Place | None) -> Iterator[bytes]:
    """The events of a turn that is over, as they were sent: a late subscriber sees what an early one saw."""
    teller = Teller(turn, order_of(turn), since)
    yield teller.beginning()
    yield teller.lines(json.loads(turn.events) if turn.events else ())
    yield teller.end(turn)
