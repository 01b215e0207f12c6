"""The operator's commands: through the running server, or alone under the store's lock."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bridge.clock import SystemClock
from bridge.model import DeliveryState, TurnState
from bridge.store.database import Store
from tests.end_to_end.parties import PATIENCE_SECONDS, write_config
from tests.store.journeys import dead_message, deliver, end, say, take


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> Path:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return write_config(tmp_path, database_url=database_url, callback="http://127.0.0.1:9/answers", port=port)


def command(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `agent-bridge` as a person would."""
    noun, *rest = words
    arguments = [sys.executable, "-m", "bridge", noun, *rest, "--config", str(config)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def output(config: Path, *words: str, code: int = 0) -> Any:
    done = command(config, *words, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@contextmanager
def serving(config: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "bridge", "serve", "--config", str(config)])
    address = config.read_text().partition('listen = "')[2].partition('"')[0]
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"http://{address}/readyz", trust_env=False).is_success:
                    break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def prepare(database_url: str) -> tuple[list[str], str]:
    """Two dead messages, the second in two parts of which one arrived; and the delivery that did not."""

    async def fill() -> tuple[list[str], str]:
        store = Store.open(database_url, SystemClock(), node="nod_test")
        first = await dead_message(store, "m1")
        stored = await say(store, "m2", "elsewhere", source="orders")
        turn = await take(store, stored.wake[0])
        await end(store, turn, TurnState.ANSWERED, parts=2)
        await deliver(store, turn.lease, DeliveryState.SENT)
        dead = await deliver(store, turn.lease, DeliveryState.DEAD, error="410 Gone")
        await store.close()
        return [first, stored.messages[0].message_id], dead

    return asyncio.run(fill())


def test_without_a_server_the_command_does_it_itself(config: Path, database_url: str) -> None:
    (first, second), dead = prepare(database_url)
    assert output(config, "ledger")["dead"] == 2
    would = command(config, "messages", "replay", "--state", "dead", "--how", "done", "--dry-run")
    assert (would.returncode, would.stdout.count("Mark turn")) == (0, 2), would.stderr
    assert output(config, "ledger")["dead"] == 2
    (retried,) = output(config, "deliveries", "retry", "--state", "dead")
    assert retried["delivery_id"] == dead
    assert output(config, "ledger")["in_flight"] == 1
    (refused,) = output(config, "messages", "replay", second, "--how", "reattach", code=1)
    assert "is answered already" in refused["refused"]
    (done,) = output(config, "messages", "replay", "--state", "dead", "--since", "1h", "--how", "done")
    assert done["message_id"] == first
    assert output(config, "ledger")["answered"] == 1


def test_a_running_server_is_asked_to_do_it(config: Path, database_url: str) -> None:
    (first, _), _ = prepare(database_url)
    with serving(config):
        (done,) = output(config, "messages", "replay", first, "--how", "done")
        assert "answered by an operator" in done["does"]
        refused = command(config, "messages", "replay", first, "--how", "done")
        assert (refused.returncode, "answered already" in refused.stderr) == (1, True), refused.stderr
        unknown = command(config, "deliveries", "retry", "dlv_unknown")
        assert (unknown.returncode, "There is no delivery" in unknown.stderr) == (1, True)
        other = config.with_name("other.toml")
        other.write_text(config.read_text().replace("an-admin-token-of", "another-token-of"))
        stranger = command(other, "messages", "replay", first, "--how", "done")
        assert (stranger.returncode, "another admin_token" in stranger.stderr) == (1, True)


def test_the_ledger_names_what_is_stuck(config: Path, database_url: str) -> None:
    async def fill() -> str:
        store = Store.open(database_url, SystemClock(), node="nod_test")
        stored = await say(store, "m1")
        await say(store, "m2")
        head = await take(store, stored.wake[0])
        await store.close()
        return head.id

    head = asyncio.run(fill())
    assert output(config, "ledger")["stuck"] == []
    books = output(config, "ledger", "--stuck", "1ms", code=1)
    assert [each["id"] for each in books["stuck"]] == [head]  # what waits behind it is not to blame
    told = command(config, "ledger", "--stuck", "1ms")
    assert (told.returncode, head in told.stderr) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("messages", "replay", "--how", "done"),
        ("messages", "replay", "msg_1", "--state", "dead", "--how", "done"),
        ("messages", "replay", "msg_1", "--how", "again"),
        ("messages", "replay", "msg_1"),
        ("messages", "list", "--state", "broken"),
        ("messages", "list", "--since", "yesterday"),
        ("deliveries", "list", "--state", "broken"),
        ("deliveries", "retry"),
    ],
)
def test_wrong_use_is_told_apart_from_failure(tmp_path: Path, words: tuple[str, ...]) -> None:
    config = write_config(tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback="http://127.0.0.1:9/")
    assert command(config, *words).returncode == 2
