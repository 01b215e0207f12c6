"""What adapters add to the command line, run as a person or a mail server runs it."""

import asyncio
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.end_to_end.parties import SECRET, Sink, write_config
from tests.end_to_end.serving import ROOT, free_port, serving

MORE = """
[sources.team]
adapter = "slack"
agent = "local"
signing_secret = "a-signing-secret"
bot_token = "xoxb-of-these-tests"
api_url = "http://127.0.0.1:9/api/"

[sources.helpdesk]
adapter = "email"
agent = "local"
address = "agent@example.com"
secrets = ["{secret}"]
require_auth = "none"
smtp_url = "maildir:{folder}/sent"
"""
MAIL = b"\r\n".join(
    (
        b"From: jane@example.org",
        b"To: agent@example.com",
        b"Message-ID: <1@example.org>",
        b"Subject: Hi",
        b"",
        b"Hello agent",
        b"",
    )
)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(tmp_path: Path, sink: Sink, port: int) -> Path:
    path = write_config(tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback=sink.url, port=port)
    path.write_text(path.read_text() + MORE.format(secret=SECRET, folder=tmp_path))
    return path


async def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(stdin)
    return process.returncode or 0, output.decode(), errors.decode()


async def test_the_manifest_fits_the_configuration(config: Path, port: int) -> None:
    code, output, advice = await run("slack", "manifest", "--config", str(config))
    made = json.loads(output)
    assert code == 0
    assert made["settings"]["event_subscriptions"]["request_url"] == f"http://127.0.0.1:{port}/in/team"
    assert "a-signing-secret" not in output
    assert "Set [bridge] public_url to an https address" in advice


async def test_the_doctor_exits_1_where_something_does_not_work(config: Path) -> None:
    code, output, _ = await run("slack", "doctor", "team", "--json", "--config", str(config))
    assert code == 1
    assert "cannot be reached" in output
    assert "xoxb-of-these-tests" not in output


async def test_an_unknown_source_is_wrong_use(config: Path) -> None:
    code, _, errors = await run("slack", "manifest", "orders", "--config", str(config))
    assert code == 2
    assert "team" in errors


async def test_a_relayed_mail_is_answered(config: Path, port: int, tmp_path: Path) -> None:
    async with serving(config, port) as served:
        code, output, errors = await run(
            *("relay", "helpdesk", "--from", "jane@example.org", "--config", str(config), "agent@example.com"),
            stdin=MAIL,
        )
        assert (code, output) == (0, "2.0.0 stored\n"), errors
        books = await served.books(lambda books: books["accepted"] == 1 and not books["in_flight"])
    assert books["answered"] == 1
    (sent,) = (tmp_path / "sent").glob("*.eml")
    assert "Hello agent" in sent.read_text()


def shipped_commands() -> dict[str, list[str]]:
    """The relay's command lines in the files for mail servers, as their mail servers would expand them."""
    found = {}
    for name in ("postfix.cf", "exim.conf", "dot-qmail"):
        text = (ROOT / "deploy" / "mail" / name).read_text().replace("\n#       ", " ")
        (line,) = re.findall(r"bin/agent-bridge (relay .*)", text)
        for variable in ("${sender}", "$sender_address", "$SENDER"):
            line = line.replace(variable, "jane@example.org")
        for variable in ("${recipient}", "$local_part$local_part_suffix@$domain", "$RECIPIENT"):
            line = line.replace(variable, "agent@example.com")
        found[name] = shlex.split(line)
    return found


@pytest.mark.parametrize("name", shipped_commands())
async def test_the_command_lines_we_ship_for_mail_servers_work(
    config: Path, port: int, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "relay-secret"
    secret.write_text(f"{SECRET}\n")
    arguments = [part.replace("/etc/agent-bridge/relay-secret", str(secret)) for part in shipped_commands()[name]]
    arguments[2:2] = ["--bridge", f"http://127.0.0.1:{port}"]
    async with serving(config, port) as served:
        code, output, errors = await run(*arguments, stdin=MAIL)
        assert (code, output) == (0, "2.0.0 stored\n"), errors
        books = await served.books(lambda books: books["accepted"] == 1 and not books["in_flight"])
    assert books["answered"] == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["helpdesk"], 75),
        (["helpdesk", "--mail-server", "qmail"], 111),
        (["helpdesk", "--mail-server=qmail"], 111),
        (["helpdesk", "--mail-server", "sendmail"], 75),
        (["helpdesk", "--secret-file", "not-there"], 75),
        (["helpdesk", "--secret-file", "not-there", "--mail-server=qmail"], 111),
        (["unknown"], 75),
        (["orders"], 75),
        ([], 75),
        (["helpdesk", "--nonsense"], 75),
    ],
)
async def test_every_failure_of_the_relay_is_temporary(config: Path, arguments: list[str], code: int) -> None:
    found, _, _ = await run("relay", *arguments, "--config", str(config), stdin=MAIL)
    assert found == code


@pytest.mark.parametrize("text", [None, "[bridge", '[sources.helpdesk]\nadapter = "email"\nsecrets = "${MISSING}"'])
async def test_a_configuration_that_cannot_be_used_is_temporary_too(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "broken.toml"
    if text is not None:
        path.write_text(text)
    code, _, errors = await run("relay", "helpdesk", "--config", str(path), stdin=MAIL)
    assert code == 75
    assert "Traceback" not in errors
