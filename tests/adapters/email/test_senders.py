"""Providers get the whole mail, threading headers included, and their failures are told apart."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from adapters.email.hosts import must_encrypt
from bridge.errors import Permanent, Retryable
from tests.adapters.email.mails import mail, posted
from tests.adapters.email.rooms import open_email, outbound, read_one
from tests.adapters.email.sinks import open_sink
from tests.adapters.email.test_mailbox import GOOGLE, TokenServer

Requests = list[httpx2.Request]
ANSWERS: dict[str, dict[str, str]] = {
    "mailgun": {"id": "<wire@mg.example.com>"},
    "ses": {"MessageId": "0100-abc"},
    "postmark": {"MessageID": "pm-1"},
    "sendgrid": {},
    "resend": {"id": "re_1"},
}


def provider(seen: Requests, answer: dict[str, str]) -> Callable[[httpx2.Request], httpx2.Response]:
    def wire(request: httpx2.Request) -> httpx2.Response:
        request.read()
        seen.append(request)
        return httpx2.Response(202, json=answer, headers={"x-message-id": "sg-1"})

    return wire


async def sent_by(sender: str, **changes: Any) -> tuple[httpx2.Request, str, int]:
    """The request a provider got, the id we returned, and how many names the vault learned."""
    seen: Requests = []
    settings: dict[str, Any] = {"sender": sender, "api_key": "key", "access_key_id": "AKID", "region": "eu-west-1"}
    async with open_email(wire=provider(seen, ANSWERS[sender]), **settings) as (adapter, kit):
        (message,) = await adapter.read(posted(mail()))
        before = len(await kit.vault.names())
        file = await kit.files.store("a.txt", "text/plain", b"hello", origin="agent")
        sent = await adapter.send(outbound(message, files=(file,), **changes))
        learned = len(await kit.vault.names()) - before
    (request,) = seen
    return request, sent, learned


@pytest.mark.parametrize("sender", ["mailgun", "ses"])
async def test_where_raw_mail_is_taken_it_is_sent_raw(sender: str) -> None:
    request, sent, _ = await sent_by(sender)
    if sender == "ses":
        raw = base64.b64decode(json.loads(request.content)["Content"]["Raw"]["Data"])
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    else:
        raw = request.content.partition(b"message/rfc822\r\n\r\n")[2]
        assert str(request.url) == "https://api.mailgun.net/v3/example.com/messages.mime"
    found = message_from_bytes(raw)
    assert "".join((found["Message-ID"] or "").split()) == sent


@pytest.mark.parametrize(
    ("sender", "headers"),
    [
        ("postmark", lambda body: {row["Name"]: row["Value"] for row in body["Headers"]}),
        ("sendgrid", lambda body: body["headers"]),
        ("resend", lambda body: body["headers"]),
    ],
)
async def test_where_it_is_not_the_thread_travels_in_headers(
    sender: str, headers: Callable[[Any], dict[str, str]]
) -> None:
    request, sent, _ = await sent_by(sender)
    body = json.loads(request.content)
    found = headers(body)
    assert found["Message-ID"] == sent
    assert found["In-Reply-To"] == "<first@example.org>"
    assert found["Auto-Submitted"] == "auto-replied"
    assert "reply" in str(body).lower()
    assert "The answer" in str(body)
    assert base64.b64encode(b"hello").decode() in str(body)


@pytest.mark.parametrize("sender", ["postmark", "sendgrid", "resend"])
@pytest.mark.parametrize(("name", "media_type"), [("a.csv", "text/csv"), ("a.eml", "message/rfc822"), ("a.json", None)])
async def test_files_reach_a_provider_byte_for_byte(sender: str, name: str, media_type: str | None) -> None:
    content = "From: Gr\u00f6\u00dfe\r\n\r\n\u2713".encode()
    seen: Requests = []
    async with open_email(wire=provider(seen, ANSWERS[sender]), sender=sender, api_key="key") as (adapter, kit):
        (message,) = await adapter.read(posted(mail()))
        file = await kit.files.store(name, media_type, content, origin="agent")
        await adapter.send(outbound(message, files=(replace(file, media_type=media_type),)))
    assert base64.b64encode(content).decode() in seen[0].content.decode()


@pytest.mark.parametrize(
    ("sender", "learned"), [("ses", 2), ("mailgun", 2), ("postmark", 2), ("sendgrid", 2), ("resend", 2)]
)
async def test_ids_that_providers_assign_are_remembered(sender: str, learned: int) -> None:
    """Beside the token: what an event of the provider will call the mail."""
    assert (await sent_by(sender))[2] == learned


async def test_resend_is_given_the_delivery_id_to_dedupe_on() -> None:
    request, _, _ = await sent_by("resend", delivery_id="dlv_7")
    assert request.headers["idempotency-key"] == "dlv_7"


@pytest.mark.parametrize(
    ("status", "headers", "error", "after"),
    [
        (429, {"retry-after": "7"}, Retryable, 7.0),
        (408, {}, Retryable, None),
        (409, {}, Retryable, None),
        (425, {}, Retryable, None),
        (500, {}, Retryable, None),
        (503, {"retry-after": "soon"}, Retryable, None),
        (401, {}, Retryable, None),
        (400, {}, Permanent, None),
        (422, {}, Permanent, None),
    ],
)
async def test_a_providers_refusal_is_temporary_or_final(
    status: int, headers: dict[str, str], error: type[Exception], after: float | None
) -> None:
    def wire(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers=headers, text="no")

    async with open_email(wire=wire, sender="postmark", api_key="key") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        with pytest.raises(error) as caught:
            await adapter.send(outbound(message))
    assert getattr(caught.value, "after", None) == after


async def test_a_key_never_shows_in_an_error() -> None:
    async with open_email(sender="postmark", api_key="very-secret") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        with pytest.raises(Retryable) as caught:
            await adapter.send(outbound(message))
    assert "very-secret" not in f"{caught.value!r}{adapter!r}"


async def test_mail_goes_out_where_only_access_tokens_are_taken() -> None:
    server = TokenServer()
    question = outbound(await read_one(mail()))
    async with open_sink() as sink:
        url = f"smtp://agent%40example.com@127.0.0.1:{sink.port}"
        async with open_email(wire=server, smtp_url=url, oauth=GOOGLE) as (adapter, _):
            sink.tokens = ("access-2",)
            with pytest.raises(Retryable, match="login"):
                await adapter.send(question)
            assert await adapter.send(question)
        assert len(sink.mails) == 1


@pytest.mark.parametrize(
    ("url", "encrypted"),
    [
        ("smtp://user:password@mail.example.com", True),
        ("imap://user@127.0.0.1.example.com/INBOX", True),
        ("smtp://user:password@127.0.0.1:25", False),
        ("smtp://user:password@[::1]:25", False),
        ("smtp://user:password@localhost", False),
        ("smtp://user:password@mail.internal:25?tls=off", False),
        ("smtp://mail.internal:25", False),
    ],
)
def test_no_login_goes_over_the_open_net_unless_that_is_wanted(url: str, encrypted: bool) -> None:  # noqa: FBT001
    assert must_encrypt(urlsplit(url)) is encrypted


async def test_a_server_that_cannot_encrypt_gets_no_password() -> None:
    question = outbound(await read_one(mail()))
    async with open_sink() as sink, open_email(smtp_url=f"smtp://u:p@0.0.0.0:{sink.port}") as (adapter, _):
        with pytest.raises(Retryable, match="STARTTLS"):
            await adapter.send(question)
    assert not sink.mails


async def test_a_mail_that_answers_none_says_so(tmp_path: Path) -> None:
    async with open_email(smtp_url=f"maildir:{tmp_path}", name="Helpdesk") as (adapter, _):
        question = await read_one(mail())
        alert = replace(outbound(question), return_address=adapter.return_address("alerts@example.org"))
        await adapter.send(alert)
    written = message_from_bytes((tmp_path / f"{alert.delivery_id}.eml").read_bytes())
    assert (written["Subject"], written["Auto-Submitted"]) == ("Helpdesk", "auto-generated")
    assert written["In-Reply-To"] is None


@pytest.mark.parametrize("sender", ["mailgun", "ses", "postmark", "sendgrid", "resend"])
async def test_a_garbled_answer_may_have_sent_the_mail(sender: str) -> None:
    def wire(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, content=b"no gzip")

    async with open_email(wire=wire, sender=sender, api_key="key", access_key_id="AKID") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        with pytest.raises(Retryable) as caught:
            await adapter.send(outbound(message))
    assert caught.value.ambiguous


async def test_a_source_whose_own_domain_is_not_ascii_answers_from_it() -> None:
    question = outbound(await read_one(mail()))
    async with open_sink(smtputf8=False) as sink:
        url = f"smtp://127.0.0.1:{sink.port}"
        async with open_email(address="agent@b\u00fccher.example", smtp_url=url) as (adapter, _):
            await adapter.send(question)
    (envelope,) = sink.mails
    assert str(envelope.mail_from).endswith("@xn--bcher-kva.example")
    found = message_from_bytes(envelope.original_content or b"")
    assert found["From"] == "agent@xn--bcher-kva.example"
    assert "@xn--bcher-kva.example>" in found["Message-ID"]


async def test_a_source_whose_own_address_is_not_ascii_says_so_to_the_mail_server() -> None:
    question = outbound(await read_one(mail()))
    async with open_sink() as sink:
        url = f"smtp://127.0.0.1:{sink.port}"
        async with open_email(address="gr\u00fc\u00dfe@example.com", smtp_url=url) as (adapter, _):
            await adapter.send(question)
    assert "SMTPUTF8" in sink.mails[0].mail_options


@pytest.mark.parametrize("said", ["552 5.3.4 too big for us", "523 5.3.4 too big for us", "554 5.3.4 too big for us"])
async def test_an_answer_whose_files_are_too_large_together_goes_without_them(said: str) -> None:
    question = outbound(await read_one(mail()))
    async with (
        open_sink(data=[said, "250 OK"]) as sink,
        open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, kit),
    ):
        files = [await kit.files.store(name, "text/plain", name.encode(), origin="agent") for name in ("a", "b")]
        await adapter.send(replace(question, files=tuple(files)))
    first, second = (message_from_bytes(each.original_content or b"") for each in sink.mails)
    assert [part.get_filename() for part in first.walk()][-2:] == ["a", "b"]
    assert not [name for name in (part.get_filename() for part in second.walk()) if name]
    assert second["Message-ID"] == first["Message-ID"]
    assert b"The file b could not be attached" in second.as_bytes()


async def test_an_answer_that_is_too_large_without_files_is_given_up() -> None:
    question = outbound(await read_one(mail()))
    async with (
        open_sink(data="552 5.3.4 too big") as sink,
        open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, _),
    ):
        with pytest.raises(Permanent, match="too big"):
            await adapter.send(question)
    assert len(sink.mails) == 1
