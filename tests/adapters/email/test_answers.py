"""Answers stand in their thread, harm nobody, and are the same at every try."""

import re
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import compat32
from pathlib import Path
from typing import Any

import httpx2
import pytest

from adapters.email.headers import decode_words
from adapters.email.memory import Memory
from adapters.email.mime import Limits, read_headers_of
from adapters.email.quotes import MARKER, extract
from adapters.email.render import render
from adapters.email.return_address import reply_subject
from adapters.email.tokens import scrub, token_in_address
from bridge.errors import Denied, Permanent, Retryable
from bridge.model import FileRef
from tests.adapters.email.mails import mail, posted
from tests.adapters.email.rooms import open_email, outbound, parsed, read_one
from tests.adapters.email.sinks import open_sink
from tests.adapters.kits import DictFiles

BOUNCE = (
    "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
    "Final-Recipient: rfc822; jane@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n"
)


async def answered(tmp_path: Path, raw: bytes = b"", *, changes: Any = None, **settings: Any) -> EmailMessage:
    """The mail that answers `raw`."""
    async with open_email(smtp_url=f"maildir:{tmp_path}", **settings) as (adapter, _):
        (message,) = await adapter.read(posted(raw or mail()))
        await adapter.send(outbound(message, **(changes or {})))
    found = parsed((tmp_path / "dlv_1.eml").read_bytes())
    assert isinstance(found, EmailMessage)
    return found


def body(answer: EmailMessage, kind: str) -> str:
    part = answer.get_body((kind,))
    assert part is not None
    return str(part.get_content())


async def test_an_answer_is_addressed_and_threaded(tmp_path: Path) -> None:
    answer = await answered(tmp_path, mail(References="<root@example.org> <parent@example.org>"))
    assert str(answer["To"]) == "Jane Roe <jane@example.org>"
    assert str(answer["From"]) == "agent@example.com"
    assert str(answer["Subject"]) == "Re: A question"
    assert str(answer["In-Reply-To"]) == "<first@example.org>"
    assert str(answer["References"]).split()[:3] == [
        "<root@example.org>",
        "<parent@example.org>",
        "<first@example.org>",
    ]
    assert str(answer["Auto-Submitted"]) == "auto-replied"
    assert str(answer["X-Auto-Response-Suppress"]) == "All"
    token = token_in_address(answer["Reply-To"].addresses[0].addr_spec)
    assert len(token) == 32
    assert token in str(answer["References"])
    assert token in str(answer["Message-ID"])
    assert token in str(answer["X-Envelope-From"])
    assert len(answer["Reply-To"].addresses[0].username) <= 64


async def test_it_says_the_same_as_text_and_as_html(tmp_path: Path) -> None:
    answer = await answered(tmp_path, changes={"text": "**Yes**, see:\n\n```\nmake\n```\n\n<script>alert(1)</script>"})
    assert "**Yes**, see:" in body(answer, "plain")
    html = body(answer, "html")
    assert "<strong>Yes</strong>" in html
    assert "<script" not in html
    assert MARKER in body(answer, "plain")
    assert "reply above this line" in html


async def test_the_same_delivery_is_the_same_mail_at_every_try(tmp_path: Path) -> None:
    first = await answered(tmp_path / "a", changes={"files": ()})
    again = await answered(tmp_path / "b", changes={"repeated": True})
    assert first.as_bytes() == again.as_bytes()


@pytest.mark.parametrize(
    ("settings", "reply_to"),
    [
        ({"reply_style": "plus"}, r"agent+*@example.com"),
        ({"reply_style": "catch_all", "reply_domain": "reply.example.com"}, "*@reply.example.com"),
        ({"reply_style": "dedicated"}, None),
    ],
)
async def test_the_styles_of_reply_addresses(tmp_path: Path, settings: dict[str, Any], reply_to: str | None) -> None:
    answer = await answered(tmp_path, **settings)
    if reply_to is None:
        assert answer["Reply-To"] is None
        return
    address = answer["Reply-To"].addresses[0].addr_spec
    assert address.replace(token_in_address(address), "*") == reply_to


