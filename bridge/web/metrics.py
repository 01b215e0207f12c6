"""`GET /metrics`, and the time every arrival takes until it is acknowledged."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.errors import StoreUnavailable
from bridge.metrics import (
    ACKNOWLEDGED,
    ARRIVALS,
    BALANCED,
    DESTINATIONS,
    LANES,
    LEDGER,
    OLDEST_SECONDS,
    OPEN_DELIVERIES,
    OPEN_TURNS,
    STUCK,
    UNVERIFIED,
    WRITES_WAITING,
    Metrics,
)
from bridge.store.database import SILENCE_SECONDS, Store
from bridge.store.gauges import Gauges, gauges
from bridge.store.ledger import VERDICTS

ACKNOWLEDGED_AT: Final = "bridge.acknowledged_at"
"""Where the way in notes, in the scope, when the arrival was stored."""
UNVERIFIED_FOR: Final = "bridge.unverified_for"
"""… and which check a signature did not pass."""
SCARCELY: Final = 5.0
"""Seconds for which what was counted from the rows is shown again, at least."""
SHARE: Final = 50
"""… and so many times what the counting took, so that it costs the database 2 % at most."""


class Scrape:
    """The endpoint of Prometheus. The rows are counted rarely; while the database is silent the rest is shown."""

    def __init__(
        self, metrics: Metrics, store: Store, *, stuck: timedelta, lanes: Mapping[str, Callable[[], int]]
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._stuck = stuck
        self._lanes = lanes
        self._stale_at = 0.0
        self._counting: asyncio.Task[None] | None = None

    def routes(self) -> list[BaseRoute]:
        """The one route."""
        return [Route("/metrics", self.show)]

    async def show(self, _: Request) -> Response:
        """All numbers of this process, and of the installation what the rows tell."""
        if self._counting is None and time.monotonic() >= self._stale_at:
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None:
            await asyncio.wait({self._counting}, timeout=SILENCE_SECONDS)
        for stage, size in self._lanes.items():
            self._metrics.show(LANES, size(), stage)
        for lane, waiting in self._store.waiting.items():
            self._metrics.show(WRITES_WAITING, waiting, lane)
        body, media_type = self._metrics.exposition()
        return Response(body, headers={"content-type": media_type})

    async def _count(self) -> None:
        begun = time.monotonic()
        try:
            found = await self._store.read(gauges, stuck_before=self._store.now() - self._stuck)
        except StoreUnavailable:
            return
        finally:
            self._counting = None
        took = time.monotonic() - begun
        self._stale_at = time.monotonic() + max(SCARCELY, SHARE * took)
        self._show(found)

    def _show(self, found: Gauges) -> None:
        show = self._metrics.show
        for state, count in found.turns.items():
            show(OPEN_TURNS, count, state)
        for state, count in found.deliveries.items():
            show(OPEN_DELIVERIES, count, state)
        for state, count in found.destinations.items():
            show(DESTINATIONS, count, state)
        for state in ("accepted", *VERDICTS):
            show(LEDGER, getattr(found.counts, state), state)
        show(BALANCED, int(found.counts.balanced))
        show(STUCK, found.stuck)
        oldest = found.oldest_turn_at
        show(OLDEST_SECONDS, 0 if oldest is None else max((self._store.now() - oldest).total_seconds(), 0))


class Measured:
    """The way in, with a clock beside it: from the request to the first byte of its answer."""

    def __init__(self, way_in: ASGIApp, metrics: Metrics, sources: Collection[str]) -> None:
        self._way_in = way_in
        self._metrics = metrics
        self._sources = frozenset(sources)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        source = scope["path_params"]["source"]
        if source not in self._sources:  # a label of its own for whatever strangers try would have no end
            await self._way_in(scope, receive, send)
            return
        begun = time.perf_counter()

        async def measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A caller that is kept for the answer was acknowledged long before its first byte.
                acknowledged = scope.get(ACKNOWLEDGED_AT, time.perf_counter())
                self._note(source, message["status"], acknowledged - begun)
                if (reason := scope.get(UNVERIFIED_FOR)) is not None:
                    self._metrics.count(UNVERIFIED, source, reason)
            await send(message)

        await self._way_in(scope, receive, measured)

    def _note(self, source: str, status: int, seconds: float) -> None:
        self._metrics.observe(ACKNOWLEDGED, seconds, source)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._metrics.count(ARRIVALS, source, "unavailable")
        elif status >= HTTPStatus.BAD_REQUEST:
            self._metrics.count(ARRIVALS, source, str(status))
