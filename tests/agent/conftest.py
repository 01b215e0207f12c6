from collections.abc import AsyncIterator

import httpx2
import pytest

from bridge import Backend
from tests.agent.doubles import LeapingClock, ScriptedService


@pytest.fixture
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False) as client:
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
