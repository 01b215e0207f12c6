import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import httpx2
import pytest

from bridge.app import Bridge, running
from bridge.clock import Clock
from bridge.store.ledger import Ledger, ledger
from bridge.world import load_settings
from tests.end_to_end.parties import PATIENCE_SECONDS, Sink, write_config


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    double = Sink()
    server = await double.start()
    async with server:
        yield double


@dataclass(frozen=True, slots=True)
class Opened:
    """A bridge in this process, and an HTTP client that reaches its ASGI app."""

    bridge: Bridge
    http: httpx2.AsyncClient

    async def settled(self) -> Ledger:
        """The books once nothing is in flight any more."""
        return await self.books(lambda books: not books.in_flight)

    async def books(self, wanted: Callable[[Ledger], bool]) -> Ledger:
        """The books as soon as they are as wanted."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(books := await self.bridge.store.read(ledger)):  # noqa: ASYNC110 - rows do not tell when they change
                await asyncio.sleep(0.01)
        return books


class OpenBridge(Protocol):
    def __call__(self, clock: Clock | None = None) -> AbstractAsyncContextManager[Opened]: ...


@asynccontextmanager
async def bridge_from(config: Path, clock: Clock | None = None) -> AsyncIterator[Opened]:
    async with (
        running(load_settings(config, {}), clock) as bridge,
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=bridge.asgi), base_url="http://bridge", trust_env=False
        ) as http,
    ):
        yield Opened(bridge, http)


@pytest.fixture
def open_bridge(database_url: str, tmp_path: Path, sink: Sink) -> OpenBridge:
    config = write_config(tmp_path, database_url=database_url, callback=sink.url)
    return partial(bridge_from, config)


@pytest.fixture
async def opened(open_bridge: OpenBridge) -> AsyncIterator[Opened]:
    async with open_bridge() as one:
        yield one


@pytest.fixture
def http(opened: Opened) -> httpx2.AsyncClient:
    return opened.http
