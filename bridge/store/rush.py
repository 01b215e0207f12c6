"""Many arrivals at a time: while they come, nothing begins that can wait."""

import asyncio
import contextlib
from types import TracebackType
from typing import Final

MANY: Final = 12
"""So many waiting for their commit at the same moment are a rush; fewer leave enough room beside them."""
LULL_SECONDS: Final = 0.02
"""A rush is over when it has not been one for so long: between two batches there is always a moment without any."""
MOST_SECONDS: Final = 2.0
"""Nobody waits longer for its end."""


class Rush:
    """Counts what is being stored: `with rush:` around each. Its state is this node's alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._storing = 0
        self._seen_at = 0.0
        self._calm = asyncio.Event()
        self._calm.set()

    def __enter__(self) -> None:
        self._storing += 1
        if self._storing > MANY:
            self._seen_at = self._loop.time()
            if self._calm.is_set():
                self._calm.clear()
                self._loop.call_later(LULL_SECONDS, self._look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._storing -= 1

    async def over(self) -> None:
        """Returns at once where there is no rush, else at its end or after MOST_SECONDS."""
        if not self._calm.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MOST_SECONDS):
                    await self._calm.wait()

    def _look(self) -> None:
        left = LULL_SECONDS if self._storing > MANY else self._seen_at + LULL_SECONDS - self._loop.time()
        if left > 0:
            self._loop.call_later(left, self._look)
        else:
            self._calm.set()
