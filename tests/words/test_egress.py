"""The client against real sockets: what is sent, what comes back, and what each failure is called."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge.egress import NEVER_SENT, Guard, ResponseTooLarge, exchange_of, open_client
from bridge.errors import Denied
from tests.words.wire import Peer, answer, serving


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with open_client(timeout=5) as client:
        yield client


async def test_a_request_and_its_answer_come_through_whole(client: httpx2.AsyncClient) -> None:
    async with serving(answer(b"made", status="201 Made Up", headers=("X-Case: A", "x-case: B"))) as wire:
        response = await client.post(wire.url + "a%2Fb?c=%20d", content=b"hello", headers={"X-CamelCase": "Yes"})
    assert (response.status_code, response.reason_phrase, response.text) == (201, "Made Up", "made")
    assert [pair for pair in response.headers.raw if pair[0].lower() == b"x-case"] == [
        (b"X-Case", b"A"),
        (b"x-case", b"B"),
    ]
    assert response.http_version == "HTTP/1.1"
    head, _, body = wire.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a%2Fb?c=%20d HTTP/1.1\r\nHost: 127.0.0.1")
    assert b"X-CamelCase: Yes" in head
    assert b"content-type" not in head.lower()
    assert body == b"hello"


async def test_headers_given_twice_are_sent_twice(client: httpx2.AsyncClient) -> None:
    async with serving(answer()) as wire:
        await client.get(wire.url, headers=[("X-Sig", "one"), ("x-sig", "two")])
    assert b"X-Sig: one\r\nx-sig: two" in wire.requests[0]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
async def test_a_request_without_a_body_has_none(client: httpx2.AsyncClient, method: str) -> None:
    async def speak(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(speak) as wire:
        response = await client.request(method, wire.url)
    assert response.status_code == 204
    assert wire.requests[0].endswith(b"\r\n\r\n")


async def test_a_streamed_request_body_is_framed_once(client: httpx2.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with serving(answer()) as wire:
        response = await client.post(wire.url, content=parts())
    assert response.status_code == 200
    assert wire.requests[0].lower().count(b"transfer-encoding: chunked") == 1
    assert wire.requests[0].endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_a_streamed_answer_is_read_as_it_comes(client: httpx2.AsyncClient) -> None:
    more = asyncio.Event()

    async def speak(peer: Peer) -> None:
        await peer.request()
        await peer.say(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        )
        await more.wait()
        await peer.say(b"6\r\nsecond\r\n0\r\n\r\n")

    async with serving(speak) as wire, client.stream("GET", wire.url) as response:
        chunks = response.aiter_bytes()
        assert await anext(chunks) == b"first"
        more.set()
        assert [chunk async for chunk in chunks] == [b"second"]


async def test_a_compressed_answer_is_unpacked_once(client: httpx2.AsyncClient) -> None:
    async with serving(answer(gzip.compress(b"plain"), headers=("Content-Encoding: gzip",))) as wire:
        assert (await client.get(wire.url)).text == "plain"


async def test_cookies_are_neither_kept_nor_sent(client: httpx2.AsyncClient) -> None:
    async with serving(answer(headers=("Set-Cookie: a=b; Path=/",))) as wire:
        await client.get(wire.url)
        await client.get(wire.url)
    assert b"cookie" not in wire.requests[1].lower()


async def test_redirects_are_not_followed(client: httpx2.AsyncClient) -> None:
    async with serving(answer(status="302 Found", headers=("Location: /elsewhere",))) as wire:
        assert (await client.get(wire.url)).status_code == 302
    assert len(wire.requests) == 1


async def test_a_proxy_in_the_environment_is_ignored(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving(answer()) as wire, open_client() as fresh:
        assert (await fresh.get(wire.url)).status_code == 200
        assert (await client.get(wire.url)).status_code == 200


async def test_one_connection_serves_many_requests(client: httpx2.AsyncClient) -> None:
    async with serving(answer()) as wire:
        for _ in range(20):
            await client.post(wire.url, content=b"x")
    assert wire.connections == 1


async def test_a_connection_that_was_closed_between_requests_is_not_used_again(client: httpx2.AsyncClient) -> None:
    async def speak(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # and closes, unannounced

    async with serving(speak) as wire:
        for _ in range(3):
            assert (await client.post(wire.url, content=b"x")).status_code == 200
            await asyncio.sleep(0.05)  # lets the close arrive
    assert wire.connections == 3


async def test_a_unix_socket_is_reached_whatever_the_host(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    async with serving(answer(b"private"), path=path), open_client(socket_path=path) as client:
        assert (await client.get("http://agent.invalid/v1")).text == "private"
    async with open_client(socket_path=str(tmp_path / "none.sock")) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://agent.invalid/v1")


async def closes_at_once(peer: Peer) -> None:
    await peer.reader.readexactly(1)


async def closes_after_the_request(peer: Peer) -> None:
    await peer.request()


async def resets_after_the_request(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def says_nothing(peer: Peer) -> None:
    await peer.request()
    await asyncio.sleep(60)


async def speaks_no_http(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"220 mail.example.com ESMTP\r\n")


async def stops_in_the_middle(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


async def stalls_in_the_middle(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("speak", "expected"),
    [
        (closes_at_once, (httpx2.RemoteProtocolError, httpx2.ReadError)),
        (closes_after_the_request, (httpx2.RemoteProtocolError,)),
        (resets_after_the_request, (httpx2.ReadError,)),
        (says_nothing, (httpx2.ReadTimeout,)),
        (speaks_no_http, (httpx2.RemoteProtocolError,)),
        (stops_in_the_middle, (httpx2.RemoteProtocolError,)),
        (stalls_in_the_middle, (httpx2.ReadTimeout,)),
    ],
)
async def test_a_failure_after_sending_is_named_and_never_called_unsent(
    speak: Callable[[Peer], Awaitable[None]], expected: tuple[type[httpx2.TransportError], ...]
) -> None:
    async with serving(speak) as wire, open_client(timeout=0.3) as client:
        with pytest.raises(expected) as caught:
            await client.post(wire.url, content=b"x")
    assert not isinstance(caught.value, NEVER_SENT)
    assert caught.value.request.url == wire.url


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://does-not-exist.invalid/", "https://127.0.0.1:1/"])
async def test_what_cannot_be_reached_was_never_sent(client: httpx2.AsyncClient, url: str) -> None:
    with pytest.raises(httpx2.ConnectError) as caught:
        await client.post(url, content=b"x")
    assert isinstance(caught.value, NEVER_SENT)


async def test_a_handshake_that_stalls_is_a_connect_timeout() -> None:
    async def stall(peer: Peer) -> None:
        await peer.reader.read(1)
        await asyncio.sleep(60)

    async with serving(stall) as wire, open_client(timeout=0.3) as client:
        with pytest.raises(httpx2.ConnectTimeout):
            await client.post(wire.url.replace("http:", "https:"), content=b"x")


async def test_a_server_that_speaks_no_tls_is_a_connect_error(client: httpx2.AsyncClient) -> None:
    async def greet(peer: Peer) -> None:
        await peer.say(b"220 mail.example.com ESMTP\r\n")

    async with serving(greet) as wire:
        with pytest.raises(httpx2.ConnectError):
            await client.post(wire.url.replace("http:", "https:"), content=b"x")


async def test_a_peer_that_never_reads_a_large_body_is_given_up() -> None:
    async def ignore(_peer: Peer) -> None:
        await asyncio.sleep(60)

    timeout = httpx2.Timeout(0.1, write=0.001)
    async with serving(ignore) as wire, open_client(timeout=timeout) as client:
        with pytest.raises(httpx2.TimeoutException) as caught:
            await client.post(wire.url, content=b"x" * 30_000_000)
    assert not isinstance(caught.value, NEVER_SENT)


async def test_waiting_for_a_free_connection_is_a_pool_timeout() -> None:
    async with serving(says_nothing) as wire, open_client(timeout=0.3, max_connections=1) as client:
        first = asyncio.create_task(client.post(wire.url))
        await asyncio.sleep(0)
        with pytest.raises(httpx2.PoolTimeout):
            await client.post(wire.url, timeout=httpx2.Timeout(5, pool=0.05))
        with pytest.raises(httpx2.ReadTimeout):
            await first


async def test_a_connection_is_free_again_after_each_end_of_an_answer() -> None:
    async with serving(answer(b"x" * 200_000)) as wire, open_client(timeout=2, max_connections=1) as client:
        await client.get(wire.url)
        async with client.stream("GET", wire.url):
            pass  # left unread
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://127.0.0.1:1/")
        assert (await client.get(wire.url)).status_code == 200


async def test_a_line_break_in_a_header_is_refused_before_anything_is_sent(client: httpx2.AsyncClient) -> None:
    async with serving(answer()) as wire:
        with pytest.raises(httpx2.LocalProtocolError):
            await client.get(wire.url, headers={"X-Name": "a\r\nX-Other: b"})
    assert wire.requests == []


async def test_cancelling_a_call_leaves_no_connection_behind(client: httpx2.AsyncClient) -> None:
    async with serving(says_nothing) as wire:
        call = asyncio.create_task(client.post(wire.url, content=b"x"))
        await wire.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_guarded_answer_is_cut_at_its_cap_and_its_status_stays_readable() -> None:
    guard = Guard(allow_private=True, max_response_bytes=1000)
    async with serving(answer(b"x" * 5000)) as wire, open_client(guard=guard) as client:
        with pytest.raises(ResponseTooLarge):
            await client.get(wire.url)
        async with client.stream("POST", wire.url) as response:
            assert response.status_code == 200
        larger = await client.get(wire.url, extensions={"max_response_bytes": 10_000})
    assert len(larger.content) == 5000


async def test_a_guarded_answer_that_trickles_ends_at_the_deadline() -> None:
    async def trickle(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.say(b"x")
            await asyncio.sleep(0.02)

    guard = Guard(allow_private=True, deadline_seconds=0.3)
    async with serving(trickle) as wire, open_client(guard=guard) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(wire.url)


async def test_a_guarded_client_never_unpacks_what_it_did_not_ask_to_be_packed() -> None:
    packed = gzip.compress(b"0" * 10_000_000)
    bomb = answer(packed, headers=("Content-Encoding: gzip",))
    async with serving(bomb) as wire, open_client(guard=Guard(allow_private=True)) as client:
        assert (await client.get(wire.url)).content == packed
    assert b"Accept-Encoding: identity" in wire.requests[0]


SHORT_OR_LONG = pytest.mark.parametrize("kind", ["short", "over any client"])
LIMITS = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}


def opened(kind: str) -> httpx2.AsyncClient:
    return open_client() if kind == "short" else httpx2.AsyncClient()


@SHORT_OR_LONG
async def test_an_exchange_sends_what_it_is_given_and_gives_what_comes(kind: str) -> None:
    speak = answer(b"made", status="201 Made Up", headers=("X-Case: A",))
    async with serving(speak) as wire, opened(kind) as client:
        given = await exchange_of(client)(
            "POST", wire.url + "a%2Fb?c=%20d", headers={"X-CamelCase": "Yes"}, content=b"hello", seconds=LIMITS
        )
        assert b"".join([chunk async for chunk in given.chunks]) == b"made"
        await given.aclose()
        await given.aclose()
    assert (given.status, given.headers["x-case"]) == (201, "A")
    head, _, body = wire.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a%2Fb?c=%20d HTTP/1.1\r\nHost: 127.0.0.1")
    assert b"X-CamelCase: Yes" in head
    assert b"content-type" not in head.lower()
    assert body == b"hello"


@SHORT_OR_LONG
async def test_an_exchange_unpacks_what_came_packed_unasked(kind: str) -> None:
    packed = answer(gzip.compress(b"hello"), headers=("Content-Encoding: gzip",))
    async with serving(packed) as wire, opened(kind) as client:
        given = await exchange_of(client)("GET", wire.url, headers={}, content=None, seconds=LIMITS)
        assert b"".join([chunk async for chunk in given.chunks]) == b"hello"
        await given.aclose()


@SHORT_OR_LONG
@pytest.mark.parametrize(
    ("address", "key"), [("ftp://127.0.0.1/", "k"), ("127.0.0.1", "k"), ("http://127.0.0.1:9/", "clé")]
)
async def test_an_exchange_that_no_address_or_header_allows_is_never_sent(kind: str, address: str, key: str) -> None:
    async with opened(kind) as client:
        with pytest.raises((*NEVER_SENT, UnicodeError)):
            await exchange_of(client)("GET", address, headers={"x-api-key": key}, content=None, seconds=LIMITS)


async def test_an_exchange_passes_the_same_gate_and_cap() -> None:
    guard = Guard(allow_private=True, max_response_bytes=1000)
    async with serving(answer(b"x" * 5000)) as wire, open_client(guard=guard) as client:
        given = await exchange_of(client)("GET", wire.url, headers={}, content=None, seconds=LIMITS)
        with pytest.raises(ResponseTooLarge):
            [chunk async for chunk in given.chunks]
        await given.aclose()
    async with serving(answer()) as wire, open_client(guard=Guard()) as client:
        with pytest.raises(Denied):
            await exchange_of(client)("GET", wire.url, headers={}, content=None, seconds=LIMITS)
    assert wire.requests == []


async def test_certificates_are_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_tls = trusted_certificate(tmp_path, monkeypatch)
    guard = Guard(allow_private=True)
    async with serving(answer(b"secret"), tls=server_tls) as wire, open_client(guard=guard) as client:
        assert (await client.get(f"https://127.0.0.1:{wire.port}/")).text == "secret"
        with pytest.raises(httpx2.ConnectError, match=r"(?i)certificate"):
            await client.get(f"https://localhost:{wire.port}/")


def trusted_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return context
