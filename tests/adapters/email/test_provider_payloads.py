"""What providers really post, with all the fields that nobody asked for, as their documentation shows it.

The signed batch of SendGrid's is from the tests of its own libraries: key, signature and bytes are theirs.
"""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import pytest

from adapters.email.adapter import Email
from bridge.errors import Permanent, Unverified
from bridge.model import Envelope
from bridge.store.database import Store
from tests.adapters.email.mails import mail
from tests.adapters.email.rooms import Room, open_email, outbound, read_one
from tests.adapters.email.test_events import JSON, mailgun_event, resend_event, sendgrid_events
from tests.adapters.email.test_ingresses import (
    RAW,
    SETTINGS,
    mailgun,
    postmark,
    provider,
    request,
    sendgrid,
    sns,
    taken,
)
from tests.adapters.kits import FakeClock
from tests.signed_requests import VERIFYING

JANE = "jane@example.org"
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNN"
    "RaINXvVpiglSI8eNEc6wEA3F+g=="
)
SENDGRID_SIGNATURE = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
SENDGRID_BATCH = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)
SES_MAIL = {
    "timestamp": "2026-11-22T11:59:59.000Z",
    "source": "agent@example.com",
    "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/example.com",
    "sourceIp": "198.51.100.7",
    "sendingAccountId": "123456789012",
    "messageId": "0100-abc",
    "destination": [JANE],
    "headersTruncated": False,
}
POSTMARK_BOUNCE = {
    "RecordType": "Bounce",
    "MessageStream": "outbound",
    "ID": 4323372036854775807,
    "Type": "HardBounce",
    "TypeCode": 1,
    "Name": "Hard bounce",
    "Tag": "",
    "MessageID": "pm-1",
    "Metadata": {},
    "ServerID": 23,
    "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
    "Details": "smtp;550 5.1.1 user unknown",
    "Email": JANE,
    "From": "agent@example.com",
    "BouncedAt": "2026-11-22T12:00:00Z",
    "DumpAvailable": True,
    "Inactive": True,
    "CanActivate": True,
    "Subject": "Re: Order 7",
}


def from_sendgrid() -> Envelope:
    signed = ("x-twilio-email-event-webhook-signature", SENDGRID_SIGNATURE)
    return request(SENDGRID_BATCH, signed, ("x-twilio-email-event-webhook-timestamp", "1600112502"), JSON)


SENT_AT = FakeClock(datetime.fromtimestamp(1600112502, UTC))


async def test_a_batch_that_sendgrid_signed_is_believed_by_the_key_of_its_event_webhook(tmp_path: Path) -> None:
    settings = SETTINGS["sendgrid"] | {"event_public_key": SENDGRID_KEY, "smtp_url": f"maildir:{tmp_path}"}
    question = outbound(await read_one(mail(From="hello@world.com"), require_auth="none"))
    async with open_email(clock=SENT_AT, **settings) as (adapter, _):
        assert (await adapter.receive(from_sendgrid())).messages is None
        (told,) = await adapter.read(from_sendgrid())
        assert (told.declined, told.author.id) == ("bounce", "hello@world.com")
        assert "Bounced Address" in told.text
        with pytest.raises(Permanent):
            await adapter.send(question)
    async with open_email(clock=SENT_AT, **SETTINGS["sendgrid"]) as (adapter, _):
        with pytest.raises(Unverified):  # the key of the inbound webhook is another one
            await adapter.receive(from_sendgrid())


async def test_the_key_of_the_event_webhook_may_be_the_only_difference() -> None:
    settings = SETTINGS["sendgrid"] | {"public_key": SENDGRID_KEY, "event_public_key": VERIFYING["sendgrid"]}
    async with open_email(**settings) as (adapter, _):
        received = await adapter.receive(sendgrid_events({"event": "spamreport", "email": JANE}))
    assert received.messages is None