@pytest.mark.parametrize(
    ("subject", "reply"),
    [
        ("Hello", "Re: Hello"),
        ("Re: Hello", "Re: Hello"),
        ("RE: AW: Re[2]: Hello", "Re: Hello"),
        ("SV: Antw: Hello", "Re: Hello"),
        ("回复：Hello", "Re: Hello"),
        ("Regarding: Hello", "Re: Regarding: Hello"),
        ("", "Re:"),
    ],
)
def test_subjects_begin_with_re_once(subject: str, reply: str) -> None:
    assert reply_subject(subject) == reply


@pytest.mark.parametrize(
    "subject", ["=?utf-8?q?x=0D=0ABcc:_victim=40b.c?=", "x\r\n Bcc: victim@b.c", "x\u2028Bcc: v@b.c"]
)
async def test_no_header_can_be_smuggled_into_an_answer(tmp_path: Path, subject: str) -> None:
    answer = await answered(tmp_path, mail(Subject=subject))
    assert answer["Bcc"] is None


@pytest.mark.parametrize(
    "sender", ['"a\\"b, c" <jane@example.org>', "=?utf-8?q?=E2=82=AC=2C_x?= <jane@example.org>", "jane@example.org"]
)
async def test_any_name_of_a_sender_can_be_answered(tmp_path: Path, sender: str) -> None:
    answer = await answered(tmp_path, mail(From=sender))
    assert [address.addr_spec for address in answer["To"].addresses] == ["jane@example.org"]


async def test_long_threads_keep_their_first_and_last_references(tmp_path: Path) -> None:
    ids = [f"<{number}@example.org>" for number in range(100)]
    answer = await answered(tmp_path, mail(References=" ".join(ids)))
    found = str(answer["References"]).split()
    assert (found[0], len(found)) == ("<0@example.org>", 22)
    assert "<99@example.org>" in found


async def test_ids_of_any_length_stand_in_an_answer_as_they_are(tmp_path: Path) -> None:
    longest, root = f"<{'x' * 236}@example.org>", f"<{'y' * 200}@example.org>"
    await answered(tmp_path, mail(Message_ID=longest, References=f"<\u00fc@example.org> {root}"))
    raw = (tmp_path / "dlv_1.eml").read_bytes()
    assert f"\r\nIn-Reply-To: {longest}\r\n".encode() in raw
    assert f"\r\nReferences: {root}\r\n {longest}\r\n <".encode() in raw


@pytest.mark.parametrize("local", ["a..b", "jane.", ".jane", "o'neill", "a=b"])
async def test_whoever_got_through_can_be_answered(tmp_path: Path, local: str) -> None:
    """Mobile carriers gave out addresses that no standard allows, and servers carry them."""
    answer = await answered(tmp_path, mail(From=f"Jane <{local}@example.org>"))
    assert f"<{local}@example.org>" in str(answer["To"])
    assert str(answer["X-Envelope-To"]) == f"<{local}@example.org>"


async def test_a_domain_that_is_not_ascii_is_written_as_servers_know_it(tmp_path: Path) -> None:
    answer = await answered(tmp_path, mail(From="jane@b\u00fccher.example"), require_auth="none")
    assert str(answer["To"]) == "jane@xn--bcher-kva.example"
    assert str(answer["X-Envelope-To"]) == "<jane@xn--bcher-kva.example>"


@pytest.mark.parametrize("name", ["", 'J\u00e4ne, the "First" ', "Jane "])
async def test_an_address_that_is_not_ascii_is_written_to_where_the_server_takes_it(name: str) -> None:
    async with (
        open_sink() as sink,
        open_email(require_auth="none", smtp_url=f"smtp://127.0.0.1:{sink.port}") as (
            adapter,
            _,
        ),
    ):
        quoted = f'"{name.strip().replace(chr(34), "")}" ' if name else ""
        (message,) = await adapter.read(posted(mail(From=f"{quoted}<j\u00e4ne@b\u00fccher.example>")))
        await adapter.send(outbound(message))
    (arrived,) = sink.mails
    assert arrived.rcpt_tos == ["j\u00e4ne@xn--bcher-kva.example"]
    assert "SMTPUTF8" in arrived.mail_options
    assert isinstance(arrived.content, bytes)
    (to,) = read_headers_of(arrived.content, Limits()).addresses("to")
    assert (to.name, to.address) == (quoted.strip(' "'), "j\u00e4ne@xn--bcher-kva.example")


