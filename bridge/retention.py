"""Forgets by age: hourly, by one node, in slices so small that nobody waits for them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from bridge.clock import Clock
from bridge.errors import Replaced, StoreUnavailable
from bridge.store.claims import HOLD, Claim
from bridge.store.database import Store
from bridge.store.retention import FORGET, GONE, NAME, SLICE, Ages, discarded

log = structlog.get_logger()

SOON = timedelta(minutes=1)
"""After the start: what comes up has better things to do at first."""
EVERY = timedelta(hours=1)
TTL = timedelta(minutes=5)


class Retention:
    """The ages of the configuration, applied. Interrupted anywhere, it goes on with the next run."""

    def __init__(
        self, store: Store, clock: Clock, ages: Ages, *, forget_bytes: Callable[[str], Awaitable[bool]]
    ) -> None:
        """`forget_bytes` deletes stored bytes by their digest; False: not yet, ask again another time."""
        self._store = store
        self._clock = clock
        self._ages = ages
        self._forget_bytes = forget_bytes

    async def run(self) -> None:
        """Until cancelled."""
        await self._clock.sleep(SOON.total_seconds())
        while True:
            try:
                await self.once()
            except (StoreUnavailable, Replaced) as error:
                log.warning("retention_interrupted", error=str(error) or "another node took over")
            await self._clock.sleep(EVERY.total_seconds())

    async def once(self) -> dict[str, int]:
        """Forget all that is old enough now; how much of each kind. Nothing where another node is at it."""
        epoch = await self._store.write(HOLD, Claim(NAME, TTL))
        if epoch is None:
            return {}
        forgotten: dict[str, int] = {}
        for piece in self._ages.slices(self._store.now(), epoch):
            count = SLICE
            while count >= SLICE:
                count = await self._store.write(FORGET, piece)
                forgotten[piece.what] = forgotten.get(piece.what, 0) + count
                await self._store.write(HOLD, Claim(NAME, TTL))
        forgotten["bytes"] = await self._delete_bytes()
        if any(forgotten.values()):
            log.info("retention", **{what: count for what, count in forgotten.items() if count})
        return forgotten

    async def _delete_bytes(self) -> int:
        """The bytes first, then the note of them: what is interrupted in between is done again."""
        deleted = 0
        for digest in await self._store.read(discarded):
            if await self._forget_bytes(digest):
                await self._store.write(GONE, digest)
                deleted += 1
        return deleted
