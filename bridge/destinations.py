"""Addresses of many owners: each gets some sends at a time, is left alone while it is down, and may be disabled."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import structlog

from bridge.circuit import CLOSED
from bridge.clock import Clock
from bridge.errors import BridgeError, Gone, Permanent, SendError, StoreUnavailable
from bridge.store.database import Store
from bridge.store.destinations import FAIL, RECOVER, Failure, destination, destination_id, troubled

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
    """What this node knows of one address while it calls it, or while it fails."""

    def __init__(self, concurrency: int) -> None:
        self.slots = asyncio.Semaphore(concurrency)
        self.circuit = CLOSED
        self.users = 0


class Destinations:
    """All that this node sends to. Circuits are its own: losing them costs a few tries. What is disabled is a row."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, _Destination] = {}
        self._troubled: dict[str, bool] = {}

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
        for id_ in [id_ for id_, one in self._known.items() if not one.users and id_ not in self._troubled]:
            del self._known[id_]

    @asynccontextmanager
    async def calling(self, source: str, address: str, *, concurrency: int) -> AsyncIterator[None]:
        """Around one try: what the block raises is noted. Raises Held, or Permanent where it is disabled."""
        id_ = destination_id(source, address)
        one = self._known.setdefault(id_, _Destination(concurrency))
        one.users += 1
        try:
            async with one.slots:
                await self._admit(id_, one)
                try:
                    yield
                except SendError as error:
                    self._judge(one, error)
                    await self._failed(source, address, id_, error)
                    raise
                except BaseException:  # cancelled: nobody knows how it would have ended, and a probe must end
                    one.circuit = one.circuit.failed(self._store.now())
                    raise
                one.circuit = CLOSED
                await self._recovered(id_)
        finally:
            one.users -= 1
            if not one.users and one.circuit is CLOSED:
                self._known.pop(id_, None)

    async def _admit(self, id_: str, one: _Destination) -> None:
        if self._troubled.get(id_):  # as far as is known here; the row knows better
            found = await self._store.read(destination, id_)
            if found is not None and found.disabled_at is not None:
                raise Permanent(
                    f"The destination {id_} was disabled on {found.disabled_at:%Y-%m-%d %H:%M} UTC ({found.error}). "
                    f"To call it again: agent-bridge destinations enable {id_}"
                )
            self._troubled[id_] = False
        now = self._store.now()
        if (wait := one.circuit.wait(now)) is not None:
            raise Held(wait + SPREAD * random.random())  # noqa: S311 - spreads load, guards nothing
        if one.circuit.is_open:
            one.circuit = one.circuit.probed(now)

    def _judge(self, one: _Destination, error: SendError) -> None:
        """Whoever refuses for good is there, and answers at once."""
        one.circuit = CLOSED if isinstance(error, Permanent) else one.circuit.failed(self._store.now())

    async def _failed(self, source: str, address: str, id_: str, error: SendError) -> None:
        failure = Failure(source=source, address=address, error=str(error), final=isinstance(error, Gone))
        was_disabled, is_disabled = self._troubled.get(id_, False), await self._store.write(FAIL, failure)
        self._troubled[id_] = is_disabled
        if is_disabled and not was_disabled:
            log.error("destination_disabled", destination=id_, source=source, error=str(error))

    async def _recovered(self, id_: str) -> None:
        if id_ in self._troubled:
            await self._store.write(RECOVER, id_)
            self._troubled.pop(id_, None)
