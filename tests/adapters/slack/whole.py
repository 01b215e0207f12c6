"""The whole bridge before the fake Slack: in this process, or in one that is killed."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx2

from adapters.slack.fake import People, Workspace
from adapters.slack.fake.delivery import SECRET, Deliveries
from adapters.slack.fake.sockets import Sockets
from bridge.app import running
from bridge.clock import SystemClock
from bridge.world import load_settings
from tests.adapters.slack.lab import until
from tests.end_to_end.serving import SERVE, Served, serving

CONFIG = """
[bridge]
listen = "127.0.0.1:{port}"
database_url = "{database}"
files_url = "{folder}/files"
secret_keys = ["a key of these tests alone"]
admin_token = "an-admin-token-of-these-tests"
log_level = "error"

[agents.local]
kind = "embedded"
brain = "demo"

[sources.team]
adapter = "slack"
agent = "local"
signing_secret = "{secret}"
bot_token = "xoxb-test"
api_url = "{url}api/"
"""


def configuration(folder: Path, url: str, *, port: int = 8080, database: str = "", name: str = "bridge") -> Path:
    """A file with one Slack source, `team`, whose Slack is at `url`, and the demo agent."""
    config = folder / f"{name}.toml"
    database = database or f"sqlite:///{folder}/bridge.db"
    config.write_text(CONFIG.format(folder=folder, secret=SECRET, url=url, port=port, database=database))
    return config


class Ahead(SystemClock):
    """The machine's clock, moved forward by a test."""

    def __init__(self) -> None:
        self._by = timedelta()

    def now(self) -> datetime:
        return super().now() + self._by

    def advance(self, seconds: float) -> None:
        self._by += timedelta(seconds=seconds)


class Whole:
    """A workspace with a bridge behind it that can be stopped and started."""

    def __init__(self, slack: Workspace, sockets: Sockets, clock: Ahead, config: Path) -> None:
        self.slack = slack
        self.sockets = sockets
        self.clock = clock
        self.config = config
        self.http: httpx2.AsyncClient | None = None
        self.deliveries = Deliveries(slack, self.post)
        self.people = People(slack, self.deliveries)

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        if self.http is None:
            return 0
        return (await self.http.post("/in/team", headers=dict(headers), content=body)).status_code

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        async with running(load_settings(self.config, {}), self.clock) as bridge:
            transport = httpx2.ASGITransport(app=bridge.asgi)
            async with httpx2.AsyncClient(transport=transport, base_url="http://bridge", trust_env=False) as self.http:
                yield
        self.http = None

    async def answers(self, channel: str, root: str, count: int = 1) -> list[str]:
        """What stands in a thread once there are so many answers, and a moment later still."""
        await until(lambda: len(self.slack.answers(channel, root)) >= count)
        await asyncio.sleep(0.2)
        return self.slack.answers(channel, root)


class Killable:
    """A workspace, and a bridge process that comes and goes."""

    def __init__(self, slack: Workspace, config: Path, port: int, stack: AsyncExitStack) -> None:
        self.slack = slack
        self._config = config
        self._port = port
        self._stack = stack
        self._served: Served | None = None
        self.deliveries = Deliveries(slack, self._post)
        self.people = People(slack, self.deliveries)

    async def start(self, command: Sequence[str] = SERVE) -> None:
        self._served = await self._stack.enter_async_context(serving(self._config, self._port, command=command))

    async def kill(self) -> None:
        assert self._served is not None
        await self._served.kill()

    async def settled(self) -> dict[str, object]:
        assert self._served is not None
        return await self._served.settled()

    async def _post(self, headers: Mapping[str, str], body: bytes) -> int:
        assert self._served is not None
        try:
            return (await self._served.http.post("/in/team", headers=dict(headers), content=body)).status_code
        except httpx2.TransportError:
            return 0
