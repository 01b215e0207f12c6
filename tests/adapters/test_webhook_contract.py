"""The contract of every adapter, for webhooks."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import httpx2

from adapters.webhook import Settings, build
from bridge.adapter import Adapter, Kit
from bridge.model import Envelope, OutboundMessage
from tests.adapters.contract import AdapterContract, Descriptor, Outcome
from tests.adapters.kits import open_kit
from tests.signed_requests import SIGNING, envelope, signed

SETTINGS = Settings.model_validate({"secrets": [SIGNING["standard"]], "callback": "https://orders.example.com/answers"})


def answer_of(outcome: Outcome, request: httpx2.Request) -> httpx2.Response:
    match outcome:
        case "accepts":
            return httpx2.Response(200, text="thanks")
        case "busy":
            return httpx2.Response(429, headers={"retry-after": "7"})
        case "forbids":
            return httpx2.Response(403)
        case "silent":
            raise httpx2.ReadTimeout("no answer", request=request)


@asynccontextmanager
async def sending(outcome: Outcome) -> AsyncIterator[Adapter]:
    async with open_kit(wire=lambda request: answer_of(outcome, request)) as kit:
        yield build(SETTINGS, kit)


def webhook(kit: Kit) -> Adapter:
    return build(SETTINGS, kit)


def genuine(now: datetime) -> Envelope:
    request = envelope(b'{"text":"hello","conversation":"order-7"}', ("webhook-id", "msg_1"), at=now)
    return signed("standard", request, now)


def garbage(now: datetime) -> Envelope:
    return signed("standard", envelope(b"\xff{nonsense", ("webhook-id", "msg_2"), at=now), now)


def outbound(now: datetime) -> OutboundMessage:
    return OutboundMessage(
        delivery_id="dlv_1",
        kind="answer",
        return_address=json.dumps({"to": "callback"}),
        text="42",
        status="completed",
        created_at=now,
    )


class TestWebhookContract(AdapterContract):
    def descriptor(self) -> Descriptor:
        return Descriptor(
            build=webhook,
            genuine=genuine,
            tamper=lambda request: replace(request, body=request.body + b" "),
            security_headers=("webhook-signature", "webhook-timestamp", "webhook-id"),
            garbage=garbage,
            outbound=outbound,
            sending=sending,
        )