@pytest.mark.parametrize("settings", [{}, {"sender": "mailgun", "api_key": "key"}])
async def test_an_address_that_nobody_on_the_way_takes_is_a_final_failure(settings: dict[str, Any]) -> None:
    async with open_sink(smtputf8=False) as sink:
        url = f"smtp://127.0.0.1:{sink.port}"
        async with open_email(require_auth="none", smtp_url=url, **settings) as (adapter, _):
            (message,) = await adapter.read(posted(mail(From="j\u00e4ne@example.org")))
            with pytest.raises(Permanent, match="SMTPUTF8"):
                await adapter.send(outbound(message))
    assert not sink.mails


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a\nb.txt", "text/plain"),
        ("a.txt", "text\n/plain"),
        ("a.eml", "message/rfc822"),
        ("a", "multipart/mixed"),
        ("", "nonsense"),
        ("a.txt", "text/plain; charset=utf-8"),
    ],
)
async def test_no_name_and_no_type_of_a_file_keeps_the_answer_back(tmp_path: Path, name: str, media_type: str) -> None:
    def wire(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content="Gr\u00f6\u00dfe".encode())

    async with open_email(smtp_url=f"maildir:{tmp_path}", wire=wire) as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        file = FileRef(url="https://files.example/a", name=name, media_type=media_type)
        await adapter.send(outbound(message, files=(file,)))
    found = parsed((tmp_path / "dlv_1.eml").read_bytes())
    (part,) = [part for part in found.walk() if part.get_content_disposition() == "attachment"]
    assert part.get_payload(decode=True) == "Gr\u00f6\u00dfe".encode()
    assert part.get_filename()


@pytest.mark.parametrize("url", ["http://[::1", "https://files.example:port/x", "ftp://files.example/x", "https://"])
async def test_an_address_of_a_file_that_is_none_is_shown_and_no_reason_to_fail(tmp_path: Path, url: str) -> None:
    answer = await answered(tmp_path, changes={"files": (FileRef(url=url, name="a.txt"),)})
    assert url in body(answer, "plain")


async def test_a_file_whose_address_may_not_be_called_is_no_reason_to_fail(tmp_path: Path) -> None:
    def wire(_: httpx2.Request) -> httpx2.Response:
        raise Denied("no")

    async with open_email(smtp_url=f"maildir:{tmp_path}", wire=wire) as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        await adapter.send(outbound(message, files=(FileRef(url="https://10.0.0.1/a", name="a.txt"),)))
    assert b"https://10.0.0.1/a" in (tmp_path / "dlv_1.eml").read_bytes()


async def test_files_go_out_as_attachments(tmp_path: Path) -> None:
    async with open_email(smtp_url=f"maildir:{tmp_path}", wire=lambda _: httpx2.Response(200, content=b"far")) as (
        adapter,
        kit,
    ):
        (message,) = await adapter.read(posted(mail()))
        near = await kit.files.store("near.txt", "text/plain", b"near", origin="agent")
        far = FileRef(url="https://files.example.net/far.pdf", name="far.pdf", media_type="application/pdf")
        gone = FileRef(url="file:fil_gone", name="gone.bin")
        await adapter.send(outbound(message, files=(near, far, gone)))
    answer = parsed((tmp_path / "dlv_1.eml").read_bytes())
    assert isinstance(answer, EmailMessage)
    found = {part.get_filename(): part.get_content() for part in answer.iter_attachments()}
    assert found == {"near.txt": "near", "far.pdf": b"far"}
    assert "gone.bin could not be attached" in body(answer, "plain")


async def test_attachments_reach_the_agent_by_reference() -> None:
    raw = mail(
        "--b\r\nContent-Type: text/plain\r\n\r\nsee file\r\n--b\r\nContent-Type: application/octet-stream\r\n"
        'Content-Disposition: attachment; filename="../r.pdf"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQ=\r\n"
        "--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\n"
        "Subject: inner\r\n\r\nhello\r\n--b--\r\n",
        Content_Type='multipart/mixed; boundary="b"',
    )
    async with open_email() as (adapter, kit):
        (message,) = await adapter.read(posted(raw))
        assert [(file.name, file.media_type) for file in message.files] == [
            ("r.pdf", "application/pdf"),
            ("attachment-2.ics", "text/calendar"),
            ("attachment-3.eml", "message/rfc822"),
        ]
        assert await kit.files.load(message.files[0]) == b"%PDF-1.4"
    assert message.text == "see file"


