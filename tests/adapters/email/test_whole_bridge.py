"""The whole bridge around an email source: mail in, answer out, reply on the same task, through crashes and copies."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import httpx2
import pytest

from bridge.app import Bridge, running
from bridge.store import reader, tables
from bridge.store.ledger import ledger
from bridge.world import load_settings
from tests.adapters.email.mails import SECRET, mail
from tests.adapters.email.rooms import parsed
from tests.store.journeys import rows_of

PATIENCE_SECONDS = 60
CONFIG = """
[bridge]
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"
database_url = "sqlite:///{home}/bridge.db"
files_url = "{home}/files"
admin_token = "an-admin-token-for-tests"
secret_keys = ["a-secret-key-for-these-tests-only-0123456789"]

[agents.local]
kind = "embedded"
brain = "demo"

[sources.helpdesk]
adapter = "email"
agent = "local"
address = "agent@example.com"
secrets = ["{secret}"]
authserv_id = "mx.example.com"
smtp_url = "maildir:{home}/out"
"""


def write_config(home: Path, port: int = 8080) -> Path:
    path = home / "bridge.toml"
    path.write_text(CONFIG.format(home=home, port=port, secret=SECRET))
    return path


async def post(http: httpx2.AsyncClient, raw: bytes) -> int:
    headers = {"authorization": f"Bearer {SECRET}", "content-type": "message/rfc822"}
    return (await http.post("/in/helpdesk", content=raw, headers=headers)).status_code


async def answers(home: Path, count: int) -> list[EmailMessage]:
    """The answers, as soon as there are so many."""
    folder = home / "out"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(list(folder.glob("*.eml"))) < count:  # noqa: ASYNC110 - a folder does not tell when it changes
            await asyncio.sleep(0.02)
    paths = sorted(folder.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    found = [parsed(path.read_bytes()) for path in paths]
    return [each for each in found if isinstance(each, EmailMessage)]


async def settled(bridge: Bridge) -> tuple[int, int]:
    """Accepted and answered, once nothing is in flight."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (books := await bridge.store.read(ledger)).in_flight:  # noqa: ASYNC110 - rows do not tell when they change
            await asyncio.sleep(0.02)
    return books.accepted, books.answered


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running(load_settings(write_config(tmp_path), {})) as opened:
        yield opened


@pytest.fixture
async def http(bridge: Bridge) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=bridge.asgi)
    async with httpx2.AsyncClient(transport=transport, base_url="http://bridge", trust_env=False) as client:
        yield client


async def test_a_reply_continues_the_task_of_its_thread(
    bridge: Bridge, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    assert await post(http, mail("My name is Jane.")) == 202
    (first,) = await answers(tmp_path, 1)
    to = first["Reply-To"].addresses[0].addr_spec.lower()
    assert await post(http, mail("What is my name?", To=to, Message_ID="<2@example.org>")) == 202
    second = (await answers(tmp_path, 2))[1]
    assert "Jane" in second.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # it has one
    (conversation,) = await bridge.store.read(reader.conversation_list)
    assert conversation.turns == 2
    assert re.search("answered", str(await bridge.store.read(reader.message_list)))


async def test_copies_of_a_mail_are_answered_once(bridge: Bridge, http: httpx2.AsyncClient, tmp_path: Path) -> None:
    for copy in (mail(), mail(), b"Received: from elsewhere\r\n" + mail()):
        assert await post(http, copy) == 202
    await answers(tmp_path, 1)
    assert await settled(bridge) == (1, 1)
    assert len(list((tmp_path / "out").glob("*.eml"))) == 1


async def test_a_forged_mail_is_kept_and_not_answered(bridge: Bridge, http: httpx2.AsyncClient, tmp_path: Path) -> None:
    assert await post(http, mail(Authentication_Results=None)) == 202
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await bridge.store.read(reader.message_list)):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.02)
    assert "parked" in str(found)
    assert not (tmp_path / "out").exists()


async def test_a_mail_that_was_held_back_is_answered_once_a_person_lets_it_in(
    bridge: Bridge, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    assert await post(http, mail("My name is Jane.", Authentication_Results=None)) == 202
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await bridge.store.read(reader.message_list)):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.02)
    (held_back,) = found
    admin = {"authorization": "Bearer an-admin-token-for-tests"}
    url = f"/v1/messages/{held_back.message_id}/replay"
    assert (await http.post(url, json={"how": "invoke"}, headers=admin)).is_success
    (answer,) = await answers(tmp_path, 1)
    assert answer["To"].addresses[0].addr_spec == "jane@example.org"


def serve(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bridge", "serve", "--config", str(config)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def until_ready(http: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass  # it is not there yet
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_a_process_killed_after_its_acknowledgement_answers_once_when_it_is_back(
    tmp_path: Path, delay: float
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    config = write_config(tmp_path, port)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        process = serve(config)
        try:
            await until_ready(http)
            assert await post(http, mail("sleep 1")) == 202
            await asyncio.sleep(delay)  # wherever it is then, it dies there
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process = serve(config)
            await until_ready(http)
            (answer,) = await answers(tmp_path, 1)
            assert str(answer["In-Reply-To"]) == "<first@example.org>"
        finally:
            process.terminate()
            process.wait()
    assert len(list((tmp_path / "out").glob("*.eml"))) == 1


async def test_an_erased_conversation_takes_its_reply_tokens_along(
    bridge: Bridge, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    await post(http, mail("My name is Jane."))
    (first,) = await answers(tmp_path, 1)
    await settled(bridge)
    (erased,) = await bridge.store.read(reader.conversation_list)
    token = {"authorization": "Bearer an-admin-token-for-tests"}
    gone = await http.delete(f"/v1/conversations/{erased.conversation_id}", headers=token)
    assert gone.status_code == 200
    left = await rows_of(bridge.store, tables.vault)
    assert [row.name for row in left if row.conversation_id] == []
    await post(http, mail("Which?", To=str(first["Reply-To"]), References=str(first["References"]), Message_ID="<2@e>"))
    await answers(tmp_path, 2)
    found = await bridge.store.read(reader.conversation_list)
    assert sorted(one.turns for one in found) == [1, 1]


@pytest.mark.parametrize(
    ("ingress", "size", "status"),
    [
        ("mailgun", 2_000, 406),
        ("postmark", 2_000, 403),
        ("raw", 2_000, 413),
        ("mailgun", 10, 400),
        ("postmark", 10, 401),
    ],
)
async def test_a_provider_is_told_in_its_own_way_that_a_mail_is_never_taken(
    tmp_path: Path, ingress: str, size: int, status: int
) -> None:
    path = write_config(tmp_path)
    path.write_text(f'{path.read_text()}ingress = "{ingress}"\nmax_body = 1000\n')
    async with running(load_settings(path, {})) as opened:
        transport = httpx2.ASGITransport(app=opened.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://bridge", trust_env=False) as client:
            assert (await client.post("/in/helpdesk", content=b"x" * size)).status_code == status
