"""Socket Mode: stored, then acknowledged; a dead socket is replaced."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Literal

import pytest

from adapters.slack.connected import ConnectedSlack
from adapters.slack.fake import Fault
from bridge.adapter import Connects
from bridge.errors import StoreUnavailable
from bridge.model import Envelope, Received
from tests.adapters.slack.lab import Lab, until


class Store:
    """Takes what arrives, or says that it cannot."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.down = False
        self.begun = 0
        self.may = asyncio.Event()
        self.may.set()
        self.envelopes: list[Envelope] = []

    async def accept(self, received: Received, envelope: Envelope) -> None:
        self.begun += 1
        await self.may.wait()
        if self.down:
            raise StoreUnavailable("the disk is full")
        self.envelopes.append(envelope)
        for message in received.messages or ():
            self._lab.take(message)


@pytest.fixture
async def store(lab: Lab, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    adapter = lab.configured(app_token="xapp-test")
    assert isinstance(adapter, ConnectedSlack)
    adapter.ping_seconds = getattr(request, "param", adapter.ping_seconds)
    store = Store(lab)
    running = asyncio.create_task(adapter.run(store.accept))
    await lab.sockets.connected(2)
    yield store
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def mention(text: str = "hi", number: int = 1) -> dict[str, Any]:
    event = {"type": "app_mention", "user": "U1", "text": f"<@UBOT> {text}", "ts": f"{number}.0", "channel": "C1"}
    grants = [{"team_id": "T1", "user_id": "UBOT", "is_bot": True}]
    return {"type": "event_callback", "event_id": f"Ev{number}", "api_app_id": "A1", "team_id": "T1",
            "authorizations": grants, "event": event}  # fmt: skip


async def test_an_event_is_stored_and_then_acknowledged(lab: Lab, store: Store) -> None:
    ack = await lab.sockets.send("events_api", mention())

    assert ack is not None
    assert [message.text for message in lab.got] == ["hi"]
    assert b"app_mention" in store.envelopes[0].body


async def test_what_cannot_be_stored_is_not_acknowledged_and_taken_when_it_comes_again(lab: Lab, store: Store) -> None:
    lab.sockets.patience = 0.05
    store.down = True
    assert await lab.sockets.send("events_api", mention()) is None

    store.down = False
    assert await lab.sockets.send("events_api", mention(), attempt=1) is not None
    assert len(lab.got) == 1


async def test_a_command_is_answered_with_the_acknowledgement(lab: Lab, store: Store) -> None:
    assert not store.down
    form = {"command": "/agent", "text": "", "user_id": "U1", "channel_id": "C1", "team_id": "T1", "api_app_id": "A1"}
    ack = await lab.sockets.send("slash_commands", form)

    assert ack is not None
    assert "after /agent" in ack["payload"]["text"]


async def test_a_button_comes_over_the_socket(lab: Lab, store: Store) -> None:
    assert not store.down
    assert await lab.sockets.send("interactive", {"type": "view_closed"}) is not None


@pytest.mark.parametrize(
    "payload", [{}, {"type": "event_callback"}, {"type": "event_callback", "event": 1, "event_id": "E"}]
)
async def test_what_cannot_be_read_is_acknowledged(lab: Lab, store: Store, payload: dict[str, Any]) -> None:
    assert await lab.sockets.send("events_api", payload) is not None
    assert store.envelopes == []


async def test_a_socket_that_slack_renews_is_replaced(lab: Lab, store: Store) -> None:
    await lab.sockets.disconnect()
    await until(lambda: lab.slack.calls["apps.connections.open"] == 3)
    await lab.sockets.connected(2)

    assert await lab.sockets.send("events_api", mention()) is not None
    assert len(store.envelopes) == 1


async def test_a_socket_on_which_nothing_happens_stays_open(lab: Lab, store: Store) -> None:
    adapter = lab.adapter
    assert isinstance(adapter, ConnectedSlack)
    adapter.ping_seconds = 0.05
    await lab.sockets.send("events_api", mention())  # from here on the shorter silence counts
    await asyncio.sleep(0.3)

    assert lab.slack.calls["apps.connections.open"] == 2
    assert await lab.sockets.send("events_api", mention("again", number=2)) is not None
    assert len(store.envelopes) == 2


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that opens a WebSocket and then neither sends nor answers anything."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(":")[1].strip() for line in head.splitlines() if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()  # noqa: S324 - RFC 6455, 1.3
    upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
    writer.write(f"{upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    await reader.read()
    writer.close()


async def test_a_socket_that_looks_open_but_is_dead_is_replaced(lab: Lab, store: Store) -> None:
    assert not store.down
    adapter, alive = lab.adapter, lab.slack.url
    assert isinstance(adapter, ConnectedSlack)
    adapter.ping_seconds = 0.2
    server = await asyncio.start_server(deaf, "127.0.0.1")
    async with server:
        lab.slack.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await lab.sockets.disconnect()
        await until(lambda: lab.slack.calls["apps.connections.open"] == 3)
        lab.slack.url = alive

        def replaced() -> bool:
            lab.clock.advance(10)
            return lab.slack.calls["apps.connections.open"] == 4

        await until(replaced)
        await lab.sockets.connected(2)


async def test_a_socket_that_is_refused_is_asked_for_again_after_a_while(lab: Lab, store: Store) -> None:
    assert not store.down
    lab.slack.faults.add("apps.connections.open", Fault("limit", after=30), Fault("error", error="internal_error"))
    await lab.sockets.disconnect()

    def tried() -> bool:
        lab.clock.advance(10)
        return lab.slack.calls["apps.connections.open"] == 5

    await until(tried)
    await lab.sockets.connected(2)


async def test_an_address_where_nobody_is_is_asked_for_again(lab: Lab, store: Store) -> None:
    assert not store.down
    adapter, alive = lab.adapter, lab.slack.url
    assert isinstance(adapter, ConnectedSlack)
    adapter.ping_seconds = 0.1
    lab.slack.url = "http://127.0.0.1:9/"
    await lab.sockets.disconnect()
    await until(lambda: lab.slack.calls["apps.connections.open"] == 3)
    await asyncio.sleep(0.05)
    lab.slack.url = alive

    def tried() -> bool:
        lab.clock.advance(10)
        return lab.slack.calls["apps.connections.open"] == 4

    await until(tried)
    await lab.sockets.connected(2)
    assert await lab.sockets.send("events_api", mention()) is not None


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("store", [0.5], indirect=True)
async def test_however_often_both_sockets_go_at_once_they_come_back(
    lab: Lab, store: Store, how: Literal["close", "abort"]
) -> None:
    for round_ in range(3):
        await lab.sockets.drop(how)
        await asyncio.wait_for(lab.sockets.connected(2), 10)
        assert await lab.sockets.send("events_api", mention(number=round_)) is not None

    assert len(store.envelopes) == 3


async def test_what_is_being_stored_when_slack_renews_the_socket_is_acknowledged_on_it(lab: Lab, store: Store) -> None:
    store.may.clear()
    sending = asyncio.create_task(lab.sockets.send("events_api", mention()))
    await until(lambda: store.begun == 1)
    await lab.sockets.disconnect()
    await asyncio.sleep(0.02)
    store.may.set()

    assert await sending is not None
    await until(lambda: lab.slack.calls["apps.connections.open"] == 3)


async def test_a_slow_store_holds_up_no_other_envelope(lab: Lab, store: Store) -> None:
    store.may.clear()
    sending = [asyncio.create_task(lab.sockets.send("events_api", mention(str(n), number=n))) for n in range(15)]
    await until(lambda: store.begun == 15)
    store.may.set()

    assert None not in await asyncio.gather(*sending)
    assert [message.text for message in lab.got] == [str(n) for n in range(15)]


async def test_what_no_database_takes_is_marked(lab: Lab, store: Store) -> None:
    assert await lab.sockets.send("events_api", mention("a\0b", number=3)) is not None
    assert [message.text for message in lab.got] == ["a\ufffdb"]
    assert not store.down


def test_only_a_source_with_sockets_or_workspaces_runs_by_itself(lab: Lab) -> None:
    assert not isinstance(lab.configured(), Connects)
    assert isinstance(lab.configured(app_token="xapp-test"), Connects)
