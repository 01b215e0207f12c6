"""The default body of a webhook, the way in and the way out."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from adapters.webhook import Settings, WebhookAdapter, build
from bridge.adapter import Adapter, Kit, Reads
from bridge.model import Candidate, InboundMessage, OutboundMessage
from tests.adapters.kits import open_kit
from tests.signed_requests import NOW, SIGNING, envelope, signed

CALLBACK = "https://orders.example.com/agent-replies"


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with open_kit() as made:
        yield made


def adapter(kit: Kit, **settings: Any) -> WebhookAdapter:
    return build(Settings.model_validate({"secrets": [SIGNING["standard"]], **settings}), kit)


async def said(kit: Kit, body: object, **settings: Any) -> InboundMessage:
    request = signed("standard", envelope(json.dumps(body).encode()))
    received = await adapter(kit, **settings).receive(request)
    assert received.messages is not None
    (message,) = received.messages
    return message


def outbound(**changes: Any) -> OutboundMessage:
    given: dict[str, Any] = {
        "delivery_id": "dlv_1",
        "kind": "answer",
        "return_address": json.dumps({"to": "callback"}),
        "text": "42",
        "conversation_id": "cnv_1",
        "conversation": "order-7",
        "message_ids": ("msg_1",),
        "task_id": "task-1",
        "status": "completed",
        "metadata": {"order": 7},
        "created_at": NOW,
    }
    return OutboundMessage(**{**given, **changes})


async def test_it_is_an_adapter_that_reads_later_what_takes_long(kit: Kit) -> None:
    assert isinstance(adapter(kit), Adapter)
    assert isinstance(adapter(kit), Reads)


async def test_a_signed_body_is_a_message(kit: Kit) -> None:
    message = await said(kit, {"text": "hello", "conversation": "order-7", "user": {"id": 5, "email": "a@example.com"}})
    assert (message.text, message.author.id, message.author.email) == ("hello", "5", "a@example.com")
    assert message.conversation == (Candidate(value="order-7", matched_by="conversation"),)
    assert message.author.trust == "unverified"


async def test_without_a_conversation_the_message_is_its_own(kit: Kit) -> None:
    message = await said(kit, {"prompt": "hello"})
    assert message.conversation[0].value == message.message_key


async def test_the_answer_is_posted_as_the_stock_library_expects() -> None:
    posted: list[httpx2.Request] = []

    def sink(request: httpx2.Request) -> httpx2.Response:
        posted.append(request)
        return httpx2.Response(204)

    async with open_kit(wire=sink) as kit:
        assert await adapter(kit, callback=CALLBACK).send(outbound()) == "dlv_1"
    (request,) = posted
    assert str(request.url) == CALLBACK
    assert request.headers["webhook-id"] == "dlv_1"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert json.loads(request.content)["data"]["result"] == "42"
