"""Who a bridge talks with: a sender that signs, and a receiver of callbacks, both with the stock library."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import os
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from standardwebhooks import Webhook

SECRET = "whsec_" + base64.b64encode(b"a secret of these tests, 32 byte").decode()
PATIENCE_SECONDS = float(os.environ.get("PATIENCE_SECONDS", "30"))
"""How long a test waits for what other tasks and processes do; more on a machine that has much else to do."""

CONFIG = """
[bridge]
listen = "127.0.0.1:{port}"
database_url = "{database_url}"
files_url = "{folder}/files"
secret_keys = ["a key of these tests alone"]
admin_token = "an-admin-token-of-these-tests"
log_level = "warning"

{agent}

[sources.orders]
adapter = "webhook"
agent = "local"
secrets = ["{secret}"]
callback = "{callback}"
allow_private_callbacks = true
"""
EMBEDDED = '[agents.local]\nkind = "embedded"\nbrain = "demo"'
ADMIN = {"authorization": "Bearer an-admin-token-of-these-tests"}


def write_config(
    folder: Path, *, database_url: str, callback: str, port: int = 8080, agent: str = EMBEDDED, name: str = "bridge"
) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        CONFIG.format(
            port=port, database_url=database_url, folder=folder, agent=agent, secret=SECRET, callback=callback
        ),
        encoding="utf-8",
    )
    return path


_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A signed webhook, ready to be sent once or many times."""

    webhook_id: str
    body: bytes
    headers: Mapping[str, str]


def request(
    text: str = "hello",
    *,
    at: datetime | None = None,
    webhook_id: str | None = None,
    secret: str = SECRET,
    **fields: Any,
) -> Request:
    """What a system that uses the stock library would send, signed at `at`."""
    return signed(json.dumps({"text": text, **fields}).encode(), at=at, webhook_id=webhook_id, secret=secret)


def signed(body: bytes, *, at: datetime | None = None, webhook_id: str | None = None, secret: str = SECRET) -> Request:
    name = webhook_id or f"msg_{next(_numbers)}"
    moment = at or datetime.now(UTC)
    try:
        signature = Webhook(secret).sign(name, moment, body.decode())
    except UnicodeDecodeError:
        signature = _signed_bytes(name, moment, body)
    headers = {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }
    return Request(webhook_id=name, body=body, headers=headers)


def _signed_bytes(name: str, moment: datetime, body: bytes) -> str:
    """The stock library signs text only; what is none is signed by its rule."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    content = f"{name}.{int(moment.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


async def post(http: httpx2.AsyncClient, sent: Request, source: str = "orders") -> httpx2.Response:
    return await http.post(f"/in/{source}", content=sent.body, headers=dict(sent.headers))


def orphan(database_url: str) -> None:
    """Give all that goes on in a PostgreSQL database to a node that is gone: from there on only a beat finds it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE conversations SET owner = 'nod_gone', epoch = epoch + 1 WHERE open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One attempt of a callback, as it came in."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)["data"]
        return data

    @property
    def signed_at(self) -> datetime:
        """The signature's time, after the stock library has made the very same signature for it."""
        at = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), UTC)
        assert self.headers["webhook-signature"] == Webhook(SECRET).sign(self.id, at, self.body.decode())
        return at

    def opened(self) -> dict[str, Any]:
        """The data, after the stock library has verified the signature and its age."""
        document: dict[str, Any] = Webhook(SECRET).verify(self.body, dict(self.headers))
        data: dict[str, Any] = document["data"]
        return data


@dataclass(frozen=True, slots=True)
class Arrived:
    """One HTTP request, as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Arrived:
    """The next request of a connection. Raises IncompleteReadError at its end."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return Arrived(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@dataclass
class Sink:
    """A receiver of callbacks: 204, or what it is told to answer; while `held`, it takes them in and says nothing."""

    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    received: list[Callback] = field(default_factory=list)
    held: bool = False
    url: str = ""
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def start(self, port: int = 0) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/answers"
        return server

    async def callbacks(self, number: int) -> list[Callback]:
        """Wait until so many have come, repetitions included; returns all of them."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= number)
        return list(self.received)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                arrived = await read_request(reader)
                if arrived.method != "POST":
                    break  # for whoever had this port before
                async with self._arrived:
                    self.received.append(Callback(headers=arrived.headers, body=arrived.body))
                    self._arrived.notify_all()
                if self.held:
                    await reader.read()
                    break
                status, extra = self.answers.popleft() if self.answers else (204, {})
                lines = [f"HTTP/1.1 {status} Status", "content-length: 0", *(f"{k}: {v}" for k, v in extra.items())]
                writer.write("\r\n".join([*lines, "", ""]).encode())
                await writer.drain()
        writer.close()