async def test_attachments_have_limits_that_are_told() -> None:
    part = "--b\r\nContent-Type: image/png; name=a.png\r\n\r\n" + "x" * 100 + "\r\n"
    raw = mail(f"{part * 3}--b--\r\n", Content_Type='multipart/mixed; boundary="b"')
    async with open_email(max_attachments=1) as (adapter, _):
        (message,) = await adapter.read(posted(raw))
    assert len(message.files) == 1
    assert message.context.count("was left out") == 2


async def test_an_attachment_above_what_the_bridge_takes_is_told_of() -> None:
    parts = [f"--b\r\nContent-Type: image/png; name={name}.png\r\n\r\n{name * 4}\r\n" for name in ("a", "bb")]
    raw = mail(f"{''.join(parts)}--b--\r\n", Content_Type='multipart/mixed; boundary="b"')
    async with open_email() as (adapter, kit):
        assert isinstance(kit.files, DictFiles)
        kit.files.max_bytes = 5
        (message,) = await adapter.read(posted(raw))
    assert ([ref.name for ref in message.files], message.parked) == (["a.png"], None)
    assert "The attachment 'bb.png' (8 bytes) was left out" in message.context


async def test_a_signature_that_hides_the_text_is_not_called_encryption() -> None:
    message = await read_one(mail("MIIB", Content_Type='application/pkcs7-mime; smime-type="signed-data"'))
    assert "encrypted" not in message.context
    assert "sign it in clear text" in message.context


async def test_a_version_of_the_text_for_other_programs_is_no_file() -> None:
    kinds = {"plain": "Hello", "x-amp-html": "<b>Hello</b>", "html": "<p>Hello</p>"}
    parts = "".join(f"--b\r\nContent-Type: text/{kind}\r\n\r\n{text}\r\n" for kind, text in kinds.items())
    message = await read_one(mail(f"{parts}--b--\r\n", Content_Type="multipart/alternative; boundary=b"))
    assert (message.text, message.files) == ("Hello", ())


async def test_encrypted_mail_is_said_to_be_so() -> None:
    raw = mail(
        "--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b--",
        Content_Type='multipart/encrypted; boundary="b"',
    )
    async with open_email() as (adapter, _):
        (message,) = await adapter.read(posted(raw))
    assert "encrypted" in message.context


async def test_what_is_quoted_goes_apart_and_without_tokens(tmp_path: Path) -> None:
    answer = await answered(tmp_path)
    address = answer["Reply-To"].addresses[0].addr_spec
    quoted = f"Thanks.\n\nOn 2 Sep 2026 at 09:14, Agent <{address.upper()}> wrote:\n> write to {address}\n"
    async with open_email() as (adapter, _):
        (message,) = await adapter.read(posted(mail(quoted, Message_ID="<2@example.org>")))
    assert message.text == "Thanks."
    assert "write to" in message.quoted
    assert token_in_address(address) not in message.quoted.lower()
    assert scrub(address) == "agent+…@example.com"


async def test_a_secret_of_somebody_that_looks_like_a_token_reaches_the_agent(tmp_path: Path) -> None:
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    text = f"My secret is {secret}. Is <{secret}> right? It is {secret}.conf here."
    assert (await read_one(mail(text))).text == text
    answer = await answered(tmp_path)
    for told in (answer["Message-ID"], f"mailto:{answer['Reply-To'].addresses[0].addr_spec}".replace("@", "%40")):
        assert "…" in scrub(told)
        assert len(max(re.findall(r"\w+", scrub(told)), key=len)) < 32


WORDS = re.compile(rb"=\?utf-8\?[bq]\?[^?]*\?=")


@pytest.mark.parametrize("word", ["Gr\u00fc\u00dfe ", "\u65e5\u672c\u8a9e", "\U0001f600", "\u0440\u0443 "])
async def test_lines_and_encoded_words_are_as_short_as_the_standards_want(tmp_path: Path, word: str) -> None:
    subject, name = (word * 60).strip(), (word * 30).strip()

    long = f"{'a' * 60}@{'b' * 60}.example.org"
    raw = mail(From=f"{name} <{long}>", Subject=subject, Thread_Topic=subject)
    answer = await answered(
        tmp_path, raw, changes={"text": f"{word * 400}\n\n{'x' * 2000}"}, name=name, require_auth="none"
    )
    head, _, body = (tmp_path / "dlv_1.eml").read_bytes().partition(b"\r\n\r\n")
    assert max(map(len, WORDS.findall(head))) <= 75
    assert max(len(line) for line in head.split(b"\r\n") if b"=?" in line) <= 76
    assert max(len(line) for line in body.split(b"\r\n") if not line.startswith(b"Content-")) <= 76
    assert decode_words(re.sub(r"\s+", " ", parsed_raw(head, "Subject"))) == f"Re: {subject}"
    assert decode_words(re.sub(r"\s+", " ", parsed_raw(head, "To"))) == f"{name} <{long}>"
    assert answer["From"].addresses[0].addr_spec == "agent@example.com"


