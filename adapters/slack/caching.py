"""A bounded memory of what Slack said. Losing it costs a call."""

from collections import OrderedDict
from typing import Generic, TypeVar

from bridge.clock import Clock

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The last `size` values, each for `seconds`."""

    def __init__(self, clock: Clock, *, seconds: float, size: int = 4096) -> None:
        self._clock = clock
        self._seconds = seconds
        self._size = size
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, unless it is too old."""
        kept = self._values.get(key)
        if kept is None or self._clock.now().timestamp() - kept[0] > self._seconds:
            return None
        return kept[1]

    def put(self, key: K, value: V) -> V:
        """Remember and return the value."""
        self._values[key] = (self._clock.now().timestamp(), value)
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)
        return value
