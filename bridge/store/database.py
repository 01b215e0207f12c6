"""The store as the stages see it: `accept` and `write` commit before they return, `read` never blocks either."""

import asyncio
import fcntl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from bridge.clock import Clock
from bridge.errors import Replaced, StoreUnavailable
from bridge.model import new_id
from bridge.store.engine import is_sqlite, open_engine, takes_writes
from bridge.store.on_file import OnFile
from bridge.store.pace import Pace
from bridge.store.pulse import Pulse
from bridge.store.skew import Skew, skew
from bridge.store.transactions import Transactions
from bridge.store.writer import A, R, Write, Writer

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4
SILENCE_SECONDS = 2.0
"""How long whoever asks whether the database answers is kept."""


Observer: TypeAlias = Callable[[Write[Any, Any], Any, Any], None]


def _nobody(_write: Write[Any, Any], _args: Any, _outcome: Any) -> None:
    """Whom a store tells of its writes where nobody asked."""


class Locked(StoreUnavailable):
    """Another process has this SQLite database open for writing."""


class Store:
    """One node's view of the database. Open inside a running event loop, close when done."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        node: str,
        lock: IO[str] | None,
        pulse: Pulse | None = None,
        direct_url: str | None = None,
    ) -> None:
        self.node = node
        self.engine = engine
        self.direct_url = direct_url or engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        """Where other nodes' hints are listened to: PostgreSQL itself, whatever lies before it for all else."""
        self.pulse = pulse or Pulse()
        self._clock = clock
        self._lock = lock
        self._skew: Skew | None = None
        self._pace = Pace(asyncio.get_running_loop())
        self._observer: Observer = _nobody
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._engine_lane = self._writer()
        # an ack never queues behind engine work where there may be two transactions at a time
        self._ingest_lane = self._engine_lane if is_sqlite(engine) else self._writer()

    @classmethod
    def open(
        cls,
        database_url: str,
        clock: Clock,
        *,
        node: str | None = None,
        pulse: Pulse | None = None,
        direct_url: str | None = None,
    ) -> "Store":
        """Open for reading and writing. Raises Locked where another process owns the SQLite file."""
        engine = open_engine(database_url)
        lock = _lock_file(database_url) if is_sqlite(engine) else None
        return cls(engine, clock, node=node or new_id("nod"), lock=lock, pulse=pulse, direct_url=direct_url)

    @property
    def exclusive(self) -> bool:
        """Whether this node is surely the only one (SQLite)."""
        return self._lock is not None

    def now(self) -> datetime:
        """The present by the database's clock, so that nodes agree on what is due and what has expired."""
        now = self._clock.now()
        return now if self._skew is None else now + self._skew.now

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of each write of this node that is committed from now on; it must not raise."""
        self._observer = observer

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many writes wait for a commit, by lane."""
        return {"ingest": self._ingest_lane.waiting(), "engine": self._engine_lane.waiting()}

    @property
    def cuts(self) -> int:
        """How often something may have been committed that this node never heard of."""
        return self._ingest_lane.cuts + (0 if self.exclusive else self._engine_lane.cuts)

    async def accept(self, write: Write[A, R], args: A) -> R:
        """Write in the lane that acknowledgements wait for."""
        self._pace.arriving += 1
        try:
            outcome = await self._ingest_lane.urgently(write, args)
        finally:
            self._pace.arriving -= 1
        self._observer(write, args, outcome)
        return outcome

    async def room(self) -> None:
        """Wait until the loop has time for something new: what is acknowledged or under way goes first."""
        await self._pace.turn()

    async def write(self, write: Write[A, R], args: A) -> R:
        """Write in the lane of all other work.

        Raises Replaced after a write under a lease, although it is committed, where this node is late for
        its own: whatever was to follow from it (a call to a platform, say) may be another node's by now.
        """
        outcome = await self._engine_lane(write, args)
        self._observer(write, args, outcome)
        if write.lease is not None:
            self.check_pulse()
        return outcome

    def check_pulse(self) -> None:
        """Raises Replaced where this node is late for its leases: what it was about to do may be another's by now."""
        if self.pulse.is_late:
            raise Replaced

    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(connection, …)` on a connection apart from the writers'. Raises StoreUnavailable."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: self._read(function, *args, **kwargs))

    async def is_available(self) -> bool:
        """Whether the database answers right now, and takes writes. A silence counts as no."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await self.read(takes_writes)
        except (StoreUnavailable, TimeoutError):
            return False

    async def settle_clock(self) -> None:
        """Measure how far the database's clock is from this machine's (nothing to do on SQLite)."""
        if not is_sqlite(self.engine):
            self._skew = await self.read(skew)

    async def close(self) -> None:
        """Finish queued writes, then let go of the database."""
        if self._ingest_lane is not self._engine_lane:
            await self._ingest_lane.close()
        await self._engine_lane.close()
        self._readers.shutdown()
        self.engine.dispose()
        if self._lock is not None:
            self._lock.close()

    def _writer(self) -> Writer:
        return Writer(_transactions(self.engine), node=self.node, now=self.now)

    def _read(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        try:
            with self.engine.connect() as connection:
                return function(connection, *args, **kwargs)
        except DBAPIError as error:
            raise StoreUnavailable(f"The database cannot be read: {error.orig}") from error


def _transactions(engine: Engine) -> Transactions:
    if is_sqlite(engine):
        return OnFile(engine)
    from bridge.store.on_server import OnServer  # noqa: PLC0415 - what it needs comes with the extra `postgres` only

    return OnServer(engine.url)


def _lock_file(database_url: str) -> IO[str] | None:
    path = make_url(database_url).database
    if not path or path == ":memory:":
        raise StoreUnavailable("SQLite needs a file: a database in memory would not survive a restart.")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = Path(f"{path}.lock").open("a", encoding="ascii")  # noqa: SIM115 - held open as long as the store
    except OSError as error:
        raise StoreUnavailable(f"{path}.lock cannot be made: {error.strerror or error}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise Locked(f"{path} is in use by another process of Agent Bridge.") from error
    return file
