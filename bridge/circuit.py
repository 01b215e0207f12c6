"""A breaker: after several failures in a row nothing is tried for a while, then one try decides. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bridge.backoff import delay

THRESHOLD = 5
BASE = timedelta(seconds=1)
CAP = timedelta(seconds=30)
LOOK = timedelta(seconds=3)
"""How soon to ask how somebody's try went: mostly that is known at once."""
PROBE = timedelta(seconds=30)
"""How long the one who tries may take before the next one does: it may have died, or been told to stop."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of one agent's health."""

    failures: int = 0
    opens_at: datetime | None = None
    """When the agent may be tried again; None: it is not away."""
    probed_until: datetime | None = None
    """Until then somebody's try decides for all."""

    @property
    def is_open(self) -> bool:
        """Whether the agent counts as away."""
        return self.opens_at is not None

    def wait(self, now: datetime) -> timedelta | None:
        """How long to leave the agent alone; None where nothing is against a try, or against asking to be the probe."""
        if self.opens_at is None:
            return None
        if self.opens_at > now:
            return max(self.opens_at - now, BASE)
        if self.probed_until is not None and self.probed_until > now:
            return min(max(self.probed_until - now, BASE), LOOK)
        return None

    def failed(self, now: datetime, after: float | None = None) -> "Circuit":
        """Nothing could be sent."""
        failures = self.failures + 1
        if failures < THRESHOLD:
            return replace(self, failures=failures, probed_until=None)
        pause = delay(failures - THRESHOLD + 2, base=BASE, cap=CAP, after=after)
        return Circuit(failures, now + pause)

    def probed(self, now: datetime) -> "Circuit":
        """One of those who wait goes ahead."""
        return replace(self, probed_until=now + PROBE)


CLOSED = Circuit()
"""The agent answered, whatever it said."""
