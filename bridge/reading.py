"""Reads, after the acknowledgement, what could not be read before it: by the network, or by a killable worker."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from bridge.adapter import Reads
from bridge.backoff import delay
from bridge.clock import Clock
from bridge.entrance import Entrance
from bridge.errors import BridgeError, StoreUnavailable
from bridge.model import InboundMessage, Lease
from bridge.sealing import Sealer
from bridge.store import unread as rows
from bridge.store.database import Store
from bridge.store.envelopes import unpack
from bridge.store.unread import Unread

log = structlog.get_logger()

SECONDS = 60
ATTEMPTS = 8
AT_ONCE = 8
SWEEP_SECONDS = 1.0
BASE = timedelta(seconds=5)
CAP = timedelta(minutes=30)


class Readings:
    """One arrival after the other, some side by side. Nothing of it is lost: what fails is tried again, then parked."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sealer: Sealer,
        *,
        entrances: Mapping[str, Entrance],
        wake: Callable[[Lease], None],
        stop: Callable[[str], None],
        deliver: Callable[[Lease], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._sealer = sealer
        self._entrances = entrances
        self._wake = wake
        self._stop = stop
        self._deliver = deliver
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def begin(self, envelope_id: str) -> None:
        """Read this arrival soon. May be said any number of times."""
        if envelope_id not in self._under_way:
            task = asyncio.create_task(self._read(envelope_id), name=f"reading {envelope_id}")
            self._under_way[envelope_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(envelope_id, None))

    async def run(self) -> None:
        """Take up, until cancelled, what waits for its next try and what nodes that are gone have left."""
        try:
            while True:
                try:
                    await self.sweep()
                except StoreUnavailable as error:
                    log.warning("sweep_missed", error=str(error))
                await self._clock.sleep(SWEEP_SECONDS)
        finally:
            for task in [*self._under_way.values()]:
                task.cancel()

    async def sweep(self) -> None:
        """One look for arrivals to read."""
        found = await self._store.read(rows.due, self._store.node, self._store.now())
        for envelope_id in [one for one in found if one not in self._under_way]:
            if await self._store.write(rows.TAKE_OVER, envelope_id):
                self.begin(envelope_id)

    async def _read(self, envelope_id: str) -> None:
        async with self._slots:
            try:
                await self._store.quiet()  # an acknowledgement never waits for what was acknowledged already
                for unread in await self._store.read(rows.unread, [envelope_id]):
                    await self._read_one(unread)
            except StoreUnavailable as error:
                log.warning("reading_put_off", envelope=envelope_id, error=str(error))

    async def _read_one(self, unread: Unread) -> None:
        entrance = self._entrances.get(unread.source)
        if entrance is None or not isinstance(entrance.adapter, Reads):
            await self._put_off(unread, f"No source named {unread.source!r} can read it.")
            return
        try:
            async with asyncio.timeout(SECONDS):
                messages = await self._messages(entrance.adapter, unread)
        except (BridgeError, TimeoutError, MemoryError) as error:
            await self._put_off(unread, str(error) or type(error).__name__)
            return
        except Exception as error:  # an adapter's fault with one arrival must not end the reading of others
            log.exception("reading_failed", envelope=unread.envelope_id)
            await self._put_off(unread, type(error).__name__)
            return
        read = rows.Read(unread=unread, messages=tuple(messages), agent=entrance.agent, busy=entrance.busy)
        self._rouse(await self._store.accept(rows.READ, read))

    async def _messages(self, adapter: Reads, unread: Unread) -> Sequence[InboundMessage]:
        return await adapter.read(unpack(unread.source, self._sealer.open(unread.sealed, purpose="envelope")))

    async def _put_off(self, unread: Unread, error: str) -> None:
        last = unread.attempt + 1 >= ATTEMPTS
        wait = delay(unread.attempt + 1, base=BASE, cap=CAP)
        log.warning("arrival_parked" if last else "arrival_put_off", envelope=unread.envelope_id, error=error)
        until = None if last else self._store.now() + wait
        await self._store.write(rows.PUT_OFF, rows.Unreadable(envelope_id=unread.envelope_id, error=error, until=until))

    def _rouse(self, placed: rows.Placed) -> None:
        for lease in placed.wake:
            self._wake(lease)
        for conversation_id in placed.stop:
            self._stop(conversation_id)
        for lease in placed.deliver:
            self._deliver(lease)
