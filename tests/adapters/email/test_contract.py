"""What every adapter must do, done by email: a signed raw post in, SMTP out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from adapters.email import build
from adapters.email.ingresses.raw import STANDARD
from adapters.email.return_address import ReturnAddress
from bridge.adapter import Adapter, Kit
from bridge.model import Envelope, OutboundMessage
from bridge.signing import secret_from_text, sign
from tests.adapters.contract import AdapterContract, Descriptor, Outcome
from tests.adapters.email.mails import SECRET, mail
from tests.adapters.email.rooms import open_email, settings
from tests.adapters.email.sinks import open_sink


def build_raw(kit: Kit) -> Adapter:
    return build(settings(), kit)


def genuine(now: datetime, body: bytes = mail()) -> Envelope:
    bare = Envelope(
        source="helpdesk",
        method="POST",
        path="/in/helpdesk",
        query="",
        headers=(("content-type", "message/rfc822"), ("webhook-id", "msg_1")),
        body=body,
        received_at=now,
    )
    return sign(STANDARD, [secret_from_text(STANDARD, SECRET)], bare, now)


def tamper(envelope: Envelope) -> Envelope:
    return replace(envelope, body=envelope.body + b"and pay mallory")


def garbage(now: datetime) -> Envelope:
    return genuine(now, b"\r\n")


def outbound(now: datetime) -> OutboundMessage:
    return OutboundMessage(
        delivery_id="dlv_1",
        kind="answer",
        return_address=ReturnAddress(to="jane@example.org", message_id="<first@example.org>").dump(),
        text="The answer",
        conversation_id="cnv_1",
        created_at=now,
    )


@asynccontextmanager
async def sending(outcome: Outcome) -> AsyncIterator[Adapter]:
    async with open_sink() as sink, open_email(smtp_url=f"smtp://127.0.0.1:{sink.port}") as (adapter, _):
        sink.data = {"busy": "451 4.7.0 later", "forbids": "554 5.7.1 never"}.get(outcome, sink.data)
        sink.hang_up = outcome == "silent"
        yield adapter


class TestEmailContract(AdapterContract):
    def descriptor(self) -> Descriptor:
        return Descriptor(
            build=build_raw,
            genuine=genuine,
            tamper=tamper,
            security_headers=("webhook-signature", "webhook-timestamp", "webhook-id"),
            garbage=garbage,
            outbound=outbound,
            sending=sending,
            busy_after=None,
        )
