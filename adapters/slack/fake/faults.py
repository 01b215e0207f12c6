"""Switches that break the fake Slack on purpose."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["error", "status", "limit", "html", "cut_before", "cut_after", "late", "gzip"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken call. `cut_after` takes effect and then loses the answer, `late` withholds it a while.

    `cut_before` loses the call. `gzip` is an answer that says it is compressed and is not.
    """

    kind: Kind
    error: str = "internal_error"
    status: int = 503
    after: int = 1
    """Seconds of Retry-After, or of waiting."""


@dataclass(slots=True)
class Faults:
    """Faults wait by method; each breaks one call, in order. `*` breaks whatever comes next."""

    waiting: dict[str, deque[Fault]] = field(default_factory=dict)

    def add(self, method: str, *faults: Fault) -> None:
        """Break the next calls of a method."""
        self.waiting.setdefault(method, deque()).extend(faults)

    def take(self, method: str) -> Fault | None:
        """The fault for this call, if one waits."""
        for name in (method, "*"):
            if self.waiting.get(name):
                return self.waiting[name].popleft()
        return None
