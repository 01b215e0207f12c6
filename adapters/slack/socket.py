"""Socket Mode: Slack's events over a connection of ours, stored before Slack is told so."""

import asyncio
import json
from typing import Any

import aiohttp
import structlog

from adapters.slack.adapter import Slack
from adapters.slack.settings import Settings
from bridge.adapter import Accept, Kit
from bridge.errors import BridgeError, Retryable, SendError
from bridge.model import Envelope, Received

log = structlog.get_logger()

SOCKETS = 2
"""Slack closes a socket now and then; another one is open then."""
SILENT_SECONDS = 25.0
"""Slack pings every few seconds. After so long without a frame we ping, after as long again the socket is dead."""
PAUSE_SECONDS = 2.0
_ALIVE = frozenset({aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG})
ROTATION_SECONDS = 600.0


class ConnectedSlack(Slack):
    """Slack with work of its own: sockets, and tokens that expire. Runs on one node at a time."""

    def __init__(self, settings: Settings, kit: Kit) -> None:
        super().__init__(settings, kit)
        self._kit = kit
        self.silent_seconds = SILENT_SECONDS

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
        while True:
            try:
                answer = await self.calls.request("apps.connections.open", token, {})
                # autoping off: Slack's pings are the sign of life that the watchdog looks for.
                async with self.calls.http.ws_connect(str(answer["url"]), autoping=False) as socket:
                    await self._frames(socket, accept)
                continue
            except Retryable as error:
                pause = error.after or PAUSE_SECONDS
                log.warning("slack_socket_refused", error=str(error))
            except (SendError, aiohttp.ClientError, TimeoutError, OSError) as error:
                pause = PAUSE_SECONDS
                log.warning("slack_socket_lost", error=str(error))
            await self._clock.sleep(pause)

    async def _frames(self, socket: aiohttp.ClientWebSocketResponse, accept: Accept) -> None:
        """Until Slack asks us to leave, the socket closes or it is silent for too long."""
        while (frame := await self._next(socket)).type in _ALIVE:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                said = json.loads(frame.data)
                kind = said["type"]
            except (ValueError, KeyError, TypeError):
                continue
            if kind == "disconnect":
                log.info("slack_socket_renewed", reason=said.get("reason"))
                return
            if "envelope_id" in said:
                await self._take(socket, accept, said)

    async def _next(self, socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
        """The next frame, a ping answered. Raises TimeoutError where the socket is dead although it looks open."""
        try:
            frame = await socket.receive(self.silent_seconds)
        except TimeoutError:
            await socket.ping()
            frame = await socket.receive(self.silent_seconds)
        if frame.type is aiohttp.WSMsgType.PING:
            await socket.pong(frame.data)
        return frame

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, accept: Accept, said: dict[str, Any]) -> None:
        """Store, then acknowledge. What cannot be stored is not acknowledged, so that Slack sends it again."""
        raw = json.dumps(said.get("payload")).encode()
        envelope = Envelope(
            source=self._kit.source,
            method="SOCKET",
            path=str(said["type"]),
            query="",
            headers=(("content-type", "application/json"),),
            body=raw,
            received_at=self._clock.now(),
        )
        received = await self._read(said, raw)
        try:
            if received.messages:
                await accept(received, envelope)
        except BridgeError as error:
            log.warning("slack_envelope_not_stored", error=str(error))
            return
        ack: dict[str, Any] = {"envelope_id": said["envelope_id"]}
        if said.get("accepts_response_payload") and received.reply is not None and received.reply.body:
            ack["payload"] = json.loads(received.reply.body)
        await socket.send_json(ack)

    async def _read(self, said: dict[str, Any], raw: bytes) -> Received:
        payload, kind = said.get("payload"), said["type"]
        try:
            if kind == "slash_commands" and isinstance(payload, dict):
                return self.ingress.command(payload, raw)
            if kind == "interactive" and isinstance(payload, dict):
                return self.ingress.interaction(payload, raw)
            await self.forget_revoked(raw)
            return self.ingress.payload(payload or {})
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            log.warning("slack_envelope_unreadable", kind=kind, error=repr(error))
            return Received()  # it will not read better the next time


def needs_to_run(settings: Settings) -> bool:
    """Whether a source has work of its own."""
    return settings.app_token is not None or settings.client_id is not None
