"""CloudEvents in their three modes: what they say, and what identifies them."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.webhook import Settings, build
from bridge.errors import Malformed
from bridge.model import Envelope, InboundMessage, Received
from tests.adapters.kits import open_kit
from tests.signed_requests import SIGNING, envelope, signed

SECRET = "correct horse battery staple"
EVENT: dict[str, Any] = {
    "specversion": "1.0", "id": "e1", "source": "/shop", "type": "order.placed", "data": {"text": "hello"}
}  # fmt: skip


def posted(content: object, content_type: str, *headers: tuple[str, str]) -> Envelope:
    body = json.dumps(content).encode()
    return envelope(body, ("authorization", f"Bearer {SECRET}"), *headers, content_type=content_type)


async def received(request: Envelope, **settings: Any) -> Received:
    given = {"scheme": "bearer", "secrets": [SECRET], **settings}
    async with open_kit() as kit:
        return await build(Settings.model_validate(given), kit).receive(request)


async def said(request: Envelope, **settings: Any) -> tuple[InboundMessage, ...]:
    messages = (await received(request, **settings)).messages
    assert messages is not None
    return messages


async def test_a_structured_event_says_its_data() -> None:
    (message,) = await said(posted(EVENT, "application/cloudevents+json; charset=utf-8"))
    assert (message.text, message.message_key) == ("hello", "/shop#e1")


async def test_a_mapping_sees_the_attributes_apart_from_the_data() -> None:
    table = {"text": "{{ event.type }} {{ body.text }}", "conversation": "event.source"}
    (message,) = await said(posted(EVENT, "application/cloudevents+json"), map=table)
    assert (message.text, message.conversation[0].value) == ("order.placed hello", "/shop")


@pytest.mark.parametrize(
    ("data", "text"), [(b'{"text":"from json"}', "from json"), (b"plain \x00 text", "plain \ufffd text")]
)
async def test_data_in_base64_is_read(data: bytes, text: str) -> None:
    event = {**EVENT, "data_base64": base64.b64encode(data).decode()}
    (message,) = await said(posted(event, "application/cloudevents+json"))
    assert message.text == text


async def test_a_batch_is_several_messages() -> None:
    batch = [{**EVENT, "id": f"e{n}", "data": {"text": str(n)}} for n in range(3)]
    messages = await said(posted(batch, "application/cloudevents-batch+json"))
    assert [(message.text, message.message_key) for message in messages] == [
        ("0", "/shop#e0"), ("1", "/shop#e1"), ("2", "/shop#e2")
    ]  # fmt: skip


async def test_an_empty_batch_is_answered_and_not_stored() -> None:
    result = await received(posted([], "application/cloudevents-batch+json"))
    assert result.messages == ()
    assert result.reply is not None
    assert result.reply.status == 200


BINARY = (("ce-specversion", "1.0"), ("ce-id", "e1"), ("ce-source", "/shop"), ("ce-type", "order.placed"))


async def test_a_binary_event_says_its_body() -> None:
    request = posted({"text": "hello"}, "application/json", *BINARY)
    (message,) = await said(request, map={"text": "{{ event.type }}: {{ body.text }}"})
    assert (message.text, message.message_key) == ("order.placed: hello", "/shop#e1")


async def test_headers_that_no_signature_covers_do_not_identify_a_signed_request() -> None:
    made = signed("standard", envelope(b'{"text":"hello"}', ("webhook-id", "msg_1"), *BINARY))
    settings = {"scheme": "standard", "secrets": [SIGNING["standard"]]}
    forged = replace(made, headers=tuple((n, "e2" if n == "ce-id" else v) for n, v in made.headers))
    for request in (made, forged):
        assert (await said(request, **settings))[0].message_key == "msg_1"


@pytest.mark.parametrize(
    "content",
    [
        [], 5, {}, {**EVENT, "specversion": "0.3"}, {**EVENT, "id": ""}, {**EVENT, "source": 5},
        {**EVENT, "data_base64": "!"}, {**EVENT, "data_base64": 5, "type": ""},
    ],
)  # fmt: skip
async def test_what_is_no_cloud_event_is_malformed(content: object) -> None:
    with pytest.raises(Malformed):
        await received(posted(content, "application/cloudevents+json"))


async def test_a_batch_that_is_none_or_endless_is_malformed() -> None:
    for content in (EVENT, [EVENT] * 101):
        with pytest.raises(Malformed):
            await received(posted(content, "application/cloudevents-batch+json"))
