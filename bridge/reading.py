"""Reads, after the acknowledgement, what could not be read before it: by the network, or by a killable worker."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from bridge.adapter import Reads
from bridge.backoff import delay, scheduled
from bridge.clock import Clock
from bridge.entrance import Entrance
from bridge.errors import BridgeError, Retryable, StoreUnavailable
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
PATIENCE = (0, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 28_800)
"""Seconds before each further try where something else is away, such as a name server: a day in all."""


@dataclass(slots=True)
class _Place:
    """One arrival that is being read; `left` once its messages stand in line, or it will be read again later."""

    source: str = ""
    named: asyncio.Event = field(default_factory=asyncio.Event)
    """Its source is known, or will never be."""
    left: asyncio.Event = field(default_factory=asyncio.Event)


class Readings:
    """Some arrivals side by side. Nothing of it is lost: what fails is tried again, then parked.

    What arrived first is placed first, among those of a source that are read at the same time, however long each
    takes: the second mail of a thread does not overtake the first. One that has to be tried again holds up nobody.
    """

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
        self._places: dict[str, _Place] = {}

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
            place = self._places[envelope_id] = _Place()
            try:
                await self._store.room()  # an acknowledgement never waits for what was acknowledged already
                for unread in await self._store.read(rows.unread, [envelope_id]):
                    place.source = unread.source
                    place.named.set()
                    await self._read_one(unread, place)
            except StoreUnavailable as error:
                log.warning("reading_put_off", envelope=envelope_id, error=str(error))
            finally:
                place.named.set()
                place.left.set()
                del self._places[envelope_id]

    async def _read_one(self, unread: Unread, place: _Place) -> None:
        entrance = self._entrances.get(unread.source)
        if entrance is None or not isinstance(entrance.adapter, Reads):
            await self._put_off(unread, f"No source named {unread.source!r} can read it.")
            return
        try:
            async with asyncio.timeout(SECONDS):
                messages = await self._messages(entrance.adapter, unread)
            placed = await self._placed(entrance, unread, messages, place)
        except Retryable as error:
            await self._put_off(unread, str(error), after=error.after, further=PATIENCE)
        except (BridgeError, TimeoutError, MemoryError) as error:
            await self._put_off(unread, str(error) or type(error).__name__)
        except Exception as error:  # an adapter's fault with one arrival must not end the reading of others
            log.exception("reading_failed", envelope=unread.envelope_id)
            await self._put_off(unread, type(error).__name__)
        else:
            self._rouse(placed)

    async def _placed(
        self, entrance: Entrance, unread: Unread, messages: Sequence[InboundMessage], place: _Place
    ) -> rows.Placed:
        read = rows.Read(unread=unread, messages=tuple(messages), agent=entrance.agent, busy=entrance.busy)
        await self._after_earlier(place)
        placing = asyncio.ensure_future(self._store.accept(rows.READ, read))
        await asyncio.sleep(0)  # it stands in the writer's line now, which keeps its order
        place.left.set()
        return await placing

    async def _after_earlier(self, place: _Place) -> None:
        for earlier in [*self._places.values()]:
            if earlier is place:
                return
            await earlier.named.wait()
            if earlier.source == place.source:
                await earlier.left.wait()

    async def _messages(self, adapter: Reads, unread: Unread) -> Sequence[InboundMessage]:
        return await adapter.read(unpack(unread.source, self._sealer.open(unread.sealed, purpose="envelope")))

    async def _put_off(
        self, unread: Unread, error: str, *, after: float | None = None, further: Sequence[float] = ()
    ) -> None:
        tries = unread.attempt + 1
        wait = (
            delay(tries, base=BASE, cap=CAP, after=after)
            if tries < ATTEMPTS
            else scheduled(tries - ATTEMPTS + 1, further, after=after)
        )
        log.warning("arrival_parked" if wait is None else "arrival_put_off", envelope=unread.envelope_id, error=error)
        until = None if wait is None else self._store.now() + wait
        await self._store.write(rows.PUT_OFF, rows.Unreadable(envelope_id=unread.envelope_id, error=error, until=until))

    def _rouse(self, placed: rows.Placed) -> None:
        for lease in placed.wake:
            self._wake(lease)
        for conversation_id in placed.stop:
            self._stop(conversation_id)
        for lease in placed.deliver:
            self._deliver(lease)
