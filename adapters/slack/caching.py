"""A bounded memory of what Slack said. Losing it costs a call."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from bridge.clock import Clock

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The last `size` values, each for `seconds`. Many who ask for one at a time share one call."""

    def __init__(self, clock: Clock, *, seconds: float, size: int = 4096) -> None:
        self._clock = clock
        self._seconds = seconds
        self._size = size
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asked: dict[K, asyncio.Task[V]] = {}

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

    def pop(self, key: K) -> V | None:
        """The value, unless it is too old; then it is forgotten."""
        value = self.get(key)
        self._values.pop(key, None)
        return value

    async def ask(self, key: K, question: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The answer to a question that is under way already, else to a new one. Remembers nothing by itself."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.create_task(question())
            asked.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(asked)  # whoever asked first may give up; the others still wait
