"""Wires the parts together: the only place that knows all of them. Reads top to bottom."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import structlog
from starlette.types import ASGIApp

from bridge.adapter import Connects, Serves
from bridge.captures import Captures
from bridge.clock import Clock, SystemClock
from bridge.connections import Connection
from bridge.counting import Counting
from bridge.errors import StoreUnavailable
from bridge.feedback import Feedback
from bridge.inbox import Inbox
from bridge.metrics import Metrics
from bridge.model import Lease
from bridge.operations import Operations
from bridge.options import Limits
from bridge.outbox import Outbox
from bridge.patience import Patience
from bridge.reading import Readings
from bridge.resealing import Resealing
from bridge.retention import Retention
from bridge.settings import Settings
from bridge.store.database import Store
from bridge.store.migrations import migrate
from bridge.store.retention import Ages
from bridge.sweeper import Sweeper
from bridge.turns import Turns
from bridge.watching import Watchers
from bridge.web.access import Access
from bridge.web.captures import CapturedRequests
from bridge.web.files import Downloads
from bridge.web.incoming import Incoming
from bridge.web.metrics import Measured, Scrape
from bridge.web.reading import Reading
from bridge.web.results import Results
from bridge.web.routes import create_asgi
from bridge.web.writing import Writing
from bridge.world import World

log = structlog.get_logger()

AGAIN_SECONDS: Final = 1.0
"""Between the end of a loop that should have none and its next life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A running bridge."""

    store: Store
    asgi: ASGIApp
    release: Callable[[], None]
    """Let go of callers who are kept for an answer; to be called before the server waits for open requests."""


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Bridge]:
    """Open everything, run until the block ends, then let go: what was in flight is resumed from its rows."""
    clock = clock or SystemClock()
    options = settings.bridge
    async with AsyncExitStack() as stack:
        store = Store.open(options.database_url, clock, direct_url=options.database_direct_url)
        stack.push_async_callback(store.close)
        await asyncio.to_thread(migrate, store.engine)
        world = await World.open(settings, store, clock, stack)

        limits = options.limits
        metrics = Metrics()
        counting = Counting(store, metrics)
        store.observe(counting)
        outbox = Outbox(store, clock, adapters=world.adapters, age=limits.answer_age)
        await outbox.destinations.look()
        watchers = Watchers(store, clock)
        turns = Turns(
            store,
            clock,
            agents=world.agents,
            adapters=world.adapters,
            patience=_patience(limits),
            link=world.link,
            own=world.custody.take,
            deliver=outbox.lanes.wake,
            handing=outbox.handing,
            watchers=watchers,
            routes=world.routes,
            failed=counting.agent_failed,
            shares=world.shares,
        )

        def wake(lease: Lease) -> None:
            turns.lanes.wake(lease)
            outbox.lanes.wake(lease)

        entrances = world.entrances
        run, deliver = turns.lanes.wake, outbox.lanes.wake
        reading = Readings(store, clock, world.sealer, entrances=entrances, wake=run, stop=turns.stop, deliver=deliver)
        inbox = Inbox(store, world.sealer, wake=turns.begin, stop=turns.stop, deliver=deliver, read=reading.begin)
        connections = _connections(world, inbox)
        sweeper = Sweeper(store, clock, wake, lanes=(turns.lanes, outbox.lanes))
        named, keyed = settings.asked(), settings.keeping_keys()
        operations = Operations(store, clock, agents=named, keeps_keys=keyed, wake=wake, interrupt=turns.stop)
        sizes = {"turns": turns.lanes.__len__, "standby": turns.standby.__len__, "outbox": outbox.lanes.__len__}
        scrape = Scrape(metrics, store, stuck=limits.stuck, lanes=sizes)
        asgi = _asgi(world, inbox=inbox, watchers=watchers, operations=operations, scrape=scrape, metrics=metrics)
        retention = Retention(store, clock, _ages(limits), forget_bytes=world.files.forget)
        resealing = Resealing(store, clock, world.sealer)
        watching = (sweeper.run, retention.run, resealing.run, reading.run, turns.watch, watchers.run)
        keeping = (Feedback(store, clock, world.agents).run, *(connection.run for connection in connections))
        try:
            async with _looping(clock, *watching, outbox.destinations.run, *keeping):
                yield Bridge(store=store, asgi=asgi, release=watchers.close)
        finally:
            await asyncio.gather(turns.lanes.close(), outbox.lanes.close(), return_exceptions=True)
            with contextlib.suppress(StoreUnavailable, TimeoutError):  # then others wait for the lease to run out
                await sweeper.leave()


Loop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def _looping(clock: Clock, *loops: Loop) -> AsyncIterator[None]:
    """Each runs beside the block and is cancelled with it."""
    tasks = [asyncio.create_task(_lasting(loop, clock)) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _lasting(loop: Loop, clock: Clock) -> None:
    """Begun again, whatever ended it: without its beat, say, this node would go on to take messages and answer none."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("loop_ended", loop=loop.__qualname__)
        await clock.sleep(AGAIN_SECONDS)


def _patience(limits: Limits) -> Patience:
    return Patience(attempts=limits.attempts, age=limits.answer_age, stuck=limits.stuck, pause=limits.pause)


def _ages(limits: Limits) -> Ages:
    return Ages(payloads=limits.payloads, rows=limits.rows, dedupe=limits.dedupe)


def _connections(world: World, inbox: Inbox) -> list[Connection]:
    """The adapters' own connections to their platforms."""
    return [
        Connection(world.store, world.clock, partial(inbox.store, world.entrances[name]), source=name, adapter=adapter)
        for name, adapter in world.adapters.items()
        if isinstance(adapter, Connects)
    ]


def _asgi(
    world: World, *, inbox: Inbox, watchers: Watchers, operations: Operations, scrape: Scrape, metrics: Metrics
) -> ASGIApp:
    """Everything that is served."""
    settings, store, clock = world.settings, world.store, world.clock
    options = settings.bridge
    access = Access(world.tokens, world.admin_token)
    results = Results(store, clock, watchers, link=world.link, status_url=world.status_url, most=options.max_wait)
    captures = Captures(store, world.sealer)
    entrances = world.entrances
    incoming = Incoming(inbox, entrances, clock, results, captures, status_url=world.status_url)
    return create_asgi(
        Measured(incoming, metrics, entrances),
        [
            *scrape.routes(),
            *Reading(store, access, stuck=options.limits.stuck, link=world.link).routes(),
            *Writing(operations, access).routes(),
            *results.routes(access),
            *CapturedRequests(store, world.sealer, settings).routes(access),
            *Downloads(world.files).routes(),
            *world.pages,
        ],
        store.is_available,
        pages={name: a.routes() for name, a in world.adapters.items() if isinstance(a, Serves)},
    )
