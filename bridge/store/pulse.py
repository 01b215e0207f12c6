"""How long this node may still act on its leases, by a clock of its own that nobody can set."""

import math
import time
from collections.abc import Callable
from datetime import timedelta

CAUTION = timedelta(seconds=1)
"""So much earlier than its lease runs out for others, a node stops by itself."""


def uptime() -> float:
    """Seconds since the machine started, those it slept included where the system can tell (Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Pulse:
    """Late from CAUTION before the lease runs out until it is renewed: stopped first, taken over second.

    Before the first beat, and where no other node can be, it is never late.
    """

    def __init__(self, seconds: Callable[[], float] = uptime) -> None:
        self.seconds = seconds
        self._good_until = math.inf

    def renewed(self, begun: float, ttl: timedelta) -> None:
        """The lease was renewed by a write that began at `begun`: it holds at least from then on."""
        self._good_until = begun + (ttl - CAUTION).total_seconds()

    @property
    def is_late(self) -> bool:
        """Whether another node may soon take over what this one holds."""
        return self.seconds() > self._good_until
