"""What peers do to a connection, beyond plain answers; through the client, as callers meet it."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from bridge.egress import NEVER_SENT, open_client
from tests.words.wire import Peer, Speak, serving


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with open_client(timeout=2) as client:
        yield client


def saying(*texts: bytes, close: bool = True) -> Speak:
    """Answer the first request of each connection with these bytes, one write each."""

    async def speak(peer: Peer) -> None:
        await peer.request()
        for text in texts:
            await peer.say(text)
            await asyncio.sleep(0.01)
        if not close:
            await asyncio.sleep(60)

    return speak


@pytest.mark.parametrize(
    ("texts", "body"),
    [
        ((b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), b"ok"),
        ((b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",), b"ok"),
        ((b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"it closes"), b"until it closes"),
        ((b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nold",), b"old"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), b""),
        ((b"H", b"TTP/1.1 200 O", b"K\r\nContent-Le", b"ngth: 2\r", b"\n\r\no", b"k"), b"ok"),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\no\r\n",
                b"1\r\nk\r\n0\r\nX-Late: 1\r\n\r\n",
            ),
            b"ok",
        ),
    ],
)
async def test_every_framing_of_an_answer_is_read(
    client: httpx2.AsyncClient, texts: tuple[bytes, ...], body: bytes
) -> None:
    async with serving(saying(*texts)) as wire:
        response = await client.post(wire.url, content=b"x")
    assert (response.status_code, response.content) == (200, body)
    assert not {"x-early", "x-late"} & response.headers.keys()


async def test_the_answer_to_a_head_has_no_body_whatever_it_announces(client: httpx2.AsyncClient) -> None:
    async with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", close=False)) as wire:
        response = await client.head(wire.url)
        assert (response.headers["content-length"], response.content) == ("100", b"")
        assert (await client.head(wire.url)).status_code == 200
    assert wire.connections == 2


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 600_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        b"\0" * 100,
    ],
)
async def test_what_is_no_answer_is_a_protocol_error_and_the_request_counts_as_sent(
    client: httpx2.AsyncClient, text: bytes
) -> None:
    async with serving(saying(text)) as wire:
        with pytest.raises(httpx2.RemoteProtocolError) as caught:
            await client.post(wire.url, content=b"x")
    assert not isinstance(caught.value, NEVER_SENT)
    assert wire.connections == 1


async def test_what_follows_an_answer_is_never_taken_for_the_next_one(client: httpx2.AsyncClient) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    async with serving(saying(answer + b"ok" + answer + b"no", close=False)) as wire:
        assert (await client.post(wire.url, content=b"1")).text == "ok"
        assert (await client.post(wire.url, content=b"2")).text == "ok"
    assert wire.connections == 2


async def test_what_comes_before_it_is_asked_for_is_never_taken_for_an_answer(client: httpx2.AsyncClient) -> None:
    async def speak(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await asyncio.sleep(0.05)
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.sleep(60)

    async with serving(speak) as wire:
        for _ in range(2):
            assert (await client.post(wire.url, content=b"x")).text == "ok"
            await asyncio.sleep(0.1)
    assert wire.connections == 2


def once_then_dead(*, dies: bytes) -> Speak:
    """A server that closes its connections when a second request comes, without an answer."""

    async def speak(peer: Peer) -> None:
        for number in range(2):
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" if not number else dies)

    return speak


@pytest.mark.parametrize("dies", [b"", b"HTTP/1.1 200"])
async def test_only_what_may_be_repeated_is_asked_again_where_an_idle_connection_was_dead(
    client: httpx2.AsyncClient, dies: bytes
) -> None:
    async with serving(once_then_dead(dies=dies)) as wire:
        await client.get(wire.url)
        assert (await client.get(wire.url)).text == "ok"
        assert wire.connections == 2
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await client.post(wire.url, content=b"x")
    assert sum(request.startswith(b"POST") for request in wire.requests) == 1


async def test_an_answer_that_comes_before_the_whole_body_ends_the_sending(client: httpx2.AsyncClient) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(60)

    async with serving(refuse) as wire:
        response = await client.post(wire.url, content=b"x" * 50_000_000)
    assert response.status_code == 413


async def test_a_word_in_between_does_not_end_the_sending(client: httpx2.AsyncClient) -> None:
    async def speak(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 102 Processing\r\n\r\n")
        assert await peer.reader.readexactly(3_000_000) == b"x" * 3_000_000
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(speak) as wire:
        assert (await client.post(wire.url, content=b"x" * 3_000_000)).text == "ok"


async def test_an_answer_nobody_reads_does_not_fill_the_memory(client: httpx2.AsyncClient) -> None:
    said = 0

    async def flood(peer: Peer) -> None:
        nonlocal said
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            await peer.say(b"x" * 100_000)
            said += 100_000

    async with serving(flood) as wire:
        async with client.stream("GET", wire.url) as response:
            await asyncio.sleep(0.3)
            assert said < 20_000_000
            read = 0
            async for chunk in response.aiter_raw():
                read += len(chunk)
        assert read == 100_000_000


async def test_an_idle_connection_is_closed_by_us_before_the_peer_does(client: httpx2.AsyncClient) -> None:
    closed = asyncio.Event()

    async def speak(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert await peer.reader.read() == b""
        closed.set()

    async with serving(speak) as wire:
        await client.get(wire.url)
        async with asyncio.timeout(15):
            await closed.wait()
