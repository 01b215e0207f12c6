"""A breaker: after several failures in a row nothing is tried for a while, then one try decides."""

from datetime import datetime, timedelta

from bridge.backoff import delay

THRESHOLD = 5
BASE = timedelta(seconds=1)
CAP = timedelta(seconds=30)


class Circuit:
    """What one node knows of one agent's health. Losing it costs a few tries."""

    def __init__(self) -> None:
        self._failures = 0
        self._opens_at: datetime | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the agent counts as away."""
        return self._opens_at is not None

    def wait(self, now: datetime) -> timedelta | None:
        """How long to leave the agent alone; None: go ahead. Of those who wait, one goes ahead as the probe."""
        if self._opens_at is None:
            return None
        if now >= self._opens_at and not self._probing:
            self._probing = True
            return None
        return max(self._opens_at - now, BASE)

    def failed(self, now: datetime, after: float | None = None) -> None:
        """Nothing could be sent."""
        self._failures += 1
        self._probing = False
        if self._failures >= THRESHOLD:
            self._opens_at = now + delay(self._failures - THRESHOLD + 2, base=BASE, cap=CAP, after=after)

    def succeeded(self) -> None:
        """The agent answered, whatever it said."""
        self._failures = 0
        self._probing = False
        self._opens_at = None
