"""The whole bridge before the fake Slack: in this process, or in one that is killed."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from adapters.slack.fake import People, Workspace
from adapters.slack.fake.delivery import SECRET, Deliveries
from adapters.slack.fake.sockets import Sockets
from bridge.app import Bridge, running
from bridge.clock import SystemClock
from bridge.store.ledger import Ledger, ledger
from bridge.world import load_settings
from tests.adapters.slack.lab import until
from tests.end_to_end.serving import SERVE, Served, free_port, serving

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
    """The machine's clock, moved forward by a test; whoever sleeps meanwhile wakes when its time has come."""

    def __init__(self) -> None:
        self._by = timedelta()
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return super().now() + self._by

    async def sleep(self, seconds: float) -> None:
        until = self.now() + timedelta(seconds=seconds)
        while (left := (until - self.now()).total_seconds()) > 0:
            with suppress(TimeoutError):
                # wait_for would swallow a cancellation that comes together with the wake-up.
                async with asyncio.timeout(left):
                    await self._moved.wait()

    def advance(self, seconds: float) -> None:
        self._by += timedelta(seconds=seconds)
        self._moved.set()
        self._moved = asyncio.Event()


class Whole:
    """A workspace with a bridge behind it, or several, that can be stopped and started."""

    def __init__(self, slack: Workspace, sockets: Sockets, clock: Ahead, config: Path) -> None:
        self.slack = slack
        self.sockets = sockets
        self.clock = clock
        self.config = config
        self.nodes: list[tuple[Bridge, httpx2.AsyncClient]] = []
        self.deliveries = Deliveries(slack, self.post)
        self.people = People(slack, self.deliveries)
        self._turn = itertools.count()

    @property
    def http(self) -> httpx2.AsyncClient:
        """Of the nodes that are up, one after the other."""
        return self.nodes[next(self._turn) % len(self.nodes)][1]

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        if not self.nodes:
            return 0
        return (await self.http.post("/in/team", headers=dict(headers), content=body)).status_code

    @asynccontextmanager
    async def up(self, config: Path | None = None) -> AsyncIterator[None]:
        async with running(load_settings(config or self.config, {}), self.clock) as bridge:
            transport = httpx2.ASGITransport(app=bridge.asgi)
            async with httpx2.AsyncClient(transport=transport, base_url="http://bridge", trust_env=False) as http:
                self.nodes.append((bridge, http))
                yield
                self.nodes.remove((bridge, http))

    async def install(self) -> None:
        """Click Install, click Allow, come back."""
        off = await self.http.get("/in/team/install")
        async with httpx2.AsyncClient() as slack:
            back = await slack.get(off.headers["location"])
        self.http.cookies.update(off.cookies)
        page = await self.http.get(back.headers["location"].partition(":8080")[2])
        assert "The app is now in Acme" in page.text

    async def answers(self, channel: str, root: str, count: int = 1) -> list[str]:
        """What stands in a thread once there are so many answers, and a moment later still."""
        await until(lambda: len(self.slack.answers(channel, root)) >= count)
        await asyncio.sleep(0.2)
        return self.slack.answers(channel, root)

    async def settled(self, *, step: float = 0.0) -> Ledger:
        """The books once nothing is in flight any more; meanwhile time goes on by `step` seconds now and then."""
        async with asyncio.timeout(60):
            while True:
                await self.deliveries.pump()
                books = await self.nodes[0][0].store.read(ledger)
                if not books.in_flight and not self.deliveries.waiting:
                    return books
                await asyncio.sleep(0.05)
                self.clock.advance(step)


class Killable:
    """A workspace, and bridge processes that come and go. What is posted goes to the first one that takes it."""

    def __init__(self, slack: Workspace, folder: Path, stack: AsyncExitStack) -> None:
        self.slack = slack
        self.folder = folder
        self._stack = stack
        self._served: list[Served] = []
        self.deliveries = Deliveries(slack, self._post)
        self.people = People(slack, self.deliveries)

    async def start(self, *, held: str | None = None, frozen: str | None = None, database: str = "") -> Served:
        """A node; one that is `held` stands still at that boundary of its life and says so in `journal`.

        One that is `frozen` stops its whole process the moment that write has committed.
        """
        port, name = free_port(), f"bridge-{len(self._served)}"
        config = configuration(self.folder, self.slack.url, port=port, database=database, name=name)
        command: tuple[str, ...] = SERVE
        if held or frozen:
            how = ("launcher", held, str(self.journal)) if held else ("freezing", str(frozen))
            command = ("-m", f"tests.crash.{how[0]}", *how[1:], "serve")
        served = await self._stack.enter_async_context(serving(config, port, command=command))
        self._served.append(served)
        return served

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    async def settled(self) -> dict[str, Any]:
        """The books once nothing is in flight any more, and nothing is on its way from Slack."""
        while self.deliveries.waiting:
            self.deliveries.hurry()
            await self.deliveries.pump()
        return await self._served[-1].settled()

    async def _post(self, headers: Mapping[str, str], body: bytes) -> int:
        for served in self._served:
            if served.process.returncode is None:
                try:
                    return (await served.http.post("/in/team", headers=dict(headers), content=body)).status_code
                except httpx2.TransportError:
                    continue
        return 0
