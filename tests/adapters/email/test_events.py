"""What providers tell of our own mails: who cannot be reached, or does not want to be, gets nothing more."""

import contextlib
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.email.ingresses.events import ses_reports
from adapters.email.ingresses.resend import SCHEME as RESEND
from adapters.email.ingresses.sendgrid import SCHEME as SENDGRID
from bridge.errors import Malformed, Permanent, Unverified
from bridge.model import Envelope
from bridge.store.database import Store
from tests.adapters.email.mails import SECRET, mail, posted
from tests.adapters.email.rooms import Room, open_email, outbound, read_one
from tests.adapters.email.test_ingresses import SETTINGS, postmark, provider, request, sns, with_signature
from tests.signed_requests import NOW, SIGNING

JANE = "jane@example.org"
JSON = ("content-type", "application/json")


def mailgun_event(**data: Any) -> Envelope:
    stamp = str(int(NOW.timestamp()))
    mac = hmac.new(b"mailgun-key", f"{stamp}token-9".encode(), hashlib.sha256).hexdigest()
    signature = {"timestamp": stamp, "token": "token-9", "signature": mac}
    body = {"signature": signature, "event-data": {"recipient": JANE, **data}}
    return request(json.dumps(body).encode(), JSON)


def sendgrid_events(*events: dict[str, Any]) -> Envelope:
    return with_signature(SENDGRID, SIGNING["sendgrid"], request(json.dumps(events).encode(), JSON))


def resend_event(kind: str, **data: Any) -> Envelope:
    return with_signature(RESEND, SECRET, request(json.dumps({"type": kind, "data": {"to": [JANE], **data}}).encode()))


def ses_bounce(kind: str) -> dict[str, Any]:
    about = {"bounceType": kind, "bounceSubType": "General", "bouncedRecipients": [{"emailAddress": JANE}]}
    return {"notificationType": "Bounce", "bounce": about, "mail": {"messageId": "0100"}}


SES_COMPLAINT = {"eventType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": JANE}]}}
MAILGUN_STATUS = {"severity": "permanent", "delivery-status": {"code": 550, "message": "no such user"}}

FINAL = {
    "ses bounce": ("ses", sns(ses_bounce("Permanent")), "bounce"),
    "ses complaint": ("ses", sns(SES_COMPLAINT), "complaint"),
    "mailgun failed": ("mailgun", mailgun_event(event="failed", **MAILGUN_STATUS), "bounce"),
    "mailgun complained": ("mailgun", mailgun_event(event="complained"), "complaint"),
    "postmark bounce": ("postmark", postmark(RecordType="Bounce", Type="HardBounce", Email=JANE), "bounce"),
    "postmark complaint": ("postmark", postmark(RecordType="SpamComplaint", Email=JANE), "complaint"),
    "sendgrid bounce": ("sendgrid", sendgrid_events({"event": "bounce", "type": "bounce", "email": JANE}), "bounce"),
    "sendgrid complaint": ("sendgrid", sendgrid_events({"event": "spamreport", "email": JANE}), "complaint"),
    "resend bounce": ("resend", resend_event("email.bounced", bounce={"type": "Permanent"}), "bounce"),
    "resend complaint": ("resend", resend_event("email.complained"), "complaint"),
}
PASSING = {
    "ses": ("ses", sns(ses_bounce("Transient"))),
    "mailgun": ("mailgun", mailgun_event(event="failed", severity="temporary")),
    "postmark": ("postmark", postmark(RecordType="Bounce", Type="Transient", Email=JANE)),
    "sendgrid": ("sendgrid", sendgrid_events({"event": "bounce", "type": "blocked", "email": JANE})),
    "resend": ("resend", resend_event("email.bounced", bounce={"type": "Transient"})),
}
OF_NO_INTEREST = {
    "ses": ("ses", sns({"notificationType": "Delivery", "mail": {}})),
    "mailgun": ("mailgun", mailgun_event(event="delivered")),
    "postmark": ("postmark", postmark(RecordType="Delivery", Recipient=JANE)),
    "sendgrid": ("sendgrid", sendgrid_events({"event": "open", "email": JANE})),
    "resend": ("resend", resend_event("email.delivered")),
}


