"""The beat: a sign of life each second, and taking over what nobody alive works on."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

import structlog

from bridge.backoff import delay
from bridge.clock import Clock
from bridge.errors import StoreUnavailable
from bridge.lanes import Lanes
from bridge.model import Lease
from bridge.store.database import Store
from bridge.store.nodes import BEAT, LEAVE, NUDGED, RECLAIM, Beat, begun, overlooked
from bridge.store.notices import ANYBODY, Deaf, hints

log = structlog.get_logger()

BEAT_EVERY = timedelta(seconds=1)
TTL = timedelta(seconds=5)
TAKE_AT_ONCE = 500
LOOK_EVERY = timedelta(milliseconds=250)
"""How often a node asks itself whether it is late."""
SEARCH_EVERY = 30
"""Beats between two searches for work that nobody was woken for."""
OVERDUE = timedelta(seconds=10)


class Sweeper:
    """Keeps this node alive in the eyes of the others, and wakes what is due.

    Late for its own lease (frozen, or cut off from the database) it stops its lanes before another node
    may take over, and claims anew what is still its own once it is back.
    """

    def __init__(self, store: Store, clock: Clock, wake: Callable[[Lease], None], *, lanes: Sequence[Lanes]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._lanes = lanes
        self._suspended = False
        self._hurry = asyncio.Event()
        self._beats = 0
        self._cuts = 0
        """So many of the store's are made up for."""

    async def run(self) -> None:
        """Until cancelled. A database that is away is waited for."""
        if self._store.exclusive:
            await self._beating()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beating())
            group.create_task(self._watching())
            group.create_task(self._listening())

    async def beat(self) -> int:
        """Renew the sign of life and take up what is due; answers how many conversations that were."""
        self.look()
        begun = self._store.pulse.seconds()
        await self._store.settle_clock()
        leases = await self._store.write(BEAT, Beat(TTL, TAKE_AT_ONCE, self._store.exclusive))
        if not self._store.exclusive:
            self._store.pulse.renewed(begun, TTL)
        if self._suspended and not self._store.pulse.is_late:
            leases = await self._resume()
        self._wake_all(leases)
        found = await self._search()
        self._wake_all(found)
        return len(leases) + len(found)

    async def leave(self) -> None:
        """Let go of everything at once; others need not wait for the lease to run out."""
        async with asyncio.timeout(TTL.total_seconds()):
            await self._store.write(LEAVE, self._store.now())

    def look(self) -> None:
        """Stop everything if this node is late for its own lease."""
        if self._store.pulse.is_late and not self._suspended:
            log.warning("lease_late", node=self._store.node)
            self._suspended = True
            for lanes in self._lanes:
                lanes.suspend()

    async def _search(self) -> list[Lease]:
        """What nobody was woken for: now and then what is overdue, at once all there is where a commit went unheard."""
        cuts, now = self._store.cuts, self._store.now()
        was_cut = cuts != self._cuts
        found: list[Lease] = []
        if was_cut or self._beats % SEARCH_EVERY == SEARCH_EVERY - 1:
            due = now if was_cut else now - OVERDUE
            found = [*await self._store.read(overlooked, self._store.node, due), *await self._left_alone(due)]
        self._beats += 1
        self._cuts = cuts
        return found

    async def _left_alone(self, due: datetime) -> list[Lease]:
        """What began before then, and no lane is at work on that should be."""
        found = await self._store.read(begun, self._store.node, due)
        at_work = {lanes.name: lanes.holds for lanes in self._lanes}
        return [lease for name, lease in found if name not in at_work or not at_work[name](lease.conversation_id)]

    async def _resume(self) -> list[Lease]:
        leases = await self._store.write(RECLAIM, self._store.now())
        self._suspended = False
        for lanes in self._lanes:
            lanes.resume()
        log.info("lease_regained", node=self._store.node, conversations=len(leases))
        return leases

    async def _beating(self) -> None:
        while True:
            self._hurry.clear()
            try:
                taken = await self.beat()
            except StoreUnavailable as error:
                log.warning("beat_missed", error=str(error))
                taken = 0
            if taken < TAKE_AT_ONCE:
                await self._until_next()

    async def _until_next(self) -> None:
        pause = asyncio.ensure_future(self._clock.sleep(BEAT_EVERY.total_seconds()))
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait((pause, hurry), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            hurry.cancel()

    async def _watching(self) -> None:
        while True:
            self.look()
            await self._clock.sleep(LOOK_EVERY.total_seconds())

    async def _listening(self) -> None:
        """Hear at once from other nodes what the beat would find anyway. Through a pooler there is only the beat."""
        failures = 0
        while True:
            try:
                async with aclosing(hints(self._store.direct_url)) as heard:
                    async for named in heard:
                        failures = 0
                        await self._heed(named)
            except Deaf as error:
                log.warning("hints_unheard", error=str(error), option="bridge.database_direct_url")
                return
            except StoreUnavailable as error:
                log.warning("hints_missed", error=str(error))
            failures += 1
            await self._clock.sleep(delay(failures, base=BEAT_EVERY, cap=timedelta(minutes=1)).total_seconds())

    async def _heed(self, named: frozenset[str]) -> None:
        if ANYBODY in named or not named:
            self._hurry.set()
        elif self._store.node in named:
            leases = await self._store.write(NUDGED, TAKE_AT_ONCE)
            self._wake_all(leases)

    def _wake_all(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._wake(lease)
