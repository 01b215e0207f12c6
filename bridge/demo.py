"""`agent-bridge demo`: two signed webhooks, one conversation, one task id, two signed callbacks; needs no account."""

import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from bridge import console
from bridge.adapters_by_name import adapter_module
from bridge.egress import open_client
from bridge.errors import BridgeError, Unverified
from bridge.model import Envelope, new_id
from bridge.settings import Settings
from bridge.signing import verify
from bridge.store import reader
from bridge.store.engine import open_engine
from bridge.store.reader import MessageView
from bridge.trial import address, signed_request
from bridge.world import load_settings

PATIENCE_SECONDS = 30
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - for this demonstration, on loopback, and published
TURNS = (
    "Hello, my name is Ada and I look after the Berlin office.",
    "What is my name, and what did I say before?",
)
CONFIG = """
[bridge]
listen = "127.0.0.1:{port}"
database_url = "sqlite:///{folder}/bridge.db"
files_url = "{folder}/files"
log_level = "warning"

[agents.demo]
kind = "embedded"
brain = "demo"

[sources.demo]
adapter = "webhook"
agent = "demo"
scheme = "standard"
secrets = ["{secret}"]
callback = "http://127.0.0.1:{sink}/answers"
allow_private_callbacks = true
"""


async def run() -> bool:
    """Show the journey; False, with a sentence, if anything on the way is not as promised."""
    with tempfile.TemporaryDirectory(prefix="agent-bridge-demo-") as folder:
        async with _sink() as (sink_port, callbacks):
            config = Path(folder) / "bridge.toml"
            config.write_text(CONFIG.format(port=_free_port(), folder=folder, sink=sink_port, secret=SECRET), "utf-8")
            settings = load_settings(config, {})
            async with _serving(config, settings):
                try:
                    return await _converse(settings, callbacks)
                except (BridgeError, TimeoutError, httpx2.HTTPError) as error:
                    console.print_error(f"The demo failed: {type(error).__name__}: {error}")
                    return False


async def _converse(settings: Settings, callbacks: "asyncio.Queue[Envelope]") -> bool:
    tasks, message_ids = [], []
    for number, text in enumerate(TURNS, 1):
        say(f"\nTurn {number}")
        accepted = await _send(settings, text)
        message_ids.append(accepted["message_id"])
        callback = await asyncio.wait_for(callbacks.get(), PATIENCE_SECONDS)
        answer = _opened(settings, callback)
        say(f"  the agent answered    {answer['result']}")
        say(f"  signed callback       {callback.header('webhook-id')}, verified")
        say(f"task id {answer['task_id']}")
        tasks.append(answer["task_id"])
    say("\nJourney")
    _show_journey(settings, message_ids)
    if len(set(tasks)) != 1 or "Ada" not in answer["result"]:
        console.print_error("The second turn did not continue the first.")
        return False
    say("\nThe reply went to the same task, and the agent remembered the first message.")
    return True


async def _send(settings: Settings, text: str) -> dict[str, Any]:
    body = json.dumps({"text": text, "conversation": "demo-conversation", "user": {"id": "ada"}}).encode()
    envelope = signed_request(settings, "demo", body)
    say(f"  you said              {text}")
    async with open_client() as http:
        response = await http.post(address(settings, envelope), content=body, headers=list(envelope.headers))
    response.raise_for_status()
    accepted: dict[str, Any] = response.json()
    say(f"  signed webhook        {response.status_code}, stored as {accepted['message_id']}")
    return accepted


def _opened(settings: Settings, callback: Envelope) -> dict[str, Any]:
    """The callback's data, after its signature was checked as any receiver should."""
    webhook = adapter_module("webhook")
    plan = webhook.plan_from_settings(settings.sources["demo"].own, source="demo", public_url="")
    try:
        verify(plan.scheme, plan.secrets, callback, datetime.now(UTC))
    except Unverified as error:
        raise BridgeError(f"the callback's signature is wrong: {error}") from error
    data: dict[str, Any] = json.loads(callback.body)["data"]
    return data


def _show_journey(settings: Settings, message_ids: list[str]) -> None:
    engine = open_engine(settings.bridge.database_url)
    with engine.connect() as connection:
        views = [reader.message(connection, message_id) for message_id in message_ids]
    engine.dispose()
    console.print_table([line for view in views if view for line in _journey(view)], "WHAT", "ID", "STATE", "AFTER")


def _journey(view: MessageView) -> list[tuple[str, str | None, str | None, str]]:
    def after(at: datetime | None) -> str:
        return "-" if at is None else f"{(at - view.received_at).total_seconds() * 1000:.0f} ms"

    lines: list[tuple[str, str | None, str | None, str]] = [
        ("message", view.message_id, "stored", "0 ms"),
        ("  turn", view.turn_id, view.state, after(view.started_at)),
        ("  task", view.task_id, view.status, after(view.tasked_at)),
    ]
    return lines + [("  delivery", d.delivery_id, d.state, after(d.finished_at)) for d in view.deliveries]


@asynccontextmanager
async def _serving(config: Path, settings: Settings) -> AsyncIterator[None]:
    """The real command in a process of its own."""
    command = (sys.executable, "-m", "bridge", "serve", "--config", str(config))
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await _until_ready(settings, process)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_ready(settings: Settings, process: asyncio.subprocess.Process) -> None:
    host, port = settings.bridge.listen
    deadline = time.monotonic() + PATIENCE_SECONDS
    async with open_client() as http:
        while time.monotonic() < deadline and process.returncode is None:
            try:
                if (await http.get(f"http://{host}:{port}/readyz")).is_success:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.1)
    raise BridgeError("the bridge did not start; see its messages above")


@asynccontextmanager
async def _sink() -> AsyncIterator[tuple[int, "asyncio.Queue[Envelope]"]]:
    """Where the answers are posted: a receiver of callbacks in as few lines as it takes."""
    received: asyncio.Queue[Envelope] = asyncio.Queue()

    async def receive(stream: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        head = (await stream.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = tuple((k.strip().lower(), v.strip()) for k, _, v in (line.partition(":") for line in head[1:] if line))
        length = int(dict(pairs).get("content-length", "0"))
        body = await stream.readexactly(length)
        now = datetime.now(UTC)
        received.put_nowait(
            Envelope(
                source=new_id("src"),
                method="POST",
                path="/answers",
                query="",
                headers=pairs,
                body=body,
                received_at=now,
            )
        )
        answer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await answer.drain()
        answer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(line: str) -> None:
    """One line for the reader."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
