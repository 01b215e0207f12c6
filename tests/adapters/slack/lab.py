"""A fake Slack on loopback, spoken to by the real slack_sdk, and our adapter in front of a tiny core."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import uvicorn

from adapters.slack import build
from adapters.slack.adapter import Slack
from adapters.slack.fake import People, Workspace
from adapters.slack.fake.delivery import SECRET, Deliveries
from adapters.slack.fake.sockets import Sockets
from adapters.slack.settings import Settings
from bridge.adapter import Kit
from bridge.errors import ReceiveError
from bridge.model import Act, Envelope, InboundMessage, OutboundMessage
from tests.adapters.kits import FakeClock


class LabClock(FakeClock):
    """Short waits pass by themselves; longer ones last until the test has moved the clock so far."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[datetime, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        if seconds <= 1:
            await super().sleep(seconds)
            return
        woken = asyncio.Event()
        self._sleepers.append((self.now() + timedelta(seconds=seconds), woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        for at, woken in self._sleepers:
            if at <= self.now():
                woken.set()


async def until(true: Callable[[], bool]) -> None:
    """Let everything else run until something holds; a test that waits in vain is ended by its time limit."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what it waits for happens across a socket
            await asyncio.sleep(0.002)


class Lab:
    """One workspace, its people, our adapter, and what came through. Admits and dedupes as the core promises to."""

    def __init__(self, slack: Workspace, sockets: Sockets, kit: Kit, clock: FakeClock) -> None:
        self.slack = slack
        self.sockets = sockets
        self.kit = kit
        self.clock = clock
        self._built: list[Slack] = []
        self.deliveries = Deliveries(slack, self.post)
        self.people = People(slack, self.deliveries)
        self.adapter = self.configured()
        self.got: list[InboundMessage] = []
        self.replies: list[bytes] = []
        self.refuse = 0
        """How many deliveries are refused before one is taken."""
        self._seen: set[str] = set()
        self._deliveries = 0

    def configured(self, **options: Any) -> Slack:
        self.adapter = build(self.settings(**options), self.kit)
        self._built.append(self.adapter)
        return self.adapter

    def settings(self, **options: Any) -> Settings:
        given = {"signing_secret": SECRET, "bot_token": "xoxb-test", "api_url": f"{self.slack.url}api/"}
        return Settings(**{**given, **options})

    async def close(self) -> None:
        for adapter in self._built:
            await adapter.close()

    def envelope(self, headers: Mapping[str, str], body: bytes) -> Envelope:
        return Envelope(
            source="team",
            method="POST",
            path="/in/team",
            query="",
            headers=tuple(headers.items()),
            body=body,
            received_at=self.clock.now(),
        )

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        if self.refuse:
            self.refuse -= 1
            return 503
        try:
            received = await self.adapter.receive(self.envelope(headers, body))
        except ReceiveError as error:
            return error.status
        assert received.reply is not None
        self.replies.append(received.reply.body)
        for message in received.messages or ():
            self.take(message)
        return received.reply.status

    def take(self, message: InboundMessage) -> None:
        """Once per message; of two copies the one that is admitted."""
        if message.act is Act.SAY:
            if message.declined or message.message_key in self._seen:
                return
            known = {one.conversation[0].value for one in self.got}
            if message.addressed == "ambient" and message.conversation[0].value not in known:
                return
            self._seen.add(message.message_key)
        self.got.append(message)

    async def arrivals(self) -> list[InboundMessage]:
        """Everything that got through so far."""
        await self.deliveries.pump()
        return self.got

    def answer(self, text: str, to: InboundMessage | None = None, **more: Any) -> OutboundMessage:
        to = to or self.got[-1]
        self._deliveries += 1
        fields: dict[str, Any] = {
            "delivery_id": f"dlv_{self._deliveries}",
            "kind": "answer",
            "return_address": to.return_address,
            "conversation": to.conversation[-1].value,
            "text": text,
            "created_at": self.clock.now(),
        }
        return OutboundMessage(**{**fields, **more})


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """An ASGI app on a free loopback port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        date_header=False,
        lifespan="off",
        ws="websockets-sansio",
        timeout_keep_alive=120,  # like Slack: a node that slept wakes to connections that still work
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        # Without uvicorn's own shutdown, which waits a tenth of a second and more: there are hundreds of these.
        for listening in server.servers:
            listening.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        for task in list(server.server_state.tasks):
            task.cancel()
        await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
