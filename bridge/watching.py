"""Who waits for a turn on this node: woken when it moves here, or when its row shows that it moved elsewhere."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from bridge.clock import Clock
from bridge.errors import StoreUnavailable
from bridge.model import Turn
from bridge.recording import Recorder
from bridge.store.database import Store
from bridge.store.events import LISTEN, signs
from bridge.views import View

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
"""How late news of other nodes may be; one read for all that is watched here."""


class Watch:
    """One waiter."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._news = asyncio.Event()

    def poke(self) -> None:
        """There may be something new."""
        self._news.set()

    async def changed(self, seconds: float) -> bool:
        """Wait for news, for so long at most; False where none came. May say so without any reason."""
        if self._news.is_set():
            self._news.clear()
            return True
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((sleeping, news), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            news.cancel()
        changed = self._news.is_set()
        self._news.clear()
        return changed


class Watchers:
    """All waiters of this node, by turn. Losing it loses nothing: the rows say the same."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._watches: dict[str, list[Watch]] = {}
        self._listened: set[str] = set()
        self._versions: dict[str, tuple[object, ...]] = {}
        self.closing = False
        """This node stops: nobody is kept any longer."""

    def close(self) -> None:
        """Let everybody go who waits here. They may come back, to the next life or to another node."""
        self.closing = True
        for watches in self._watches.values():
            for watch in watches:
                watch.poke()

    @contextmanager
    def watching(self, turn_id: str) -> Iterator[Watch]:
        """A watch on this turn from now on. Look at the rows after it has begun, not before."""
        watch = Watch(self._clock)
        self._watches.setdefault(turn_id, []).append(watch)
        try:
            yield watch
        finally:
            self._watches[turn_id].remove(watch)
            if not self._watches[turn_id]:
                del self._watches[turn_id]
                self._versions.pop(turn_id, None)

    async def listen(self, turn_id: str) -> None:
        """Somebody wants the events of this turn: recorded from now on, whoever runs it, until it is over."""
        self._listened.add(turn_id)
        await self._store.write(LISTEN, turn_id)

    def poke(self, turn_id: str) -> None:
        """Something about this turn is committed."""
        for watch in self._watches.get(turn_id, ()):
            watch.poke()

    def recorder(self, turn: Turn, view: View) -> Recorder:
        """What records the turn for those who listen, in front of its view."""
        return Recorder(
            self._store,
            self._clock,
            turn,
            view,
            listened=self._is_listened_to,
            stored=self.poke,
        )

    def _is_listened_to(self, turn: Turn) -> bool:
        return turn.listened or turn.id in self._listened

    async def run(self) -> None:
        """Look, until cancelled, for what moved without anybody here being told."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if self._watches or not self._store.exclusive:
                try:
                    await self.look()
                except StoreUnavailable as error:
                    log.warning("look_missed", error=str(error))

    async def look(self) -> None:
        """One look at everything that is watched here."""
        watched = {*self._watches, *self._listened}
        found = await self._store.read(signs, watched, self._store.node)
        self._listened -= watched - found.live
        self._listened |= found.listened
        for turn_id in self._watches:
            version = found.versions.get(turn_id, ())
            if self._versions.get(turn_id) != version:
                self._versions[turn_id] = version
                self.poke(turn_id)