@pytest.mark.parametrize("name", FINAL)
async def test_an_address_that_is_lost_gets_nothing_more_until_it_writes_again(name: str, tmp_path: Path) -> None:
    ingress, envelope, kind = FINAL[name]
    question = outbound(await read_one(mail()))
    async with open_email(wire=provider, **SETTINGS[ingress], smtp_url=f"maildir:{tmp_path}") as (adapter, _):
        assert (await adapter.receive(envelope)).messages is None
        (told,) = await adapter.read(envelope)
        assert (told.declined, told.author.id, told.return_address) == (kind, JANE, "")
        with pytest.raises(Permanent, match=kind):
            await adapter.send(question)


@pytest.mark.parametrize("name", PASSING)
async def test_a_passing_failure_is_kept_and_silences_nobody(name: str, tmp_path: Path) -> None:
    ingress, envelope = PASSING[name]
    question = outbound(await read_one(mail()))
    async with open_email(wire=provider, **SETTINGS[ingress], smtp_url=f"maildir:{tmp_path}") as (adapter, _):
        (told,) = await adapter.read(envelope)
        assert told.declined == "bounce"
        assert await adapter.send(question)


@pytest.mark.parametrize("name", OF_NO_INTEREST)
async def test_what_else_a_provider_tells_is_acknowledged_and_makes_no_message(name: str) -> None:
    ingress, envelope = OF_NO_INTEREST[name]
    async with open_email(wire=provider, **SETTINGS[ingress]) as (adapter, _):
        received = await adapter.receive(envelope)
        assert received.messages == () or await adapter.read(envelope) == []
        assert received.reply is not None
        assert received.reply.status == 200


@pytest.mark.parametrize("name", FINAL)
async def test_nobody_else_can_tell_it(name: str) -> None:
    ingress, envelope, _ = FINAL[name]
    other = {
        "ses": sns(SES_COMPLAINT, TopicArn="arn:aws:sns:eu-west-1:1:theirs"),
        "mailgun": request(envelope.body.replace(b'"signature": "', b'"signature": "0'), JSON),
    }.get(ingress, request(envelope.body, JSON))
    async with open_email(wire=provider, **SETTINGS[ingress]) as (adapter, _):
        with pytest.raises(Unverified):
            await adapter.receive(other)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"[1, null]", b'{"event-data": 7}', b'{"signature": []}', b"[" * 9000])
@pytest.mark.parametrize("ingress", ["mailgun", "sendgrid"])
async def test_nonsense_as_json_is_refused_or_ignored(ingress: str, body: bytes) -> None:
    envelope = request(body, JSON)
    if ingress == "sendgrid":
        envelope = with_signature(SENDGRID, SIGNING["sendgrid"], envelope)
    async with open_email(**SETTINGS[ingress]) as (adapter, _):
        with contextlib.suppress(Unverified, Malformed):
            assert (await adapter.receive(envelope)).messages == ()


@pytest.mark.parametrize(
    ("region", "wire"),
    [("us-east-1", "<0100@email.amazonses.com>"), ("eu-west-1", "<0100@eu-west-1.amazonses.com>")],
)
def test_ses_names_a_mail_by_our_id_and_by_its_own(region: str, wire: str) -> None:
    about = {
        "messageId": "0100",
        "sourceArn": f"arn:aws:ses:{region}:123456789012:identity/example.com",
        "commonHeaders": {"messageId": "<ours@example.com>"},
    }
    (report,) = ses_reports({**SES_COMPLAINT, "mail": about})
    assert report.original_ids == ("<ours@example.com>", wire)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_it_lies_in_the_conversation_it_is_about(store: Store, tmp_path: Path) -> None:
    async with open_email(
        wire=provider, **SETTINGS["sendgrid"], smtp_url=f"maildir:{tmp_path}", require_auth="none"
    ) as (adapter, _):
        room = Room(adapter, store)
        raw = posted(mail())
        async with open_email(require_auth="none") as (raw_adapter, _kit):
            (message,) = await raw_adapter.read(raw)
        known = await room.place(message)
        answer_id = await room.answer(known, message)
        told = await room.take(sendgrid_events({"event": "bounce", "email": JANE, "smtp-id": answer_id}))
        assert told.admission == "declined:bounce"
        assert told.conversation_id == known.conversation_id
