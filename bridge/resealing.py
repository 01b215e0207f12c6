"""After a change of keys: whatever an older key has sealed is sealed anew, so that the older one can go."""

import asyncio
from datetime import timedelta

import structlog

from bridge.clock import Clock
from bridge.errors import StoreUnavailable
from bridge.sealing import Sealer
from bridge.store.claims import HOLD, Claim
from bridge.store.database import Store
from bridge.store.sealed import PURPOSES, RESEAL, SLICE, Reseal, What, sealed_otherwise

log = structlog.get_logger()

NAME = "resealing"
"""The lease under which one node does it."""
TTL = timedelta(minutes=5)
SOON = timedelta(seconds=30)
EVERY = timedelta(hours=1)
"""Another node may still seal with its newest key, which is an older one here."""


class Resealing:
    """Slice by slice, beside all other work. Interrupted anywhere, it goes on with what is left."""

    def __init__(self, store: Store, clock: Clock, sealer: Sealer) -> None:
        self._store = store
        self._clock = clock
        self._sealer = sealer

    async def run(self) -> None:
        """Until cancelled; with one key there is nothing to do."""
        while self._sealer.has_older_keys:
            await self._clock.sleep(SOON.total_seconds())
            try:
                await self.once()
            except StoreUnavailable as error:
                log.warning("resealing_interrupted", error=str(error))
            await self._clock.sleep(EVERY.total_seconds())
        await asyncio.Event().wait()

    async def once(self) -> int:
        """Seal anew all that another key has sealed; how much that was. Nothing where another node is at it."""
        if await self._store.write(HOLD, Claim(NAME, TTL)) is None:
            return 0
        count = sum([await self._all_of(what) for what in PURPOSES])
        if count:
            log.info("resealed", count=count)
        return count

    async def _all_of(self, what: What) -> int:
        count, after = 0, None
        while found := await self._store.read(sealed_otherwise, what, self._sealer.mark, after):
            count += await self._store.write(RESEAL, Reseal(values=found, seal=self._anew))
            after = found[-1].key
            await self._store.write(HOLD, Claim(NAME, TTL))
            if len(found) < SLICE:
                break
        return count

    def _anew(self, sealed: bytes, purpose: str) -> bytes:
        return self._sealer.seal(self._sealer.open(sealed, purpose=purpose), purpose=purpose)
