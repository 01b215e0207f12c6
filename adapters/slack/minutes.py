"""Counts by the minute: bots that talk to each other, in one process; streams and updates, at all nodes together."""

import json
from collections import OrderedDict, deque
from datetime import timedelta

from bridge.adapter import Vault
from bridge.clock import Clock

_WINDOW_SECONDS = 60.0
_KEYS = 4096
_KEPT = timedelta(minutes=2)


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


class SharedPerMinute:
    """Counts what passed in the last minute at all nodes together: what Slack counts for a whole workspace.

    In the vault: the core's budgets make deliveries wait, and what finds no room here is shown in another way instead.
    """

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock

    async def passes(self, key: str, budget: int) -> bool:
        """Whether one more is within `budget` a minute; if so it counts."""
        name, now = f"minute/{key}", self._clock.now().timestamp()
        while True:  # each time round another node has counted one, of which there are no more than the budget
            stored = await self._vault.get(name)
            times = [at for at in json.loads(stored[0]) if at > now - _WINDOW_SECONDS] if stored else []
            if len(times) >= budget:
                return False
            counted = json.dumps([*times, now]).encode()
            if await self._vault.put(name, counted, version=stored[1] if stored else None, keep=_KEPT):
                return True
