"""Slack's rate limits on the test clock: token buckets by method, and by channel for posts."""

from adapters.slack.tiers import METHODS, POST_PER_CHANNEL, TIER
from bridge.clock import Clock


class Limits:
    """Off until `on` is set: most tests are about something else."""

    def __init__(self, clock: Clock) -> None:
        self.on = False
        self.refused = 0
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def retry_after(self, method: str, team: str, channel: str) -> int | None:
        """None where the call is within its budget, which it then uses up."""
        if not self.on or (method not in METHODS and method != "chat.postMessage"):
            return None
        rate, burst = POST_PER_CHANNEL if method == "chat.postMessage" else TIER[METHODS[method]]
        key = f"{team}:{method}:{channel if method == 'chat.postMessage' else ''}"
        now = self._clock.now().timestamp()
        level, at = self._buckets.get(key, (float(burst), now))
        level = min(float(burst), level + (now - at) * rate / 60)
        if level >= 1:
            self._buckets[key] = (level - 1, now)
            return None
        self._buckets[key] = (level, now)
        self.refused += 1
        return max(1, round((1 - level) * 60 / rate))
