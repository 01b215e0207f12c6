"""Keeps the adapters' own connections open: a socket, a mailbox, a listener. Each on one node at a time."""

import asyncio
import contextlib
from datetime import timedelta

import structlog

from bridge.adapter import Accept, Connects
from bridge.backoff import delay
from bridge.clock import Clock
from bridge.errors import BridgeError, StoreUnavailable
from bridge.store.claims import HOLD, RELEASE, Claim
from bridge.store.database import Store

log = structlog.get_logger()

TTL = timedelta(seconds=15)
RENEW = timedelta(seconds=5)
BASE = timedelta(seconds=1)
CAP = timedelta(minutes=2)


class Connection:
    """One source's connection: held under a lease, started again with back-off when it breaks."""

    def __init__(self, store: Store, clock: Clock, accept: Accept, *, source: str, adapter: Connects) -> None:
        self._store = store
        self._clock = clock
        self._accept = accept
        self._source = source
        self._adapter = adapter
        self._claim = Claim(f"connection:{source}", TTL)

    async def run(self) -> None:
        """Until cancelled: connected where the lease is this node's, else waiting for it."""
        failures = 0
        try:
            while True:
                begun = self._clock.now()
                is_elsewhere = await self._connected()
                if self._clock.now() - begun > CAP:
                    failures = 0  # it had worked meanwhile
                failures = 0 if is_elsewhere else failures + 1
                wait = delay(failures, base=BASE, cap=CAP) if failures else RENEW
                await self._clock.sleep(wait.total_seconds())
        finally:
            with contextlib.suppress(StoreUnavailable):  # then it runs out by itself
                await self._store.write(RELEASE, self._claim.name)

    async def _connected(self) -> bool:
        """One life of the connection; False if it broke."""
        try:
            if await self._store.write(HOLD, self._claim) is None:
                return True
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew())
                group.create_task(self._adapter.run(self._accept))
        except* Exception as errors:  # noqa: BLE001 - whatever it was, this connection is begun again and the others go on
            log.warning("connection_lost", source=self._source, error=repr(errors.exceptions[0]))
        return False

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(RENEW.total_seconds())
            if await self._store.write(HOLD, self._claim) is None:
                raise _Lost(f"another node has {self._claim.name}")


class _Lost(BridgeError):
    """The lease went to another node."""
