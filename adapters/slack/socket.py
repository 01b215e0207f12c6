"""Socket Mode over Bolt and slack_sdk: one connection, and nothing acknowledged that is not stored."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from slack_bolt.adapter.socket_mode.async_base_handler import AsyncBaseSocketModeHandler
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from bridge.model import Reply

Take: TypeAlias = Callable[[SocketModeRequest], Awaitable[Reply | None]]
"""Stores what arrived; None where it could not."""

ACK_SECONDS = 3.0
"""So long Slack waits for an acknowledgement."""


class Client(SocketModeClient):
    """One connection, never a second: where the SDK would connect again, this one is over.

    The SDK dials an address again and again until that works, also when it never will, and is deaf meanwhile;
    after a refused `apps.connections.open` it waits for a socket to close that Slack has announced to leave.
    """

    def __init__(self, web: AsyncWebClient, token: str, url: str, ping_seconds: float) -> None:
        super().__init__(token, web_client=web, ping_interval=ping_seconds)
        self.wss_uri = url
        self.over = asyncio.Event()

    async def connect_to_new_endpoint(self, force: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the SDK's
        """Called when Slack wants another connection, when this one closed, and when no pong came for four pings."""
        self.over.set()


class Socket(AsyncBaseSocketModeHandler):
    """What comes over one connection."""

    def __init__(self, client: Client, take: Take) -> None:
        self.client: Client = client
        self._take = take
        self._taking: set[asyncio.Task[Any]] = set()
        client.socket_mode_request_listeners.append(self.handle)

    async def serve(self) -> None:
        """Until another connection is needed. Raises TimeoutError where there came none."""
        try:
            async with asyncio.timeout(2 * self.client.ping_interval):
                await self.connect_async()  # type: ignore[no-untyped-call]  # Bolt's
            await self.client.over.wait()
        finally:
            if self._taking:  # nobody asks twice for a command that was not acknowledged
                await asyncio.wait(self._taking, timeout=ACK_SECONDS)
            await self.close_async()  # type: ignore[no-untyped-call]

    async def handle(self, client: AsyncBaseSocketModeClient, req: SocketModeRequest) -> None:
        """Store, then acknowledge. What cannot be stored is not acknowledged, so that Slack sends it again."""
        task = asyncio.current_task()
        assert task is not None, "each envelope has a task"
        self._taking.add(task)  # the SDK keeps no reference to it
        try:
            reply = await self._take(req)
            if reply is not None:
                shown = json.loads(reply.body) if req.accepts_response_payload and reply.body else None
                await client.send_socket_mode_response(SocketModeResponse(req.envelope_id, shown))
        finally:
            self._taking.discard(task)
