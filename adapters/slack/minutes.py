"""Counts by the minute: bots that talk to each other, streams that are started."""

from collections import OrderedDict, deque

from bridge.clock import Clock

_WINDOW_SECONDS = 60.0
_KEYS = 4096


class PerMinute:
    """Counts what passed in the last minute, by key. Losing the counts costs one more minute's worth at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._passed: OrderedDict[str, deque[tuple[float, str]]] = OrderedDict()

    def passes(self, key: str, budget: int, item: str = "") -> bool:
        """Whether one more is within `budget` a minute; if so it counts. The same `item` again does not."""
        now = self._clock.now().timestamp()
        times = self._passed.setdefault(key, deque())
        self._passed.move_to_end(key)
        while len(self._passed) > _KEYS:
            self._passed.popitem(last=False)
        while times and times[0][0] <= now - _WINDOW_SECONDS:
            times.popleft()
        if item and any(known == item for _, known in times):
            return True
        if len(times) >= budget:
            return False
        times.append((now, item))
        return True
