"""A fake Slack on loopback, with our adapter alone before it, a whole bridge, or bridges that are killed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.slack.fake import Workspace
from adapters.slack.fake.api import Api
from adapters.slack.fake.sockets import Sockets
from bridge.clock import SystemClock
from bridge.egress import open_client
from tests.adapters.kits import open_kit
from tests.adapters.slack.lab import Lab, LabClock, served
from tests.adapters.slack.whole import Ahead, Killable, Whole, configuration


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    clock = LabClock()
    slack = Workspace(clock)
    sockets = Sockets(slack)
    async with (
        served(Api(slack, sockets).app()) as url,
        open_kit("team", clock=clock) as kit,
        open_client() as http,
    ):
        slack.url = url
        lab = Lab(slack, sockets, replace(kit, http=http), clock)
        yield lab
        await lab.close()


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    clock = Ahead()
    slack = Workspace(clock)
    sockets = Sockets(slack)
    async with served(Api(slack, sockets).app()) as url:
        slack.url = url
        yield Whole(slack, sockets, clock, configuration(tmp_path, url))


@pytest.fixture
async def killable(tmp_path: Path) -> AsyncIterator[Killable]:
    slack = Workspace(SystemClock())
    async with served(Api(slack, Sockets(slack)).app()) as url, AsyncExitStack() as stack:
        slack.url = url
        yield Killable(slack, tmp_path, stack)
