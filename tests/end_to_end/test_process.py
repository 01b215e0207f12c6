"""The real command in a process of its own: over the wire, with a full disk, told to stop."""

import asyncio
import json
import resource
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.end_to_end.parties import PATIENCE_SECONDS, Sink, post, request, signed, write_config
from tests.end_to_end.serving import Served, free_port, run_command, serving


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(tmp_path: Path, sink: Sink, port: int) -> Path:
    return write_config(tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback=sink.url, port=port)


@pytest.fixture
async def served(config: Path, port: int) -> AsyncIterator[Served]:
    async with serving(config, port) as one:
        yield one


async def test_a_whole_turn_over_the_wire(served: Served, config: Path, sink: Sink) -> None:
    accepted = await post(served.http, request("hello"))
    assert accepted.status_code == 202
    (callback,) = await sink.callbacks(1)
    assert callback.opened()["result"] == "You said: hello"
    await served.settled()
    view = (await served.http.get(accepted.json()["status_url"])).json()
    assert view["state"] == "answered"
    code, books = await run_command("ledger", "--json", "--config", str(config))
    assert (code, books["accepted"], books["answered"], books["balanced"]) == (0, 1, 1, True)


async def test_a_chunked_body_over_the_limit_is_refused_over_the_wire(served: Served) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(65_536)

    with_status: list[int] = []
    with suppress(httpx2.TransportError):  # the server may close the connection while the rest is still on its way
        with_status.append((await served.http.post("/in/orders", content=chunks())).status_code)
    assert with_status in ([413], [])
    assert (await post(served.http, request("hello"))).status_code == 202


async def test_what_is_no_http_at_all_is_answered_and_forgotten(served: Served, port: int) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /private HTTP/9.9\r\nhost: private\r\n\r\n",
        b"GET /private HTTP/1.1\r\nho st: private\r\n\r\n",
        b"CONNECT private:443 HTTP/1.1\r\nhost: private\r\n\r\n",
        b"POST /in/orders HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /in/orders HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nprivate\r\n",
        b"private\x00" * 10_000,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(nonsense)
        answer = await asyncio.wait_for(reader.read(), 30)  # to its end: the server closes
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == 1
        assert b"content-type: application/problem+json" in answer
        assert b"private" not in answer
        writer.close()
        await writer.wait_closed()
    assert (await post(served.http, request("hello"))).status_code == 202


@pytest.mark.parametrize("wish", ["h2c", "websocket"])
async def test_a_wish_for_another_protocol_takes_no_body_away(served: Served, port: int, wish: str) -> None:
    """Java's own client sends one with each request, and curl does if it is told to."""
    _, writer = connection = await asyncio.open_connection("127.0.0.1", port)
    for sent in (request("hello"), request("and again")):
        headers = {"host": "x", "connection": "Upgrade, HTTP2-Settings", "upgrade": wish, "http2-settings": "AAEAAEAA"}
        told = {**sent.headers, **headers} | {"content-length": str(len(sent.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"POST /in/orders HTTP/1.1\r\n{head}\r\n".encode() + sent.body)
        answer = await asyncio.wait_for(connection[0].readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        assert answer.startswith(b"HTTP/1.1 202 ")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await connection[0].readexactly(int(length.partition(b":")[2]))
    writer.close()
    await writer.wait_closed()
    assert (await served.settled())["accepted"] == 2


async def test_half_a_request_starts_nothing(served: Served, port: int) -> None:
    sent = request("hello")
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
    writer.write(f"POST /in/orders HTTP/1.1\r\nhost: x\r\n{head}content-length: {len(sent.body)}\r\n\r\n".encode())
    writer.write(sent.body[:-1])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await post(served.http, request("another"))).status_code == 202
    books = await served.settled()
    assert books["accepted"] == 1


def hurry(config: Path) -> None:
    """A request has to arrive within a second."""
    config.write_text(config.read_text().replace("[bridge]", '[bridge]\nmax_arrival = "1s"', 1))


@pytest.mark.parametrize("part", ["nothing", "half a head", "a head and half a body", "a second request"])
async def test_who_sends_byte_by_byte_is_cut_off_and_others_are_not(config: Path, port: int, part: str) -> None:
    hurry(config)
    body = request("hello").body
    head = f"POST /in/orders HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    sent = {
        "nothing": b"",
        "half a head": head.encode(),
        "a head and half a body": f"{head}\r\n".encode() + body[:5],
        "a second request": f"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n{head}".encode(),
    }[part]
    async with serving(config, port) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert (await post(served.http, request("another"))).status_code == 202
        answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)  # to its end: the server closes
        writer.close()
        await writer.wait_closed()
        assert answer.count(b"HTTP/1.1 408 ") == 1
        assert b" 400 " not in answer
        assert (await served.settled())["accepted"] == 1


