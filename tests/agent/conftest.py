import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bridge import Backend
from bridge.agent.server.app import create_app
from bridge.agent.server.demo import Demo
from bridge.agent.server.desk import Agent
from bridge.clock import Clock
from bridge.egress import open_client
from bridge.store.database import Store
from bridge.store.embedded_backlog import EmbeddedBacklog
from bridge.store.engine import open_engine
from bridge.store.migrations import migrate
from tests.agent.doubles import FailingRows, HeldClock, LeapingClock, ScriptedService, Served

Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture
def held() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with open_client() as client:
        yield client


@pytest.fixture
async def service() -> AsyncIterator[ScriptedService]:
    double = ScriptedService()
    server = await double.start()
    async with server:
        yield double


@pytest.fixture
def backend(http: httpx2.AsyncClient, service: ScriptedService, clock: LeapingClock) -> Backend:
    return Backend(http, base_url=service.url, api_key="key-1", agent_id="a1", clock=clock)


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "fresh.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, fresh_database: Path) -> str:
    shutil.copy(fresh_database, tmp_path / "agent.db")
    return f"sqlite:///{tmp_path}/agent.db"


@pytest.fixture
async def serve(sqlite_url: str, held: HeldClock, http: httpx2.AsyncClient) -> AsyncIterator[Serve]:
    """Starts the embedded agent on a free port; more than once over the same database, one after the other."""
    running: list[tuple[Served, Store]] = []

    async def start(*, clock: Clock = held, **options: Any) -> Served:
        await stop_all(running)
        store = Store.open(sqlite_url, clock)
        options = {
            "agents": {"demo": Agent(name="Demo", brain=Demo()), "other": Agent(name="Other", brain=Demo())},
            "api_keys": ["key-1", "key-2"],
            "public_url": "http://agent.example.com",
        } | options
        rows = FailingRows(store)
        served = Served(create_app(rows=rows, backlog=EmbeddedBacklog(store), clock=clock, **options), http, rows)
        await served.start()
        running.append((served, store))
        return served

    yield start
    await stop_all(running)


async def stop_all(running: list[tuple[Served, Store]]) -> None:
    while running:
        served, store = running.pop()
        await served.stop()
        await store.close()
