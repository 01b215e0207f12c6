"""Socket Mode: each payload goes to one of the open sockets and comes back until it is acknowledged."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.websockets import WebSocket, WebSocketDisconnect

from adapters.slack.fake.workspace import Workspace

CONNECTION = "slack.connection"
"""Where the server's own connection is in a scope."""


class Sockets:
    """The sockets an app holds open, and what it has acknowledged."""

    def __init__(self, slack: Workspace) -> None:
        self._slack = slack
        self.patience = 3.0
        """Seconds in which an acknowledgement must come."""
        self._open: list[WebSocket] = []
        self._acks: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._arrived = asyncio.Event()

    async def serve(self, socket: WebSocket) -> None:
        """One connection, until it closes."""
        await socket.accept()
        await socket.send_json({"type": "hello", "num_connections": len(self._open) + 1})
        self._open.append(socket)
        self._arrived.set()
        try:
            while True:
                ack = json.loads(await socket.receive_text())
                waiting = self._acks.pop(ack.get("envelope_id", ""), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(ack)
        except WebSocketDisconnect:
            pass  # the app left
        finally:
            self._open.remove(socket)

    async def connected(self, count: int) -> None:
        """Return when so many sockets are open."""
        while len(self._open) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Ask the oldest socket to leave."""
        await self._open[0].send_json({"type": "disconnect", "reason": reason})

    async def drop(self, how: Literal["close", "abort"]) -> None:
        """All sockets are gone at once: closed in good order, or cut off."""
        for socket in list(self._open):
            if how == "close":
                await socket.close()
            else:
                socket.scope[CONNECTION].transport.abort()
        while self._open:  # noqa: ASYNC110 - the server tells each of them
            await asyncio.sleep(0)

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """What is posted over HTTP otherwise: 200 if it was acknowledged, else 0."""
        attempt = int(headers.get("x-slack-retry-num", 0))
        if not self._open:
            return 0
        if body.startswith(b"{"):
            ack = await self.send("events_api", json.loads(body), attempt)
        elif "payload" in (form := dict(parse_qsl(body.decode()))):
            ack = await self.send("interactive", json.loads(form["payload"]), attempt)
        else:
            ack = await self.send("slash_commands", form, attempt)
        return 0 if ack is None else 200

    async def send(self, kind: str, payload: Mapping[str, Any], attempt: int = 0) -> dict[str, Any] | None:
        """The acknowledgement, or None where none came in time."""
        envelope_id = f"env-{self._slack.number()}"
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._acks[envelope_id] = waiting
        frame = {
            "envelope_id": envelope_id,
            "type": kind,
            "accepts_response_payload": kind != "events_api",
            "retry_attempt": attempt,
            "retry_reason": "timeout" if attempt else "",
            "payload": payload,
        }
        await self._open[attempt % len(self._open)].send_json(frame)
        try:
            return await asyncio.wait_for(waiting, self.patience)
        except TimeoutError:
            return None
