"""One alarm clock for all who wait equally long. Most are done before it rings, and have cost no task and no timer."""

import asyncio
from collections.abc import Callable

from bridge.clock import Clock


class Alarm:
    """Rings for each that has not been taken off again after `seconds`."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._rings_at: dict[Callable[[], None], float] = {}
        """In the order in which they are due: all wait equally long."""
        self._waiting: asyncio.Task[None] | None = None

    def set(self, ring: Callable[[], None]) -> None:
        """Call `ring` when its time has come; it must not raise."""
        self._rings_at[ring] = self._now() + self._seconds
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._wait())

    def off(self, ring: Callable[[], None]) -> None:
        """Do not, if it has not been called yet."""
        self._rings_at.pop(ring, None)

    def close(self) -> None:
        """Ring for nobody any more."""
        self._rings_at.clear()
        if self._waiting is not None:
            self._waiting.cancel()

    async def _wait(self) -> None:
        try:
            while self._rings_at:
                ring, at = next(iter(self._rings_at.items()))
                left = at - self._now()
                if 0 < left <= self._seconds:  # more than that: the machine's clock was set back
                    await self._clock.sleep(left)
                else:
                    del self._rings_at[ring]
                    ring()
        finally:
            self._waiting = None

    def _now(self) -> float:
        return self._clock.now().timestamp()
