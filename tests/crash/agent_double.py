"""An agent service apart from the bridge's process: it counts what it is asked, and keeps keys or forgets them."""

import asyncio
import json
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.end_to_end.parties import read_request


@dataclass
class AgentDouble:
    """REST v1 as far as a bridge needs it. While `held`, work is begun and the call is left without an answer."""

    honours_keys: bool = True
    held: bool = False
    work_seconds: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    """Invocations, by idempotency key."""
    begun: Counter[str] = field(default_factory=Counter)
    """Turns worked on, by idempotency key."""
    prompts: list[str] = field(default_factory=list)
    """What was worked on, in order."""
    url: str = ""
    _tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    _by_key: dict[str, str] = field(default_factory=dict)

    async def start(self, port: int = 0) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await read_request(reader)
            if request.method == "GET":
                self._show(writer, request.path.rpartition("/")[2])
            else:
                await self._invoke(reader, writer, request.headers, json.loads(request.body))
            await writer.drain()
        writer.close()

    def _show(self, writer: asyncio.StreamWriter, task_id: str) -> None:
        task = self._tasks.get(task_id)
        content = json.dumps(task or {"detail": "no such task"}).encode()
        writer.write(_head("200 OK" if task else "404 Not Found", "application/json") + content)

    async def _invoke(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[str, str], body: dict[str, Any]
    ) -> None:
        key = headers["idempotency-key"]
        self.asked[key] += 1
        task_id = self._by_key.get(key) if self.honours_keys else None
        if task_id is None:
            task_id = self._begin(key, body)
        if self.held:
            await reader.read()
            return
        writer.write(_head("200 OK", "text/event-stream"))
        writer.write(_line("task_created", {**self._tasks[task_id], "status": "executing", "result": None}))
        await writer.drain()
        await asyncio.sleep(self.work_seconds)
        writer.write(_line("task_finished", self._tasks[task_id]))

    def _begin(self, key: str, body: dict[str, Any]) -> str:
        self.begun[key] += 1
        self.prompts.append(body["input"]["text"])
        task_id = body.get("id") or str(uuid.uuid4())
        self._by_key[key] = task_id
        self._tasks[task_id] = {
            "id": task_id,
            "status": "completed",
            "input": body["input"],
            "payload_extension": body["payload_extension"],
            "result": f"Done: {body['input']['text']}",
        }
        return task_id


def _head(status: str, media_type: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nconnection: close\r\n\r\n".encode()


def _line(kind: str, task: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"type": kind, "task_id": task["id"], "data": task}).encode() + b"\n\n"
