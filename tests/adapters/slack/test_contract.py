"""Slack keeps the contract of all adapters."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from adapters.slack import build
from adapters.slack.address import Address
from adapters.slack.fake import Fault, Workspace
from adapters.slack.fake.api import Api
from adapters.slack.fake.delivery import SECRET
from adapters.slack.fake.sockets import Sockets
from adapters.slack.ingress import SIGNATURE
from adapters.slack.settings import Settings
from bridge.adapter import Adapter, Kit
from bridge.egress import open_client
from bridge.model import Envelope, OutboundMessage
from bridge.signing import secret_from_text, sign
from tests.adapters.contract import AdapterContract, Descriptor, Outcome
from tests.adapters.kits import FakeClock, open_kit
from tests.adapters.slack.lab import served

FAULTS = {
    "busy": Fault("limit", after=7),
    "forbids": Fault("error", error="is_archived"),
    "silent": Fault("cut_before"),
}


def settings(api_url: str = "http://127.0.0.1:9/api/") -> Settings:
    return Settings.model_validate({"signing_secret": SECRET, "bot_token": "xoxb-test", "api_url": api_url})


def built(kit: Kit) -> Adapter:
    return build(settings(), kit)


def signed(body: bytes, now: datetime) -> Envelope:
    bare = Envelope(
        source="team", method="POST", path="/in/team", query="", headers=(), body=body, received_at=now
    )  # fmt: skip
    return sign(SIGNATURE, [secret_from_text(SIGNATURE, SECRET)], bare, now)


def event(now: datetime, user: str = "U1") -> Envelope:
    inner = {"type": "app_mention", "user": user, "text": "<@UBOT> hi", "ts": "1.2", "channel": "C1"}
    grants = [{"team_id": "T1", "user_id": "UBOT", "is_bot": True}]
    outer = {"type": "event_callback", "event_id": "Ev1", "api_app_id": "A1", "authorizations": grants, "event": inner}
    return signed(json.dumps(outer).encode(), now)


def outbound(now: datetime) -> OutboundMessage:
    address = Address(app="A1", tenant="T1", team="T1", channel="C1", user="U1")
    return OutboundMessage(
        delivery_id="dlv_1", kind="answer", return_address=address.dump(), text="hello", created_at=now
    )


@asynccontextmanager
async def sending(outcome: Outcome) -> AsyncIterator[Adapter]:
    clock = FakeClock()
    slack = Workspace(clock)
    if outcome in FAULTS:
        slack.faults.add("chat.postMessage", FAULTS[outcome])
    async with (
        served(Api(slack, Sockets(slack)).app()) as url,
        open_kit("team", clock=clock) as kit,
        open_client() as http,
    ):
        adapter = build(settings(f"{url}api/"), replace(kit, http=http))
        try:
            yield adapter
        finally:
            await adapter.close()


class TestSlackContract(AdapterContract):
    def descriptor(self) -> Descriptor:
        return Descriptor(
            build=built,
            genuine=event,
            tamper=lambda envelope: replace(envelope, body=envelope.body.replace(b"hi", b"ho")),
            security_headers=("x-slack-signature", "x-slack-request-timestamp"),
            garbage=lambda now: signed(b'{"type":"event_callback"}', now),
            own=lambda now: event(now, user="UBOT"),
            outbound=outbound,
            sending=sending,
        )
