"""The answer on its way out: what is posted, how it is signed, and what each answer of the target means."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from adapters.webhook import Settings, WebhookAdapter, build
from bridge.errors import Denied, Permanent, Retryable
from bridge.model import FileRef, OutboundMessage
from bridge.signing import verify
from tests.adapters.kits import FakeClock, open_kit
from tests.signed_requests import NOW, SIGNING, envelope, scheme_of, verifying_secret

CALLBACK = "https://orders.example.com/agent-replies"
OLD = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQ="


class Sink:
    """The callback's target: remembers what came and answers what it is told to."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response] | httpx2.Response) -> None:
        self._answer = answer
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self._answer(request) if callable(self._answer) else self._answer

    @property
    def document(self) -> Any:
        return json.loads(self.requests[-1].content)


@asynccontextmanager
async def sending(
    answer: Callable[[httpx2.Request], httpx2.Response] | httpx2.Response | None = None,
    *,
    clock: FakeClock | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[WebhookAdapter, Sink]]:
    sink = Sink(answer or httpx2.Response(204))
    given = {"secrets": [SIGNING["standard"]], "callback": CALLBACK, **settings}
    async with open_kit(wire=sink, clock=clock) as kit:
        yield build(Settings.model_validate(given), kit), sink


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


async def test_the_body_is_what_the_contract_says() -> None:
    file = FileRef(url="file:fil_1", name="a.csv", media_type="text/csv", size=3)
    async with sending() as (adapter, sink):
        assert await adapter.send(outbound(files=(file,))) == "dlv_1"
    assert str(sink.requests[0].url) == CALLBACK
    assert sink.document == {
        "type": "task.completed",
        "timestamp": "2026-11-22T12:00:00Z",
        "data": {
            "message_id": "msg_1",
            "conversation_id": "cnv_1",
            "conversation": "order-7",
            "task_id": "task-1",
            "status": "completed",
            "result": "42",
            "files": [
                {
                    "url": "https://bridge.example.com/files/fil_1-7/a.csv",
                    "name": "a.csv",
                    "media_type": "text/csv",
                    "size": 3,
                }
            ],
            "metadata": {"order": 7},
        },
    }


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("answer", "completed", "task.completed"),
        ("answer", "failed", "task.failed"),
        ("answer", "error", "task.failed"),
        ("answer", "stopped", "task.failed"),
        ("error", "", "task.failed"),
        ("notice", "paused", "task.paused"),
        ("answer", "paused", "task.paused"),
        ("notice", "", "task.notice"),
    ],
)
async def test_the_type_follows_what_became_of_the_task(kind: str, status: str, expected: str) -> None:
    async with sending() as (adapter, sink):
        await adapter.send(outbound(kind=kind, status=status))
    assert sink.document["type"] == expected


async def test_an_answer_to_several_messages_names_them_all() -> None:
    async with sending() as (adapter, sink):
        await adapter.send(outbound(message_ids=("msg_1", "msg_2")))
    assert sink.document["data"]["message_id"] == "msg_2"
    assert sink.document["data"]["message_ids"] == ["msg_1", "msg_2"]


@pytest.mark.parametrize("oracle", [Webhook, SvixWebhook])
async def test_the_stock_libraries_accept_it_with_every_active_secret(oracle: Any) -> None:
    clock = FakeClock(datetime.now(UTC))
    ended = {"value": SIGNING["standard"][:-4] + "AAAA", "not_after": "2020-01-01T00:00:00Z"}
    async with sending(clock=clock, secrets=[SIGNING["standard"], OLD, ended]) as (adapter, sink):
        await adapter.send(outbound(text="grüße"))
    (request,) = sink.requests
    for secret in (SIGNING["standard"], OLD):
        oracle(secret).verify(request.content, dict(request.headers))
    assert sink.document["data"]["result"] == "grüße"
    assert len(request.headers["webhook-signature"].split()) == 2


async def test_each_attempt_keeps_the_id_and_the_body_and_has_a_fresh_timestamp() -> None:
    clock = FakeClock()
    async with sending(httpx2.Response(503), clock=clock) as (adapter, sink):
        for _ in range(2):
            with pytest.raises(Retryable):
                await adapter.send(outbound())
            clock.advance(300)
    first, second = sink.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "dlv_1"
    assert first.headers["idempotency-key"] == '"dlv_1"'
    assert first.content == second.content
    stamps = [int(request.headers["webhook-timestamp"]) for request in sink.requests]
    assert stamps[1] - stamps[0] == 300
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


async def test_an_ed25519_key_signs_beside_the_shared_secret() -> None:
    async with sending(callback_secrets=[SIGNING["standard"], SIGNING["standard-v1a"]]) as (adapter, sink):
        await adapter.send(outbound())
    (request,) = sink.requests
    posted = envelope(request.content, *request.headers.items())
    for preset in ("standard", "standard-v1a"):
        assert verify(scheme_of(preset), [verifying_secret(preset)], posted, NOW).secret


