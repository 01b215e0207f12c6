"""How long a turn is tried, and how long it may wait."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.backoff import delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The limits of a turn."""

    attempts: int = 8
    """Calls that may have reached the agent. One that surely did not is none."""
    age: timedelta = timedelta(hours=24)
    """How old a message may get before its answer would come too late."""
    stuck: timedelta = timedelta(hours=1)
    """How long one try may take without an end."""
    pause: timedelta = timedelta(days=7)
    """How long the agent may wait for a person."""
    base: timedelta = timedelta(seconds=2)
    cap: timedelta = timedelta(minutes=5)

    def again(self, attempt: int, after: float | None) -> timedelta:
        """How long to wait after the failure of this attempt."""
        return delay(attempt, base=self.base, cap=self.cap, after=after)

    def look_again(self, paused_at: datetime, now: datetime) -> timedelta:
        """How long until the agent is asked whether it still waits: often at first, then every five minutes."""
        return min(max((now - paused_at) / 10, timedelta(seconds=5)), self.cap)