async def test_a_word_that_no_line_holds_stays_as_it_is(tmp_path: Path) -> None:
    answer = await answered(tmp_path, mail(Subject=f"See https://example.org/{'x' * 250}"))
    assert f"Subject: Re: See https://example.org/{'x' * 250}\r\n".encode() in (tmp_path / "dlv_1.eml").read_bytes()
    assert answer["To"].addresses[0].addr_spec == "jane@example.org"


def parsed_raw(head: bytes, name: str) -> str:
    return str(message_from_bytes(head, policy=compat32)[name])


async def test_our_own_answer_quoted_whole_leaves_only_the_reply(tmp_path: Path) -> None:
    answer = await answered(tmp_path)
    html = f"<p>Thanks, do it.</p><div>Some client's words:</div>{body(answer, 'html')}"
    found = extract(html=html)
    assert found.reply.startswith("Thanks, do it.")
    assert "The answer" not in found.reply


async def test_mail_goes_out_by_smtp() -> None:
    async with open_sink() as sink, open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        sent = await adapter.send(outbound(message))
    (envelope,) = sink.mails
    assert envelope.rcpt_tos == ["jane@example.org"]
    assert str(envelope.mail_from).startswith("agent+bounce-")
    assert isinstance(envelope.content, bytes)
    assert f"Message-ID: {sent}".encode() in envelope.content.replace(b"\r\n ", b" ")


async def test_a_lost_answer_after_data_is_ambiguous_and_repeated_with_the_same_id() -> None:
    async with open_sink() as sink, open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        sink.hang_up = True
        with pytest.raises(Retryable) as caught:
            await adapter.send(outbound(message))
        sink.hang_up = False
        await adapter.send(outbound(message, repeated=True))
    assert caught.value.ambiguous
    first, second = (envelope.content for envelope in sink.mails)
    assert first == second


@pytest.mark.parametrize(
    ("rcpt", "data", "error"),
    [
        ("450 4.2.0 greylisted", "250 OK", Retryable),
        ("550 5.1.1 no such user", "250 OK", Permanent),
        ("250 OK", "451 4.3.0 later", Retryable),
        ("250 OK", "554 5.7.1 spam", Permanent),
    ],
)
async def test_refusals_are_temporary_or_final_as_the_server_says(rcpt: str, data: str, error: type[Exception]) -> None:
    async with open_sink() as sink, open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, _):
        sink.rcpt, sink.data = rcpt, data
        (message,) = await adapter.read(posted(mail()))
        with pytest.raises(error):
            await adapter.send(outbound(message))


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        ("530 5.7.0 Authentication required", Retryable),
        ("553 5.7.1 Sender address rejected: not owned by user", Retryable),
        ("451 4.3.0 later", Retryable),
        ("552 5.3.4 Message size exceeds fixed limit", Permanent),
    ],
)
async def test_a_mail_waits_until_the_server_takes_mail_from_us(refusal: str, error: type[Exception]) -> None:
    """A slip in the configuration, like a wrong key of a provider: no answer dies of it."""
    async with open_sink() as sink, open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, _):
        sink.sender = refusal
        (message,) = await adapter.read(posted(mail()))
        with pytest.raises(error):
            await adapter.send(outbound(message))


async def test_nobody_listening_is_a_reason_to_try_again() -> None:
    async with open_email(smtp_url="smtp://127.0.0.1:1") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        with pytest.raises(Retryable) as caught:
            await adapter.send(outbound(message))
    assert not caught.value.ambiguous


@pytest.mark.parametrize("address", ["", "{}", "[]", "null", '{"to": 1, "x": 2}', "garbage"])
async def test_a_return_address_that_is_none_is_final(address: str) -> None:
    async with open_email() as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        with pytest.raises(Permanent):
            await adapter.send(outbound(message, return_address=address))