async def test_a_plain_secret_signs_as_it_is_written() -> None:
    async with sending(scheme="github", secrets=["correct horse battery staple"]) as (adapter, sink):
        await adapter.send(outbound())
    (request,) = sink.requests
    scheme = scheme_of("standard", key="utf8", prefixes=())
    from_text = verifying_secret("github")  # the same text, taken literally
    assert verify(scheme, [from_text], envelope(request.content, *request.headers.items()), NOW).secret


async def test_as_a_cloud_event_the_id_is_the_deliverys() -> None:
    async with sending(callback_format="cloudevents") as (adapter, sink):
        await adapter.send(outbound())
    assert sink.requests[0].headers["content-type"] == "application/cloudevents+json"
    assert sink.document | {"data": None} == {
        "specversion": "1.0",
        "id": "dlv_1",
        "source": "https://hooks.example.com/in/acme",
        "type": "agent-bridge.task.completed",
        "subject": "cnv_1",
        "time": "2026-11-22T12:00:00Z",
        "datacontenttype": "application/json",
        "data": None,
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_success_will_do_whatever_follows_it(status: int) -> None:
    async with sending(httpx2.Response(status, content=b"x" * 200_000)) as (adapter, _):
        assert await adapter.send(outbound()) == "dlv_1"


@pytest.mark.parametrize("status", [301, 308, 400, 401, 403, 404, 410, 413, 422])
async def test_what_would_be_answered_the_same_again_is_permanent(status: int) -> None:
    async with sending(httpx2.Response(status, text="secret of the target")) as (adapter, _):
        with pytest.raises(Permanent) as caught:
            await adapter.send(outbound())
    assert str(status) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [302, 303, 307, 408, 409, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(status: int) -> None:
    moved = {"location": "https://elsewhere.example.com/"}
    async with sending(httpx2.Response(status, headers=moved)) as (adapter, sink):
        with pytest.raises(Retryable):
            await adapter.send(outbound())
    assert len(sink.requests) == 1, "redirects are not followed"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("999999999999999999", 86_400.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 22 Nov 2027 12:00:00 GMT", 86_400.0),
        ("Sun, 22 Nov 99999999999999999999 12:00:30 GMT", None),
        ("Sun, 22 Nov 2026 12:00:30 +99999999999999999999", None),
        ("soon", None),
        ("-7", None),
        ("\xb2", None),
    ],
)
async def test_retry_after_is_read_in_both_forms_and_capped(written: str, seconds: float | None) -> None:
    answer = httpx2.Response(429, headers=[(b"retry-after", written.encode("latin-1"))])
    async with sending(answer) as (adapter, _):
        with pytest.raises(Retryable) as caught:
            await adapter.send(outbound())
    assert caught.value.after == seconds


@pytest.mark.parametrize(
    ("failure", "ambiguous"),
    [
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("slow"), False),
        (httpx2.ReadTimeout("silent"), True),
        (httpx2.RemoteProtocolError("cut"), True),
        (httpx2.WriteError("reset"), True),
    ],
)
async def test_a_lost_connection_is_tried_again_and_says_if_it_may_have_arrived(
    failure: Exception,
    ambiguous: bool,  # noqa: FBT001 - a parametrised fact
) -> None:
    def fails(_request: httpx2.Request) -> httpx2.Response:
        raise failure

    async with sending(fails) as (adapter, _):
        with pytest.raises(Retryable) as caught:
            await adapter.send(outbound())
    assert caught.value.ambiguous is ambiguous


async def test_an_address_that_the_guard_refuses_is_permanent_and_not_repeated_to_anyone() -> None:
    def denies(_request: httpx2.Request) -> httpx2.Response:
        raise Denied("10.0.0.1 is a private network")

    async with sending(denies) as (adapter, _):
        with pytest.raises(Permanent) as caught:
            await adapter.send(outbound())
    assert "10.0.0.1" not in str(caught.value)


async def test_a_target_that_is_no_longer_allowed_is_permanent() -> None:
    named = json.dumps({"url": "https://a.example.com/hooks/1"})
    async with sending(callback_allow=["https://a.example.com/hooks/"]) as (adapter, sink):
        await adapter.send(outbound(return_address=named))
        assert str(sink.requests[0].url) == "https://a.example.com/hooks/1"
    async with sending() as (adapter, sink):
        with pytest.raises(Permanent):
            await adapter.send(outbound(return_address=named))
        assert not sink.requests


async def test_without_an_active_secret_nothing_goes_out() -> None:
    ended = {"value": SIGNING["standard"], "not_after": "2020-01-01T00:00:00Z"}
    async with sending(secrets=[ended]) as (adapter, sink):
        with pytest.raises(Permanent, match="secret"):
            await adapter.send(outbound())
    assert not sink.requests
