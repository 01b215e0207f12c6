"""What of Bolt is not used, and why: each test shows what it would cost."""

import asyncio
import time
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltRequest
from slack_sdk.errors import SlackTokenRotationError
from slack_sdk.oauth.installation_store import Bot
from slack_sdk.oauth.token_rotation.async_rotator import AsyncTokenRotator

from adapters.slack.fake.delivery import FORM, SECRET
from adapters.slack.fake.oauth import CLIENT_ID, CLIENT_SECRET
from tests.adapters.slack.lab import Lab, until
from tests.adapters.slack.test_fake import client


@pytest.fixture
def app(lab: Lab) -> AsyncApp:
    lab.clock.advance(time.time() - lab.clock.now().timestamp())  # Bolt reads the machine's
    return AsyncApp(signing_secret=SECRET, client=client(lab))


async def dispatched(app: AsyncApp, body: bytes, headers: dict[str, str]) -> int:
    response = await app.async_dispatch(AsyncBoltRequest(body=body.decode(), headers=dict(headers)))
    return int(response.status)


async def test_bolts_dispatch_loses_a_command_that_says_payload(lab: Lab, app: AsyncApp) -> None:
    @app.command("/agent")
    async def take(ack: AsyncAck) -> None:
        await ack()

    form = {"command": "/agent", "user_id": "U1", "channel_id": "C1", "team_id": "T1", "api_app_id": "A1"}
    plain, unlucky = (urlencode({**form, "text": text}).encode() for text in ("explain this", "explain this payload"))

    assert await dispatched(app, plain, lab.deliveries.headers(plain, FORM)) == 200
    assert await dispatched(app, unlucky, lab.deliveries.headers(unlucky, FORM)) == 404
    assert await lab.post(lab.deliveries.headers(unlucky, FORM), unlucky) == 200
    assert [message.text for message in lab.got] == ["explain this payload"]


async def test_bolts_dispatch_reads_before_it_knows_who_wrote(lab: Lab, app: AsyncApp) -> None:
    with pytest.raises(ValueError, match="Expecting"):
        await dispatched(app, b"{", {})

    assert await lab.post({}, b"{") == 401


async def test_bolt_acknowledges_what_its_listener_could_not_store(lab: Lab, app: AsyncApp) -> None:
    failed = asyncio.Event()

    @app.event("message")
    async def store() -> None:
        failed.set()
        raise OSError("the disk is full")

    body = b'{"type":"event_callback","team_id":"T1","event":{"type":"message","channel":"C1","user":"U1","ts":"1.0"}}'

    assert await dispatched(app, body, lab.deliveries.headers(body, "application/json")) == 200
    await failed.wait()


async def test_the_sdks_own_reconnection_dials_a_dead_address_for_ever(lab: Lab, app: AsyncApp) -> None:
    """Ours asks for another address instead: `test_an_address_where_nobody_is_is_asked_for_again`."""
    sockets = AsyncSocketModeHandler(app, "xapp-test", ping_interval=0.02)
    alive, lab.slack.url = lab.slack.url, "http://127.0.0.1:9/"
    connecting = asyncio.create_task(sockets.connect_async())  # type: ignore[no-untyped-call]  # Bolt's
    await until(lambda: lab.slack.calls["apps.connections.open"] == 1)
    await asyncio.sleep(0.1)
    lab.slack.url = alive
    await asyncio.sleep(0.2)

    assert (connecting.done(), lab.slack.calls["apps.connections.open"]) == (False, 1)
    await sockets.close_async()  # type: ignore[no-untyped-call]
    connecting.cancel()
    with suppress(asyncio.CancelledError):
        await connecting


async def test_of_two_that_rotate_a_token_with_the_sdk_one_is_left_without(lab: Lab) -> None:
    """Ours both go on with the same token: `test_of_two_nodes_that_rotate_both_go_on_with_the_same_token`."""
    grant = lab.slack.tokens["xoxb-test"]
    lab.slack.refreshes["xoxe-1"] = grant
    bot = Bot(bot_token="xoxb-test", bot_id="B1", bot_user_id="UBOT", bot_refresh_token="xoxe-1",
              bot_token_expires_in=60, installed_at=0.0)  # fmt: skip
    one, two = (
        AsyncTokenRotator(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, client=client(lab)) for _ in range(2)
    )

    assert await one.perform_bot_token_rotation(bot=bot) is not None
    with pytest.raises(SlackTokenRotationError):
        await two.perform_bot_token_rotation(bot=bot)