BY_SENDER: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, str], Envelope]] = {
    "postmark": (SETTINGS["postmark"], {"MessageID": "pm-1"}, {}, postmark(**POSTMARK_BOUNCE)),
    "sendgrid": (
        SETTINGS["sendgrid"],
        {},
        {"x-message-id": "LRzXl_NHStOGhQ4kofSm_A"},
        sendgrid_events(
            {
                "email": JANE,
                "timestamp": 1795348800,
                "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
                "bounce_classification": "Invalid Address",
                "event": "bounce",
                "category": ["cat facts"],
                "sg_event_id": "6g4ZI7SA-xmRDv57GoPIPw==",
                "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
                "reason": "550 5.1.1 The email account that you tried to reach does not exist.",
                "status": "5.1.1",
                "ip": "198.51.100.7",
                "tls": 1,
                "type": "bounce",
            }
        ),
    ),
    "resend": (
        SETTINGS["resend"],
        {"id": "56761188-7520-42d8-8898-ff6fc54ce618"},
        {},
        resend_event(
            "email.bounced",
            created_at="2026-11-22T11:59:59.000Z",
            email_id="56761188-7520-42d8-8898-ff6fc54ce618",
            subject="Re: Order 7",
            bounce={"message": "The mailbox does not exist.", "subType": "Suppressed", "type": "Permanent"},
            tags={"category": "support"},
        ),
    ),
    "ses": (
        SETTINGS["ses"] | {"access_key_id": "AKID"},
        {"MessageId": "0100-abc"},
        {},
        sns(
            {
                "notificationType": "Bounce",
                "bounce": {
                    "bounceType": "Permanent",
                    "bounceSubType": "General",
                    "bouncedRecipients": [
                        {
                            "emailAddress": JANE,
                            "action": "failed",
                            "status": "5.1.1",
                            "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                        }
                    ],
                    "reportingMTA": "dsn; mx.example.org",
                    "remoteMtaIp": "198.51.100.9",
                    "timestamp": "2026-11-22T12:00:00.000Z",
                    "feedbackId": "0100-feedback",
                },
                "mail": SES_MAIL,
            }
        ),
    ),
    "mailgun": (
        SETTINGS["mailgun"],
        {"id": "<20261122115959.1.ABCDEF@example.com>"},
        {},
        mailgun_event(
            **{"delivery-status": {"attempt-no": 1, "message": "", "code": 605, "session-seconds": 0.0}},
            event="failed",
            id="G9Bn5sl1TC6nu79C8C0bwg",
            timestamp=1795348800.0,
            severity="permanent",
            reason="suppress-bounce",
            message={
                "headers": {
                    "to": JANE,
                    "message-id": "20261122115959.1.ABCDEF@example.com",
                    "from": "agent@example.com",
                },
                "attachments": [],
                "size": 111,
            },
            flags={"is-routed": False, "is-authenticated": True, "is-system-test": False, "is-test-mode": False},
        ),
    ),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("sender", BY_SENDER)
async def test_a_bounce_lies_in_the_conversation_whose_answer_came_back(store: Store, sender: str) -> None:
    settings, told, headers, bounce = BY_SENDER[sender]

    def wire(asked: httpx2.Request) -> httpx2.Response:
        return provider(asked) if asked.method == "GET" else httpx2.Response(202, json=told, headers=headers)

    async with open_email(wire=wire, **({"api_key": "key"} | settings), sender=sender) as (adapter, _):
        room = Room(adapter, store)
        message = await read_one(mail(), require_auth="none")
        known = await room.place(message)
        await room.answer(known, message)
        found = await room.take(bounce)
        assert (found.admission, found.conversation_id) == ("declined:bounce", known.conversation_id)
        await _is_silent(adapter, message)


async def _is_silent(adapter: Email, message: Any) -> None:
    with pytest.raises(Permanent, match="bounce"):
        await adapter.send(outbound(message, delivery_id="dlv_2"))


@pytest.mark.parametrize(
    ("ingress", "envelope", "is_final"),
    [
        ("sendgrid", sendgrid_events({"event": "dropped", "email": JANE, "reason": "Spam Reporting Address"}), True),
        ("sendgrid", sendgrid_events({"event": "dropped", "email": JANE, "reason": "Spam Content"}), False),
        ("resend", resend_event("email.suppressed", email_id="1"), True),
        ("postmark", postmark(**POSTMARK_BOUNCE | {"Type": "SoftBounce", "Inactive": False}), False),
        ("postmark", postmark(**POSTMARK_BOUNCE | {"Type": "SMTPApiError", "Inactive": True}), True),
    ],
)
async def test_what_was_never_sent_counts_by_its_reason(
    tmp_path: Path, *, ingress: str, envelope: Envelope, is_final: bool
) -> None:
    question = outbound(await read_one(mail()))
    async with open_email(wire=provider, **SETTINGS[ingress], smtp_url=f"maildir:{tmp_path}") as (adapter, _):
        (told,) = await adapter.read(envelope)
        assert told.declined == "bounce"
        if is_final:
            await _is_silent(adapter, await read_one(mail()))
        else:
            assert await adapter.send(question)


async def test_what_somebody_took_out_of_the_spam_folder_is_no_complaint() -> None:
    complaint = {
        "complainedRecipients": [{"emailAddress": JANE}],
        "complaintFeedbackType": "not-spam",
        "userAgent": "ExampleCorp Feedback Loop (V0.01)",
    }
    assert not await taken("ses", sns({"eventType": "Complaint", "complaint": complaint, "mail": SES_MAIL}))


async def test_mailgun_posts_mails_with_attachments_as_multipart() -> None:
    raw = mail("caf\u00e9 ".encode("latin-1"), Content_Type="text/plain; charset=iso-8859-1")
    form = {name: value.encode() for name, value in parse_qsl(mailgun().body.decode())}
    values = {**form, "body-mime": raw, "from": b"Jane <jane@example.org>", "subject": b"Hi", "domain": b"x"}
    parts = b"".join(
        f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
        for name, value in values.items()
    )
    envelope = request(parts + b"--xx--\r\n", ("content-type", "multipart/form-data; boundary=xx"))
    (message,) = await taken("mailgun", envelope)
    assert message.text == "caf\u00e9"


async def test_postmark_posts_a_parsed_mail_beside_the_raw_one_and_only_the_raw_one_counts() -> None:
    envelope = postmark(
        FromName="Somebody else",
        MessageStream="inbound",
        From="evil@example.net",
        FromFull={"Email": "evil@example.net", "Name": "Somebody else", "MailboxHash": ""},
        To="agent@example.com",
        ToFull=[{"Email": "agent@example.com", "Name": "", "MailboxHash": ""}],
        OriginalRecipient="agent@example.com",
        Subject="Other",
        Date="Sun, 22 Nov 2026 12:00:00 +0000",
        MailboxHash="",
        TextBody="other words",
        StrippedTextReply="other words",
        Headers=[{"Name": "X-Spam-Status", "Value": "No"}, {"Name": "X-Bad", "Value": "a\r\nBcc: x@example.net"}],
        Attachments=[{"Name": "a\r\nb.txt", "Content": "eA==", "ContentType": "text/plain", "ContentLength": 1}],
    )
    (message,) = await taken("postmark", envelope)
    assert (message.text, message.author.id) == ("Hello caf\u00e9", JANE)


async def test_sendgrid_posts_the_raw_mail_beside_what_it_found_out() -> None:
    envelope = sendgrid(
        **{
            "to": b"agent@example.com",
            "from": b"evil@example.net",
            "subject": b"Other",
            "sender_ip": b"198.51.100.7",
            "spam_report": b"Spam detection software",
            "spam_score": b"0.1",
            "charsets": b'{"to":"UTF-8","from":"UTF-8","subject":"UTF-8"}',
        }
    )
    (message,) = await taken("sendgrid", envelope)
    assert (message.text, message.author.id, message.author.trust) == ("Hello caf\u00e9", JANE, "verified")


async def test_ses_tells_all_its_verdicts_and_the_one_about_the_author_counts() -> None:
    passed, failed = {"status": "PASS"}, {"status": "FAIL"}
    content = {
        "notificationType": "Received",
        "receipt": {
            "timestamp": "2026-11-22T12:00:00.000Z",
            "processingTimeMillis": 222,
            "recipients": ["agent@example.com"],
            "spamVerdict": passed,
            "virusVerdict": passed,
            "spfVerdict": passed,
            "dkimVerdict": passed,
            "dmarcVerdict": failed,
            "dmarcPolicy": "reject",
            "action": {"type": "SNS", "topicArn": "arn:aws:sns:eu-west-1:123456789012:mail", "encoding": "BASE64"},
        },
        "mail": SES_MAIL | {"source": JANE, "commonHeaders": {"from": [JANE], "subject": "Hi"}},
        "content": base64.b64encode(RAW).decode(),
    }
    (message,) = await taken("ses", sns(content, Subject="Amazon SES Email Receipt Notification"))
    assert message.parked == "unauthenticated"
    content["receipt"]["dmarcVerdict"] = passed  # type: ignore[index]  # it is the table above
    (message,) = await taken("ses", sns(content, Subject="Amazon SES Email Receipt Notification"))
    assert (message.parked, message.author.trust) == (None, "verified")


async def test_resend_tells_who_got_it_and_the_raw_mail_tells_the_rest() -> None:
    envelope = resend_event(
        "email.received",
        email_id="re_1",
        created_at="2026-11-22T11:59:59.000Z",
        **{"from": "Evil <evil@example.net>", "to": ["agent@example.com"], "cc": [], "bcc": []},
        message_id="<other@example.net>",
        subject="Other",
        attachments=[{"id": "att_1", "filename": "a.png", "content_type": "image/png", "content_id": "img001"}],
    )
    (message,) = await taken("resend", envelope)
    assert (message.text, message.author.id) == ("Hello caf\u00e9", JANE)
