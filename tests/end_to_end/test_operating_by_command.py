"""The operator's commands: through the running server, or alone under the store's lock."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.clock import SystemClock
from bridge.model import DeliveryState, TurnState
from bridge.store.database import Store
from tests.end_to_end.parties import PATIENCE_SECONDS, write_config
from tests.end_to_end.serving import free_port, serving
from tests.store.journeys import dead_message, deliver, end, say, take


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> Path:
    return write_config(tmp_path, database_url=database_url, callback="http://127.0.0.1:9/answers", port=free_port())


def command(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `agent-bridge` as a person would."""
    noun, *rest = words
    arguments = [sys.executable, "-m", "bridge", noun, *rest, "--config", str(config)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def output(config: Path, *words: str, code: int = 0) -> Any:
    done = command(config, *words, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


async def fill(database_url: str) -> tuple[list[str], str]:
    """Two dead messages, the second in two parts of which one arrived; and the delivery that did not."""
    store = Store.open(database_url, SystemClock(), node="nod_test")
    first = await dead_message(store, "m1")
    stored = await say(store, "m2", "elsewhere", source="orders")
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.ANSWERED, parts=2)
    await deliver(store, turn.lease, DeliveryState.SENT)
    dead = await deliver(store, turn.lease, DeliveryState.DEAD, error="410 Gone")
    await store.close()
    return [first, stored.messages[0].message_id], dead


def test_a_message_whose_answer_died_is_shown_as_what_the_ledger_counts(config: Path, database_url: str) -> None:
    (first, second), _ = asyncio.run(fill(database_url))
    found = output(config, "messages", "list", "--state", "dead")
    assert [(one["message_id"], one["state"], one["counted"]) for one in found] == [
        (second, "answered", "dead"),
        (first, "dead", "dead"),
    ]
    told = command(config, "messages", "list").stdout.splitlines()[1:]
    assert [line.split()[2] for line in told] == ["dead:answer", "dead"]
    output(config, "deliveries", "retry", "--state", "dead")
    assert "in_flight:answer" in command(config, "messages", "list").stdout
    assert output(config, "messages", "show", second)["counted"] == "in_flight"


def test_without_a_server_the_command_does_it_itself(config: Path, database_url: str) -> None:
    (first, second), dead = asyncio.run(fill(database_url))
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


async def test_a_running_server_is_asked_to_do_it(tmp_path: Path, database_url: str) -> None:
    (first, _), _ = await fill(database_url)
    port = free_port()
    config = write_config(tmp_path, database_url=database_url, callback="http://127.0.0.1:9/answers", port=port)
    async with serving(config, port):
        (done,) = await asyncio.to_thread(output, config, "messages", "replay", first, "--how", "done")
        assert "answered by an operator" in done["does"]
        refused = await asyncio.to_thread(command, config, "messages", "replay", first, "--how", "done")
        assert (refused.returncode, "answered already" in refused.stderr) == (1, True), refused.stderr
        unknown = await asyncio.to_thread(command, config, "deliveries", "retry", "dlv_unknown")
        assert (unknown.returncode, "There is no delivery" in unknown.stderr) == (1, True)
        other = config.with_name("other.toml")
        other.write_text(config.read_text().replace("an-admin-token-of", "another-token-of"))
        stranger = await asyncio.to_thread(command, other, "messages", "replay", first, "--how", "done")
        assert (stranger.returncode, "another admin_token" in stranger.stderr) == (1, True)


def test_the_ledger_names_what_is_stuck(config: Path, database_url: str) -> None:
    async def begin() -> str:
        store = Store.open(database_url, SystemClock(), node="nod_test")
        stored = await say(store, "m1")
        await say(store, "m2")
        head = await take(store, stored.wake[0])
        await store.close()
        return head.id

    head = asyncio.run(begin())
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


POSTGRES = "secret_keys = ['one-secret-key-of-many']\ndatabase_url = "
UNUSABLE = {
    "not a database": ("database_url = 'sqlite:///bridge.toml'", 1, "file is not a database"),
    "a folder": ("database_url = 'sqlite:///.'", 1, "unable to open database file"),
    "nobody there": (f"{POSTGRES}'postgresql://u:hunter2@127.0.0.1:1/d'", 1, "Connection refused"),
    "no port": (f"{POSTGRES}'postgresql://u:pass@word:hunter2@127.0.0.1/d'", 2, "bridge.database_url: cannot be read"),
}


@pytest.mark.parametrize("words", [("serve",), ("migrate",), ("ledger",), ("messages", "replay", "m", "--how", "done")])
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_database_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    option, code, said = UNUSABLE[name]
    config = tmp_path / "bridge.toml"
    source = "[sources.a]\nadapter = 'webhook'\nsecrets = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw']\n"
    listen = f"listen = '127.0.0.1:{free_port()}'"
    config.write_text(f"[bridge]\n{listen}\n{option}\n[agents.local]\nkind = 'embedded'\n{source}", "utf-8")
    done = command(config, *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--api-key", ""), "--api-key[1]: should have at least 1 character"),
        (("--listen", "127.0.0.1:99999"), "--listen: should be a host and a port"),
        (("--database", "mysql://h/d"), "--database: should be a SQLite file or a PostgreSQL database"),
        (("--function", "answer"), "--function: should match pattern"),
        (("--agent-id", "a/b"), "--agent-id: should match pattern"),
    ],
)
def test_the_agent_alone_tells_what_is_wrong_with_its_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["agent-bridge", "agent", "--api-key", "key", *words])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    assert said in capsys.readouterr().err
