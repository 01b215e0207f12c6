"""Slack with work of its own: sockets, tokens that expire, and pages to install it from."""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

import aiohttp
import structlog
from slack_sdk.socket_mode.request import SocketModeRequest

from adapters.slack.adapter import Slack
from adapters.slack.interactions import OK
from adapters.slack.pages import Pages
from adapters.slack.settings import Settings
from adapters.slack.socket import Client, Socket
from bridge.adapter import Accept, Kit
from bridge.errors import BridgeError, Malformed, Retryable, SendError
from bridge.model import Envelope, Reply

log = structlog.get_logger()

SOCKETS = 2
"""Slack closes a socket now and then; another one is open then."""
PING_SECONDS = 5.0
"""So often Slack is asked for a sign of life; a socket that was cut off is seen then, one that is silent soon after."""
PAUSE_SECONDS = 2.0
ROTATION_SECONDS = 600.0


class ConnectedSlack(Slack):
    """Runs on one node at a time."""

    def __init__(self, settings: Settings, kit: Kit) -> None:
        super().__init__(settings, kit)
        self._kit = kit
        self.ping_seconds = PING_SECONDS

    def routes(self) -> Sequence[Any]:
        """The install pages, where the app is for many workspaces."""
        many = self._settings.client_id is not None
        return Pages(self._settings, self._kit, self.installations).routes() if many else ()

    async def run(self, accept: Accept) -> None:
        """Until cancelled. Raises nothing but what a bug raises: each part goes on after its failures."""
        async with asyncio.TaskGroup() as group:
            if self._settings.app_token is not None:
                for _ in range(SOCKETS):
                    group.create_task(self._sockets(accept, self._settings.app_token.get_secret_value()))
            if self._settings.client_id is not None:
                group.create_task(self._rotations())

    async def _rotations(self) -> None:
        while True:
            for installation in await self.installations.expiring():
                try:
                    await self.installations.rotate(installation)
                except SendError as error:
                    log.warning("slack_token_not_rotated", installation=installation.vault_name, error=str(error))
            await self._clock.sleep(ROTATION_SECONDS)

    async def _sockets(self, accept: Accept, token: str) -> None:
        take = partial(self._take, accept)
        while True:
            try:
                answer = await self.calls.request("apps.connections.open", token, {})
                await Socket(
                    Client(self.installations.client, token, str(answer["url"]), self.ping_seconds), take
                ).serve()
                continue
            except Retryable as error:
                pause = error.after or PAUSE_SECONDS
                log.warning("slack_socket_refused", error=str(error))
            except (SendError, aiohttp.ClientError, TimeoutError, OSError) as error:
                pause = PAUSE_SECONDS
                log.warning("slack_socket_lost", error=repr(error))
            await self._clock.sleep(pause)

    async def _take(self, accept: Accept, request: SocketModeRequest) -> Reply | None:
        """What to acknowledge it with; None where it could not be stored."""
        body = _posted(request)
        envelope = Envelope(
            source=self._kit.source,
            method="SOCKET",
            path=request.type,
            query="",
            headers=(),
            body=body,
            received_at=self._clock.now(),
        )
        try:
            await self.forget_revoked(body)
            received = self.ingress.read(body)
            if received.messages:
                await accept(received, envelope)
        except Malformed as error:
            log.warning("slack_envelope_unreadable", kind=request.type, error=repr(error.__cause__))
            return OK  # it will not read better the next time
        except BridgeError as error:
            log.warning("slack_envelope_not_stored", error=str(error))
            return None
        return received.reply or OK


def _posted(request: SocketModeRequest) -> bytes:
    """The body that Slack would have posted."""
    if request.type == "slash_commands":
        return urlencode(request.payload).encode()
    said = json.dumps(request.payload)
    return (said if request.type == "events_api" else urlencode({"payload": said})).encode()
