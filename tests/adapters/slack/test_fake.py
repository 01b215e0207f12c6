"""The fake Slack is worth its name: a foreign framework works against it, and it refuses what Slack refuses."""

import json
import time
from collections.abc import Mapping

import pytest
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.fake import People, Workspace
from adapters.slack.fake.delivery import SECRET, Deliveries
from tests.adapters.slack.lab import Lab


def client(lab: Lab) -> AsyncWebClient:
    return AsyncWebClient("xoxb-test", base_url=f"{lab.slack.url}api/", retry_handlers=[])


async def test_a_bolt_app_takes_it_for_slack(lab: Lab) -> None:
    lab.clock.advance(time.time() - lab.clock.now().timestamp())  # Bolt reads the machine's
    app = AsyncApp(signing_secret=SECRET, client=client(lab), process_before_response=True)

    @app.event("app_mention")
    async def answer(event: dict[str, str]) -> None:
        await app.client.chat_postMessage(channel=event["channel"], thread_ts=event["ts"], text="from Bolt")

    @app.event("message")
    async def nothing() -> None: ...

    async def post(headers: Mapping[str, str], body: bytes) -> int:
        response = await app.async_dispatch(AsyncBoltRequest(body=body.decode(), headers=dict(headers)))
        return int(response.status)

    deliveries = Deliveries(lab.slack, post)
    ts = lab.people.say("<@UBOT> hi")
    await deliveries.pump()

    assert deliveries.statuses == [200, 200, 200]
    assert lab.slack.answers("C1", ts) == ["from Bolt"]


TOO_LONG = {"type": "markdown", "text": "x" * 12_001}


async def refusal(lab: Lab, method: str, **given: object) -> str:
    with pytest.raises(SlackApiError) as refused:
        await client(lab).api_call(method, json=given)
    return str(refused.value.response["error"])


@pytest.mark.parametrize(
    ("method", "given", "error"),
    [
        ("chat.postMessage", {"channel": "C9", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": "C1"}, "no_text"),
        ("chat.postMessage", {"channel": "C1", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ("chat.postMessage", {"channel": "C1", "blocks": [TOO_LONG]}, "msg_blocks_too_long"),
        ("chat.update", {"channel": "C1", "ts": "1.0", "text": "x"}, "message_not_found"),
        ("chat.startStream", {"channel": "C1", "thread_ts": "1.0"}, "missing_recipient_user_id"),
        ("chat.appendStream", {"channel": "C1", "ts": "1.0"}, "message_not_found"),
        ("conversations.replies", {"channel": "C1", "ts": "1.0"}, "thread_not_found"),
        ("users.info", {"user": "U9"}, "user_not_found"),
        ("files.upload2", {}, "unknown_method"),
    ],
)  # fmt: skip
async def test_what_slack_refuses_it_refuses(lab: Lab, method: str, given: dict[str, object], error: str) -> None:
    assert await refusal(lab, method, **given) == error


async def test_a_stream_ends_after_five_minutes(lab: Lab) -> None:
    slack = client(lab)
    ts = lab.people.say("hi", channel="D1")
    started = await slack.chat_startStream(channel="D1", thread_ts=ts, markdown_text="a")
    stream = str(started["ts"])

    assert await refusal(lab, "chat.update", channel="D1", ts=stream, text="x") == "streaming_state_conflict"
    lab.clock.advance(301)
    assert (
        await refusal(lab, "chat.appendStream", channel="D1", ts=stream, markdown_text="b")
        == "message_not_in_streaming_state"
    )
    assert await refusal(lab, "chat.stopStream", channel="D1", ts=stream) == "message_not_in_streaming_state"
    await slack.chat_update(channel="D1", ts=stream, text="whole")
    assert lab.slack.answers("D1", ts) == ["whole"]


async def test_a_channel_takes_a_post_a_second_after_a_burst(lab: Lab) -> None:
    lab.slack.limits.on = True
    slack = client(lab)
    for _ in range(5):
        await slack.chat_postMessage(channel="C1", text="x")

    with pytest.raises(SlackApiError) as refused:
        await slack.chat_postMessage(channel="C1", text="x")
    await slack.chat_postMessage(channel="C2", text="x")

    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (429, "1")


async def test_deliveries_come_again_at_once_after_a_minute_and_after_five_and_then_no_more(lab: Lab) -> None:
    lab.refuse = 100
    at = lab.clock.now()
    seen = []

    async def refuse(headers: Mapping[str, str], body: bytes) -> int:
        assert json.loads(body)["event_id"]
        seen.append(((lab.clock.now() - at).total_seconds(), headers.get("x-slack-retry-num")))
        return 503

    deliveries = Deliveries(lab.slack, refuse)
    lab.people.say("hello", channel="D1")
    for _ in range(60):
        await deliveries.pump()
        lab.clock.advance(10)

    assert seen == [(0, None), (0, "1"), (60, "2"), (360, "3")]
    assert len(deliveries.lost) == 1


async def test_one_that_starts_anew_says_nothing_twice(lab: Lab) -> None:
    ids = []

    async def post(_: Mapping[str, str], body: bytes) -> int:
        ids.append(json.loads(body)["event_id"])
        return 200

    for _ in range(2):
        slack = Workspace(lab.clock)
        deliveries = Deliveries(slack, post)
        People(slack, deliveries).say("hi", channel="D1")
        await deliveries.pump()
        lab.clock.advance(1)

    assert len({*ids}) == 2
