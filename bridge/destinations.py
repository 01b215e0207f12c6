"""Addresses of many owners: each gets some sends at a time, is left alone while it is down, and may be disabled."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from bridge.circuit import CLOSED, LOOK
from bridge.clock import Clock
from bridge.errors import BridgeError, Gone, Permanent, SendError, StoreUnavailable
from bridge.store.database import Store
from bridge.store.destinations import FAIL, PROBE_ONE, RECOVER, Failure, Noted, destination, destination_id, troubled

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0
"""How late this node may learn that another one has disabled a destination."""
SPREAD: Final = timedelta(seconds=25)
"""What was held back does not come back all at once. With the longest time a circuit is open it stays below a
minute, so that the answers of a conversation keep their order."""


class Held(BridgeError):
    """Not tried: the destination is down, and is left alone for the time in `wait`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("The destination fails again and again; it is left alone for a while.")
        self.wait = wait


class _Destination:
    """The places for calls to one address, while there are any."""

    def __init__(self, concurrency: int) -> None:
        self.slots = asyncio.Semaphore(concurrency)
        self.users = 0


class Destinations:
    """All that this node sends to. What fails is a row, its circuit included: all nodes leave it alone together.

    A destination that is well costs nothing: only a failure, the try that decides and the success after it are written.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, _Destination] = {}
        self._troubled: dict[str, Noted] = {}

    async def run(self) -> None:
        """Learn, until cancelled, what other nodes and operators have changed."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("look_missed", error=str(error))

    async def look(self) -> None:
        """Read what is noted. Has to be done once before anything is sent."""
        self._troubled = await self._store.read(troubled)

    @asynccontextmanager
    async def calling(self, source: str, address: str, *, concurrency: int) -> AsyncIterator[None]:
        """Around one try: what the block raises is noted. Raises Held, or Permanent where it is disabled."""
        id_ = destination_id(source, address)
        one = self._known.setdefault(id_, _Destination(concurrency))
        one.users += 1
        try:
            async with one.slots:
                await self._admit(id_)
                try:
                    yield
                except SendError as error:
                    await self._failed(source, address, id_, error)
                    raise
                await self._recovered(id_)
        finally:
            one.users -= 1
            if not one.users:
                self._known.pop(id_, None)

    async def _admit(self, id_: str) -> None:
        noted = self._troubled.get(id_)
        if noted is None:
            return
        if noted.is_disabled:  # as far as is known here; the row knows better
            found = await self._store.read(destination, id_)
            if found is not None and found.disabled_at is not None:
                raise Permanent(
                    f"The destination {id_} was disabled on {found.disabled_at:%Y-%m-%d %H:%M} UTC ({found.error}). "
                    f"To call it again: agent-bridge destinations enable {id_}"
                )
            noted = self._troubled[id_] = Noted(is_disabled=False, circuit=CLOSED)
        if (wait := noted.circuit.wait(self._store.now())) is not None:
            raise Held(wait + SPREAD * random.random())  # noqa: S311 - spreads load, guards nothing
        if not noted.circuit.is_open:
            return
        may_try = await self._store.write(PROBE_ONE, id_)
        self._troubled[id_] = replace(noted, circuit=noted.circuit.probed(self._store.now()))
        if not may_try:  # another one tries
            raise Held(LOOK + SPREAD * random.random())  # noqa: S311 - likewise

    async def _failed(self, source: str, address: str, id_: str, error: SendError) -> None:
        failure = Failure(
            source=source,
            address=address,
            error=str(error),
            final=isinstance(error, Gone),
            away=not isinstance(error, Permanent),
        )
        before, now = self._troubled.get(id_), await self._store.write(FAIL, failure)
        self._troubled[id_] = now
        if now.is_disabled and not (before and before.is_disabled):
            log.error("destination_disabled", destination=id_, source=source, error=str(error))

    async def _recovered(self, id_: str) -> None:
        if id_ in self._troubled:
            await self._store.write(RECOVER, id_)
            self._troubled.pop(id_, None)