async def test_after_a_bounce_nothing_is_sent_there_until_a_mail_comes(tmp_path: Path) -> None:
    async with open_email(smtp_url=f"maildir:{tmp_path}") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        await adapter.send(outbound(message))
        returned = str(parsed((tmp_path / "dlv_1.eml").read_bytes())["X-Envelope-From"]).strip("<>")
        bounce = mail(BOUNCE, From="MAILER-DAEMON@mx", Content_Type='multipart/report; boundary="b"', To=returned)
        (report,) = await adapter.read(posted(bounce, headers={"x-envelope-from": "<>"}))
        assert report.declined == "bounce"
        with pytest.raises(Permanent, match="comes back"):
            await adapter.send(outbound(message, delivery_id="dlv_2"))
        await adapter.read(posted(mail("I am back", Message_ID="<back@example.org>")))
        assert await adapter.send(outbound(message, delivery_id="dlv_2"))


async def test_a_mailbox_that_is_configured_in_capitals_is_the_one_a_bounce_is_about(tmp_path: Path) -> None:
    async with open_email(smtp_url=f"maildir:{tmp_path}") as (adapter, _):
        alert = replace(outbound(await read_one(mail())), return_address=adapter.return_address("Jane@Example.org"))
        await adapter.send(alert)
        returned = str(parsed((tmp_path / "dlv_1.eml").read_bytes())["X-Envelope-From"]).strip("<>")
        bounce = mail(BOUNCE, From="MAILER-DAEMON@mx", Content_Type='multipart/report; boundary="b"', To=returned)
        await adapter.read(posted(bounce, headers={"x-envelope-from": "<>"}))
        with pytest.raises(Permanent, match="comes back"):
            await adapter.send(replace(alert, delivery_id="dlv_2"))
        await adapter.read(posted(mail("I am back", Message_ID="<back@example.org>")))
        assert await adapter.send(replace(alert, delivery_id="dlv_2"))


async def test_a_forged_bounce_silences_nobody(tmp_path: Path) -> None:
    async with open_email(smtp_url=f"maildir:{tmp_path}") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
        forged = mail(BOUNCE, From="MAILER-DAEMON@mx", Content_Type='multipart/report; boundary="b"')
        await adapter.read(posted(forged))
        assert await adapter.send(outbound(message))


async def test_a_bounce_speaks_only_for_the_person_whose_token_it_brings(tmp_path: Path) -> None:
    async with open_email(smtp_url=f"maildir:{tmp_path}") as (adapter, _):
        (jane,) = await adapter.read(posted(mail()))
        passed = "mx.example.com; dmarc=pass header.from=evil.example"
        (mallory,) = await adapter.read(
            posted(mail(From="m@evil.example", Authentication_Results=passed, Message_ID="<m@evil.example>"))
        )
        await adapter.send(outbound(mallory, "cnv_2"))
        token_of_mallory = str(parsed((tmp_path / "dlv_1.eml").read_bytes())["X-Envelope-From"]).strip("<>")
        bounce = mail(
            BOUNCE, From="MAILER-DAEMON@mx", Content_Type='multipart/report; boundary="b"', To=token_of_mallory
        )
        await adapter.read(posted(bounce))
        assert await adapter.send(outbound(jane, delivery_id="dlv_2"))


async def test_a_loop_ends_at_the_budget_and_copies_do_not_count() -> None:
    async with open_email(max_replies_10_minutes=3) as (adapter, kit):
        found = []
        for number in (0, 0, 0, 1, 2, 3, 4):
            (message,) = await adapter.read(posted(mail(Message_ID=f"<{number}@example.org>")))
            found.append(message.parked)
        assert found == [None] * 5 + ["too_many_mails"] * 2
        await kit.clock.sleep(601)
        (message,) = await adapter.read(posted(mail(Message_ID="<5@example.org>")))
        assert message.parked is None


LONG = "Thank you for your message. I am away until Monday."


async def test_the_same_words_of_one_sender_are_answered_once_an_hour() -> None:
    async with open_email() as (adapter, kit):
        found = []
        for number, text in enumerate([LONG, f"{LONG.upper()} \r\n\r\n> quoted", "Yes.", "Yes.", f"{LONG} Really."]):
            (message,) = await adapter.read(posted(mail(text, Message_ID=f"<{number}@example.org>")))
            found.append(message.parked)
        assert found == [None, "same_text", None, None, None]
        await kit.clock.sleep(3601)
        (message,) = await adapter.read(posted(mail(LONG, Message_ID="<6@example.org>")))
        assert message.parked is None