@pytest.mark.parametrize("part", ["one header", "many headers", "what follows a body"])
async def test_a_head_without_end_is_cut_off_and_nothing_of_it_is_kept(config: Path, port: int, part: str) -> None:
    chunked = "POST /in/orders HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    begin, more = {
        "one header": ("GET /healthz HTTP/1.1\r\nhost: x\r\nx: ", "a" * 1024),
        "many headers": ("GET /healthz HTTP/1.1\r\nhost: x\r\n", f"x: {'a' * 1000}\r\n"),
        "what follows a body": (chunked, f"x: {'a' * 1000}\r\n"),
    }[part]
    async with serving(config, port) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begin.encode())
        for _ in range(400):
            writer.write(more.encode())
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)  # to its end: the server closes
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 431
        long = "a" * 40_000
        assert (await served.http.get("/healthz", headers={"x-long": long})).status_code == 200


async def test_a_caller_who_waits_longer_than_requests_may_take_is_not_cut_off(config: Path, port: int) -> None:
    hurry(config)
    async with serving(config, port) as served:
        sent = request("sleep 3")
        response = await served.http.post(
            "/in/orders", content=sent.body, headers={**sent.headers, "prefer": "wait=20"}
        )
        assert (response.status_code, response.json()["result"]) == (200, "You said: sleep 3")


async def test_a_caller_who_waits_is_told_at_the_stop_where_to_ask_later(
    served: Served, config: Path, port: int, sink: Sink
) -> None:
    sent = request("sleep 5")
    waiting = asyncio.create_task(
        served.http.post("/in/orders", content=sent.body, headers={**sent.headers, "prefer": "wait=20"})
    )
    await served.books(lambda books: books["in_flight"] == 1)
    served.send_signal(signal.SIGTERM)
    response = await waiting
    assert response.status_code == 202, response.text
    assert await asyncio.wait_for(served.process.wait(), 10) == 0
    async with serving(config, port) as again:
        await sink.callbacks(1)
        view = (await again.http.get(response.json()["status_url"])).json()
        assert view["result"] == "You said: sleep 5"


async def test_a_full_disk_is_told_and_stores_nothing_half(served: Served, sink: Sink) -> None:
    assert (await post(served.http, request("before"))).status_code == 202
    await sink.callbacks(1)
    await served.settled()
    filled = [request(f"while full {number}", conversation=f"c{number}") for number in range(5)]
    _, hard = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (1024, hard))  # no file grows beyond one KiB
    for sent in filled:
        refused = await post(served.http, sent)
        assert refused.status_code == 503, refused.text
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) > 0
    assert (await served.ledger())["accepted"] == 1
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    for sent in filled:
        assert (await post(served.http, sent)).status_code == 202
    await sink.callbacks(6)
    books = await served.settled()
    assert (books["accepted"], books["answered"], books["balanced"]) == (6, 6, True)
    assert len(sink.received) == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_lets_go_of_running_turns_within_ten_seconds(
    served: Served, config: Path, sink: Sink, number: signal.Signals
) -> None:
    for text in ("sleep 30", "after it"):
        assert (await post(served.http, request(text, conversation="order-7"))).status_code == 202
    await served.books(lambda books: books["in_flight"] == 2)
    begun = time.monotonic()
    served.send_signal(number)
    assert await asyncio.wait_for(served.process.wait(), 10) == 0, served.log.read_text()
    assert time.monotonic() - begun < 10
    code, books = await run_command("ledger", "--json", "--config", str(config))
    assert (code, books["accepted"], books["in_flight"], books["balanced"]) == (0, 2, 2, True)
    assert sink.received == []


async def test_an_open_idle_connection_does_not_hold_up_the_stop(served: Served, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /in/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")
    await writer.drain()
    served.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(served.process.wait(), 10) == 0, served.log.read_text()
    writer.close()
    await writer.wait_closed()


async def test_a_second_process_on_the_same_file_says_so_and_leaves(served: Served, tmp_path: Path, sink: Sink) -> None:
    config = write_config(
        tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback=sink.url, port=free_port(), name="second"
    )
    with pytest.raises(AssertionError, match="in use by another process"):
        async with serving(config, 1):
            raise RuntimeError("two processes serve one file")
    assert (await post(served.http, signed(b'{"text": "hello"}'))).status_code == 202
