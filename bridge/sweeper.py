"""The beat: a sign of life each second, and taking over what nobody alive works on."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from bridge.clock import Clock
from bridge.errors import StoreUnavailable
from bridge.model import Lease
from bridge.store.database import Store
from bridge.store.nodes import BEAT, LEAVE, Beat

log = structlog.get_logger()

BEAT_EVERY = timedelta(seconds=1)
TTL = timedelta(seconds=5)
TAKE_AT_ONCE = 500


class Sweeper:
    """Keeps this node alive in the eyes of the others, and wakes what is due."""

    def __init__(self, store: Store, clock: Clock, wake: Callable[[Lease], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake

    async def run(self) -> None:
        """Beat until cancelled. A database that is away is waited for."""
        while True:
            try:
                taken = await self.beat()
            except StoreUnavailable as error:
                log.warning("beat_missed", error=str(error))
                taken = 0
            if taken < TAKE_AT_ONCE:
                await self._clock.sleep(BEAT_EVERY.total_seconds())

    async def beat(self) -> int:
        """Renew the sign of life and take up what is due; answers how many conversations that were."""
        await self._store.settle_clock()
        leases = await self._store.write(BEAT, Beat(TTL, TAKE_AT_ONCE, self._store.exclusive))
        for lease in leases:
            self._wake(lease)
        return len(leases)

    async def leave(self) -> None:
        """Let go of everything at once; others need not wait for the lease to run out."""
        async with asyncio.timeout(TTL.total_seconds()):
            await self._store.write(LEAVE, self._store.now())
