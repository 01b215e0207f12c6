"""An alert from a webhook is answered by mail, and whoever replies to that mail goes on with the same task."""

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from bridge.store import reader
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import PATIENCE_SECONDS, SECRET, Request, Sink, post, request, signed, write_config

MORE = """reply_via = {{ source = "helpdesk", address = "oncall@example.org" }}

[sources.helpdesk]
adapter = "email"
agent = "local"
address = "agent@example.com"
name = "Ask Acme"
secrets = ["{secret}"]
require_auth = "none"
smtp_url = "maildir:{folder}/sent"
"""


@pytest.fixture
async def opened(database_url: str, tmp_path: Path, sink: Sink) -> AsyncIterator[Opened]:
    path = write_config(tmp_path, database_url=database_url, callback=sink.url)
    path.write_text(path.read_text() + MORE.format(secret=SECRET, folder=tmp_path))
    async with bridge_from(path) as one:
        yield one


async def mails(folder: Path, number: int) -> list[EmailMessage]:
    """What was sent, oldest first, once it is so much."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := _mails(folder)) < number:  # noqa: ASYNC110 - a file does not tell when it is there
            await asyncio.sleep(0.01)
    return found


def _mails(folder: Path) -> list[EmailMessage]:
    paths = sorted((folder / "sent").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    return [message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=default) for path in paths]


def reply_to(mail: EmailMessage, text: str, *, sender: str) -> Request:
    reply = EmailMessage()
    reply["From"], reply["To"], reply["Subject"] = sender, "agent@example.com", str(mail["Subject"])
    reply["Message-ID"], reply["In-Reply-To"] = "<reply-1@example.org>", str(mail["Message-ID"])
    reply.set_content(text)
    made = signed(reply.as_bytes())
    return Request(
        webhook_id=made.webhook_id, body=made.body, headers={**made.headers, "content-type": "message/rfc822"}
    )


@pytest.mark.parametrize("sender", ["oncall@example.org", "grace@example.org"])
async def test_a_reply_to_the_mail_goes_on_with_the_task(opened: Opened, tmp_path: Path, sender: str) -> None:
    await post(opened.http, request("My name is Ada.", conversation="alert-7"))
    (first,) = await mails(tmp_path, 1)
    assert (str(first["To"]), str(first["Subject"])) == ("oncall@example.org", "Ask Acme")
    await opened.settled()

    response = await post(opened.http, reply_to(first, "What is my name?", sender=sender), source="helpdesk")
    assert response.status_code == 202, response.text
    _, second = await mails(tmp_path, 2)
    assert str(second["To"]) == sender
    body = second.get_body(("plain",))
    assert body is not None
    assert "Ada" in body.get_content()
    await opened.settled()
    (conversation,) = await opened.bridge.store.read(reader.conversation_list)
    assert (conversation.source, conversation.turns) == ("orders", 2)
