"""Callbacks over a real connection, through the guarded client: what a bad target can and cannot do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from adapters.webhook import Settings, WebhookAdapter, build
from bridge.addresses import Guard
from bridge.egress import open_client
from bridge.errors import ConfigError, Permanent, Retryable
from bridge.model import OutboundMessage
from tests.adapters.kits import open_kit
from tests.signed_requests import NOW, SIGNING
from tests.words.test_egress_guard import SPELLINGS
from tests.words.wire import Peer, Speak, Wire, serving

MESSAGE = OutboundMessage(
    delivery_id="dlv_1", kind="answer", return_address='{"to":"callback"}', text="42", created_at=NOW
)


@asynccontextmanager
async def calling(
    speak: Speak, *, guard: Guard | None = None, **settings: Any
) -> AsyncIterator[tuple[WebhookAdapter, Wire]]:
    async with (
        serving(speak) as wire,
        open_client(guard=guard or Guard(allow_private=True)) as client,
        open_kit() as kit,
    ):
        given = {"secrets": [SIGNING["standard"]], "callback": wire.url, **settings}
        yield build(Settings.model_validate(given), replace(kit, guarded_http=client)), wire


async def taken(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")


async def test_a_target_that_takes_it_is_called_once() -> None:
    async with calling(taken) as (adapter, wire):
        assert await adapter.send(MESSAGE) == "dlv_1"
        (request,) = wire.requests
        assert b"webhook-id: dlv_1\r\n" in request
        assert request.lower().count(b"\r\nuser-agent: agent-bridge/") == 1


async def test_a_private_target_without_permission_hears_nothing() -> None:
    async with calling(taken, guard=Guard()) as (adapter, wire):
        with pytest.raises(Permanent):
            await adapter.send(MESSAGE)
        assert (wire.connections, wire.requests) == (0, [])


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_this_machine_gets_a_callback(host: str) -> None:
    async with (
        serving(taken) as wire,
        open_client(guard=Guard(allow_http=True), timeout=2) as guarded,
        open_kit() as kit,
    ):
        given = {"secrets": [SIGNING["standard"]], "callback": f"http://{host}:{wire.port}/answers"}
        try:
            adapter = build(Settings.model_validate(given), replace(kit, guarded_http=guarded))
        except ConfigError:
            return  # refused before it could be dialled at all
        with pytest.raises((Permanent, Retryable)):
            await adapter.send(MESSAGE)
        assert (wire.connections, wire.requests) == (0, [])


async def test_a_target_that_never_answers_is_given_up_in_time() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.reader.read()

    async with calling(silent, callback_timeout=0.2) as (adapter, wire):
        with pytest.raises(Retryable) as caught:
            await adapter.send(MESSAGE)
        assert caught.value.ambiguous
        assert len(wire.requests) == 1


async def test_a_target_that_answers_a_byte_at_a_time_is_given_up_in_time() -> None:
    async def dripping(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 2")
        await peer.reader.read()

    async with calling(dripping, callback_timeout=0.2) as (adapter, _):
        with pytest.raises(Retryable):
            await adapter.send(MESSAGE)


async def test_a_success_counts_although_its_body_never_ends() -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        await peer.reader.read()

    async with calling(endless, callback_timeout=0.2) as (adapter, _):
        assert await adapter.send(MESSAGE) == "dlv_1"


async def test_a_flood_of_an_answer_is_cut_off() -> None:
    async def flooding(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1_000_000)

    async with calling(flooding, guard=Guard(allow_private=True, max_response_bytes=1 << 30)) as (adapter, _):
        assert await adapter.send(MESSAGE) == "dlv_1"


async def test_a_connection_cut_after_the_request_may_have_delivered_it() -> None:
    async def cutting(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with calling(cutting) as (adapter, wire):
        with pytest.raises(Retryable) as caught:
            await adapter.send(MESSAGE)
        assert caught.value.ambiguous
        assert len(wire.requests) == 1


async def test_a_redirect_to_somewhere_inside_is_not_followed() -> None:
    async def moving(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")

    async with calling(moving) as (adapter, wire):
        with pytest.raises(Retryable):
            await adapter.send(MESSAGE)
        assert len(wire.requests) == 1