async def test_a_copy_of_a_mail_is_no_second_one_with_the_same_words() -> None:
    async with open_email() as (adapter, _):
        found = [await adapter.read(posted(mail(LONG))) for _ in range(3)]
    assert [message.parked for (message,) in found] == [None] * 3


async def test_the_same_words_with_another_file_are_another_request() -> None:
    def with_file(content: str) -> str:
        return (
            f"--b\r\n\r\n{LONG}\r\n--b\r\nContent-Type: text/csv\r\n"
            f"Content-Disposition: attachment; filename=a.csv\r\n\r\n{content}\r\n--b--\r\n"
        )

    async with open_email() as (adapter, _):
        found = [
            await adapter.read(
                posted(mail(with_file(each), Content_Type="multipart/mixed; boundary=b", Message_ID=f"<{at}@x>"))
            )
            for at, each in enumerate(["1,2", "3,4", "3,4"])
        ]
    assert [message.parked for (message,) in found] == [None, None, "same_text"]


async def test_a_responder_that_changes_its_address_is_known_by_its_words() -> None:
    async with open_email(max_replies_10_minutes=2) as (adapter, _):
        found = []
        for number in range(3):
            sent = mail(LONG, From=f"ticket-{number}@example.org", Message_ID=f"<{number}@example.org>")
            (message,) = await adapter.read(posted(sent))
            found.append(message.parked)
    assert found == [None, None, "same_text"]


async def test_budgets_of_a_domain_hold_where_they_are_set() -> None:
    async with open_email(max_domain_day=1, max_replies_10_minutes=0, max_replies_day=0) as (adapter, _):
        (one,) = await adapter.read(posted(mail(Message_ID="<1@example.org>")))
        (two,) = await adapter.read(posted(mail(From="joe@example.org", Message_ID="<2@example.org>")))
    assert (one.parked, two.parked) == (None, "too_many_mails")


async def test_a_provider_id_leads_back_too() -> None:
    async with open_email() as (_, kit):
        memory = Memory(kit.vault)
        await memory.remember("<wire@amazonses.com>", "cnv_1")
        await memory.remember("<wire@amazonses.com>", "cnv_1")
        assert len(await kit.vault.names("mail/")) == 1


@pytest.mark.parametrize(
    ("markdown", "wanted", "refused"),
    [
        ("[x](javascript:alert(1))", "x", 'href="javascript'),
        ("![pixel](https://t.example/p.png)", "", "<img"),
        ("<b onclick=x>hi</b>", "hi", "<b"),
        ("| a |\n|---|\n| b |", "<td>", "<script"),
        ("[ok](https://a.example)", 'href="https://a.example"', "script"),
    ],
)
def test_html_that_goes_out_harms_nobody(markdown: str, wanted: str, refused: str) -> None:
    html = render(markdown)
    assert wanted in html
    assert refused not in html


async def test_a_long_task_is_announced_once_where_that_is_configured() -> None:
    async with (
        open_sink() as sink,
        open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}", still_working_after=60) as (
            adapter,
            kit,
        ),
    ):
        (message,) = await adapter.read(posted(mail()))
        view = await adapter.open(outbound(message, kind="progress", turn_id="trn_1"))
        await view.show("chunk", "a")
        assert not sink.mails
        await kit.clock.sleep(61)
        await view.show("chunk", "b")
        await view.show("chunk", "c")
        again = await adapter.open(outbound(message, kind="progress", turn_id="trn_1", delivery_id="dlv_9"))
        await kit.clock.sleep(61)
        await again.show("chunk", "d")
        assert await view.close(None) is None
        assert view.remote_id is None
    assert len(sink.mails) == 1
    assert b"still working" in (sink.mails[0].original_content or b"")


async def test_without_that_nothing_is_announced() -> None:
    async with open_sink() as sink, open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, kit):
        (message,) = await adapter.read(posted(mail()))
        view = await adapter.open(outbound(message, kind="progress", turn_id="trn_1"))
        await kit.clock.sleep(100_000)
        await view.show("chunk", "a")
    assert not sink.mails
