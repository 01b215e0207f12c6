"""Handshakes: who asks whether the address is ours gets its answer, and nobody gets anything else."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.webhook import Settings, build
from bridge.errors import Malformed, ReceiveError, Unverified
from bridge.model import Received, Reply
from tests.adapters.kits import open_kit
from tests.signed_requests import VERIFYING, envelope, signed

SECRET = "correct horse battery staple"


async def received(preset: str, request: Any, **settings: Any) -> Received:
    given = {"scheme": preset, "secrets": [VERIFYING.get(preset, SECRET)], **settings}
    async with open_kit() as kit:
        return await build(Settings.model_validate(given), kit).receive(request)


async def reply_to(preset: str, request: Any, **settings: Any) -> Reply:
    result = await received(preset, request, **settings)
    assert result.messages == ()
    assert result.reply is not None
    return result.reply


def body(content: object) -> Any:
    return envelope(json.dumps(content).encode())


async def test_slack_gets_its_challenge_back() -> None:
    reply = await reply_to("slack", signed("slack", body({"type": "url_verification", "challenge": "3eZbrw1a"})))
    assert (reply.status, reply.body) == (200, b"3eZbrw1a")


async def test_zoom_gets_the_mac_of_its_token() -> None:
    asked = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    reply = await reply_to("zoom", signed("zoom", body(asked)))
    mac = hmac.new(SECRET.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert json.loads(reply.body) == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": mac}


async def test_discord_gets_its_pong_and_its_silence() -> None:
    assert json.loads((await reply_to("discord", signed("discord", body({"type": 1, "id": "1"})))).body) == {"type": 1}
    assert (await reply_to("discord", signed("discord", body({"type": 0, "id": "2"})))).status == 204
    message = await received("discord", signed("discord", body({"type": 1, "id": "3", "event": {}, "text": "x"})))
    assert message.messages


@pytest.mark.parametrize(
    ("preset", "asked"),
    [
        ("slack", {"type": "url_verification", "challenge": "x"}),
        ("zoom", {"event": "endpoint.url_validation", "payload": {"plainToken": "x"}}),
        ("discord", {"type": 1}),
    ],
)
async def test_a_handshake_that_is_signed_wrongly_is_refused(preset: str, asked: object) -> None:
    request = signed(preset, body(asked))
    with pytest.raises(Unverified):
        await received(preset, replace(request, body=request.body + b" "))
    with pytest.raises(Unverified):
        await received(preset, body(asked))


async def test_meta_gets_its_challenge_for_the_right_token() -> None:
    asked = replace(
        envelope(b"", method="GET"), query="hub.mode=subscribe&hub.challenge=115&hub.verify_token=let-me-in"
    )
    reply = await reply_to("meta", asked, challenge_token="let-me-in")
    assert (reply.body, reply.media_type) == (b"115", "text/plain")
    for query in (
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong",
        "hub.mode=subscribe&hub.challenge=1",
        "",
    ):
        with pytest.raises(Unverified):
            await received("meta", replace(asked, query=query), challenge_token="let-me-in")


async def test_x_gets_the_mac_of_its_token_but_of_nothing_that_could_be_a_body() -> None:
    asked = replace(envelope(b"", method="GET"), query="crc_token=abc_123-Z&nonce=1")
    reply = await reply_to("twitter", asked)
    mac = base64.b64encode(hmac.new(SECRET.encode(), b"abc_123-Z", hashlib.sha256).digest()).decode()
    assert json.loads(reply.body) == {"response_token": f"sha256={mac}"}
    for query in ("crc_token=%7B%22text%22%3A1%7D", "crc_token=", "", "crc_token=" + "a" * 129):
        with pytest.raises(Malformed):
            await received("twitter", replace(asked, query=query))


async def test_cloud_events_senders_are_allowed_by_name() -> None:
    asked = envelope(b"", ("webhook-request-origin", "Events.example.com"), method="OPTIONS")
    reply = await reply_to("standard", asked, challenge="cloudevents", allowed_origins=["events.example.com"])
    assert ("WebHook-Allowed-Origin", "Events.example.com") in reply.headers
    assert (await reply_to("standard", asked, challenge="cloudevents", allowed_origins=["*"])).status == 200
    with pytest.raises(Unverified):
        await received("standard", asked, challenge="cloudevents")
    with pytest.raises(Malformed):
        await received("standard", envelope(b"", method="OPTIONS"), challenge="cloudevents", allowed_origins=["*"])


@pytest.mark.parametrize(
    ("preset", "method"), [("standard", "GET"), ("meta", "OPTIONS"), ("twitter", "PUT"), ("github", "DELETE")]
)
async def test_other_methods_are_refused(preset: str, method: str) -> None:
    with pytest.raises(ReceiveError):
        await received(preset, envelope(b"", method=method), challenge_token="let-me-in")


async def test_the_methods_follow_from_the_handshake() -> None:
    async with open_kit() as kit:
        for preset, methods in (("meta", {"GET", "POST"}), ("twitter", {"GET", "POST"}), ("slack", {"POST"})):
            settings = {"scheme": preset, "secrets": [SECRET], "challenge_token": "let-me-in"}
            assert build(Settings.model_validate(settings), kit).methods == methods
