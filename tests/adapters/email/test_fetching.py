"""What is fetched over a real connection, through the guard that the bridge has: mails and files are large."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.email import build
from adapters.email.adapter import Email
from adapters.email.ingresses.resend import SCHEME
from bridge.addresses import Guard
from bridge.egress import open_client
from bridge.model import Envelope, FileRef
from bridge.signing import secret_from_text, sign
from tests.adapters.email.mails import SECRET, mail, posted
from tests.adapters.email.rooms import outbound, parsed, settings
from tests.adapters.kits import open_kit
from tests.signed_requests import NOW
from tests.words.wire import Peer, serving

LARGE = 200_000


@asynccontextmanager
async def guarded(**changes: Any) -> AsyncIterator[Email]:
    async with (
        open_kit("helpdesk", max_body=2 * LARGE) as kit,
        open_client() as http,
        open_client(guard=Guard(allow_private=True)) as client,
    ):
        adapter = build(settings(**changes), replace(kit, http=http, guarded_http=client))
        assert isinstance(adapter, Email)
        yield adapter


async def _said(peer: Peer, content: bytes) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(content) + content)
    peer.writer.close()


def notice() -> Envelope:
    body = json.dumps({"type": "email.received", "data": {"email_id": "re_1", "to": ["agent@example.com"]}}).encode()
    return sign(SCHEME, [secret_from_text(SCHEME, SECRET)], replace(posted(body), headers=()), NOW)


async def read_from_resend(raw: bytes) -> tuple[str, str | None]:
    """The text of the mail that Resend holds, and why it was parked."""

    async def speak(peer: Peer) -> None:
        asked = await peer.request()
        found = json.dumps({"raw": {"download_url": f"{peer.wire.url}raw"}}).encode()
        await _said(peer, raw if b" /raw " in asked else found)

    async with (
        serving(speak) as wire,
        guarded(ingress="resend", api_url=wire.url.rstrip("/"), api_key="re_key") as adapter,
    ):
        envelope = notice()
        assert (await adapter.receive(envelope)).delivery_key
        (message,) = await adapter.read(envelope)
    return message.text, message.parked


async def test_a_large_mail_is_fetched_from_resend() -> None:
    text, parked = await read_from_resend(mail(f"Hello\r\n{'x ' * (LARGE // 2)}"))
    assert parked is None
    assert text.startswith("Hello")


async def test_a_mail_that_is_larger_than_the_source_takes_is_kept_for_a_person_at_once() -> None:
    text, parked = await read_from_resend(mail("x " * (2 * LARGE)))
    assert parked == "malformed"
    assert "more than is taken" in text


async def test_a_large_file_is_attached_to_the_answer(tmp_path: Path) -> None:
    async def speak(peer: Peer) -> None:
        await peer.request()
        await _said(peer, b"y" * LARGE)

    async with serving(speak) as wire, guarded(smtp_url=f"maildir:{tmp_path}") as adapter:
        (message,) = await adapter.read(posted(mail()))
        await adapter.send(outbound(message, files=(FileRef(url=f"{wire.url}a.bin", name="a.bin"),)))
    found = parsed((tmp_path / "dlv_1.eml").read_bytes())
    (part,) = [part for part in found.walk() if part.get_content_disposition() == "attachment"]
    assert part.get_payload(decode=True) == b"y" * LARGE
