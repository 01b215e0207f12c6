"""What a stranger or a broken sender posts is answered with a sentence that says what to mend, and starts nothing."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import SECRET, Request, Sink, post, request, signed, write_config

LIMIT = 1 << 20
OTHER_SECRET = "whsec_" + "QUJD" * 8


def _changed(sent: Request, **headers: str | None) -> list[tuple[str, str]]:
    """The headers of a good request with some of them changed or, where None, left out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [(k, v) for k, v in {**sent.headers, **named}.items() if v is not None]


def _doubled(name: str) -> Callable[[Request], list[tuple[str, str]]]:
    return lambda sent: [*sent.headers.items(), (name, sent.headers[name])]


FORGED: Mapping[str, Callable[[Request], list[tuple[str, str]]]] = {
    "without any signature": lambda _: [("content-type", "application/json")],
    "without the id": lambda s: _changed(s, webhook_id=None),
    "without the timestamp": lambda s: _changed(s, webhook_timestamp=None),
    "without the signature": lambda s: _changed(s, webhook_signature=None),
    "signed with another secret": lambda s: _changed(
        s,
        **{
            "webhook-signature": request("hello", webhook_id=s.webhook_id, secret=OTHER_SECRET).headers[
                "webhook-signature"
            ]
        },
    ),
    "with the signature of another id": lambda s: _changed(s, webhook_id="msg_other"),
    "with two signature headers": _doubled("webhook-signature"),
    "with two timestamp headers": _doubled("webhook-timestamp"),
    "with two ids": _doubled("webhook-id"),
    "with a signature of one word": lambda s: _changed(s, webhook_signature="nonsense"),
    "with a signature that is no base64": lambda s: _changed(s, webhook_signature="v1,%%%"),
    "with an empty signature": lambda s: _changed(s, webhook_signature=""),
    "with a signature of an unknown version": lambda s: _changed(
        s, webhook_signature=s.headers["webhook-signature"].replace("v1,", "v7,")
    ),
    "with a signature beyond ASCII": lambda s: _changed(s, webhook_signature="v1,\xe4\xf6\xfc"),
    "with a timestamp of words": lambda s: _changed(s, webhook_timestamp="yesterday"),
    "with a timestamp that is no number": lambda s: _changed(s, webhook_timestamp="nan"),
    "with an infinite timestamp": lambda s: _changed(s, webhook_timestamp="inf"),
    "with a timestamp of a thousand digits": lambda s: _changed(s, webhook_timestamp="9" * 1000),
    "with a negative timestamp": lambda s: _changed(s, webhook_timestamp="-1"),
    "with a timestamp in another script": lambda s: (
        [(k, v) for k, v in _changed(s) if k != "webhook-timestamp"] + [("webhook-timestamp", "\xb2\xb3")]
    ),
}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Opened]:
    """One bridge for all of them: what one request breaks, the next one meets."""
    folder = tmp_path_factory.mktemp("bad_input")
    config = write_config(folder, database_url=f"sqlite:///{folder}/bridge.db", callback="http://127.0.0.1:9/never")
    async with bridge_from(config) as one:
        yield one
        books = await one.settled()
        assert books.accepted == books.parked  # authentic, but without a message: kept for a person
        assert books.balanced


@pytest.fixture
def http(opened: Opened) -> httpx2.AsyncClient:
    return opened.http


def _says_what_to_mend(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    detail: str = problem["detail"]
    assert len(detail.split()) > 3
    assert SECRET not in response.text
    assert "Traceback" not in response.text
    return detail


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_a_request_is_refused(
    http: httpx2.AsyncClient, forged: Callable[[Request], list[tuple[str, str]]]
) -> None:
    sent = request("hello")
    headers = [(name.encode(), value.encode("latin-1")) for name, value in forged(sent)]
    response = await http.post("/in/orders", content=sent.body, headers=headers)
    _says_what_to_mend(response, 401)


async def test_every_forgery_is_told_the_same(http: httpx2.AsyncClient) -> None:
    details = set()
    for forged in FORGED.values():
        sent = request("hello")
        headers = [(name.encode(), value.encode("latin-1")) for name, value in forged(sent)]
        details.add((await http.post("/in/orders", content=sent.body, headers=headers)).text)
    assert len(details) == 1


@pytest.mark.parametrize("minutes", [-6, 6, -60 * 24 * 365, 60 * 24 * 365])
async def test_a_signature_of_another_time_is_refused(http: httpx2.AsyncClient, minutes: int) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    _says_what_to_mend(await post(http, request("hello", at=at)), 401)


async def test_a_changed_body_is_refused(http: httpx2.AsyncClient) -> None:
    sent = request("hello")
    response = await http.post("/in/orders", content=sent.body + b" ", headers=dict(sent.headers))
    _says_what_to_mend(response, 401)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"not json",
        b'{"text": "a"} x',
        b"[1, 2",
        b"\xff\xfe\x00",
        b'{"text": "\xff"}',
        b"[" * 100_000,
        b"NaN",
    ],
    ids=["cut", "empty", "words", "more", "half a list", "no UTF-8", "half UTF-8", "very deep", "NaN"],
)
async def test_a_signed_body_that_cannot_be_read_is_a_bad_request(http: httpx2.AsyncClient, body: bytes) -> None:
    response = await post(http, signed(body))
    assert response.status_code == 400, response.text
    _says_what_to_mend(response, 400)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'"hello"', b"7", b"null", b'{"text": null}', b'{"text": "a", "user": 7}'],
)
async def test_a_signed_body_without_a_message_starts_no_turn(http: httpx2.AsyncClient, body: bytes) -> None:
    response = await post(http, signed(body))
    assert response.status_code < 500, response.text


async def test_a_body_over_the_limit_is_refused_by_its_header_alone(http: httpx2.AsyncClient) -> None:
    headers = {**request("hello").headers, "content-length": str(LIMIT + 1)}
    response = await http.post("/in/orders", content=_never(), headers=headers)
    assert str(LIMIT) in _says_what_to_mend(response, 413)


async def _never() -> AsyncIterator[bytes]:
    yield pytest.fail("the body of a request that is too large was read")


async def test_a_body_that_turns_out_too_large_is_refused(http: httpx2.AsyncClient) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield bytes(65_536)

    response = await http.post("/in/orders", content=chunks(), headers=dict(request("hello").headers))
    _says_what_to_mend(response, 413)
    assert sent <= LIMIT + 2 * 65_536


async def test_a_body_at_the_limit_is_read(http: httpx2.AsyncClient) -> None:
    response = await post(http, signed(b"x" * LIMIT))
    _says_what_to_mend(response, 400)


async def test_an_unknown_source_is_not_found(http: httpx2.AsyncClient) -> None:
    assert "'nowhere'" in _says_what_to_mend(await post(http, request("hello"), "nowhere"), 404)


@pytest.mark.parametrize(
    "path",
    ["/", "/in", "/in/", "/in/orders/", "/in/orders/more", "/v1", "/v1/ledger/", "/in/%00", "/in/..%2f..%2fetc"],
)
async def test_a_path_that_leads_nowhere_is_not_found(http: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        _says_what_to_mend(await http.request(method, path, content=b""), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_not_allowed(http: httpx2.AsyncClient, method: str) -> None:
    response = await http.request(method, "/in/orders")
    _says_what_to_mend(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
async def test_a_compressed_body_is_not_read(http: httpx2.AsyncClient, encoding: str) -> None:
    sent = request("hello")
    response = await http.post("/in/orders", content=sent.body, headers={**sent.headers, "content-encoding": encoding})
    _says_what_to_mend(response, 415)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "image/png", "nonsense", "application/json; charset=ebcdic"]
)
async def test_an_odd_content_type_never_fails(http: httpx2.AsyncClient, content_type: str) -> None:
    sent = signed(b"\xff\xfe")
    response = await http.post("/in/orders", content=sent.body, headers={**sent.headers, "content-type": content_type})
    assert 400 <= response.status_code < 500, response.text


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic YTpi", "Bearer \xe4"])
@pytest.mark.parametrize(
    "path", ["/v1/ledger", "/v1/messages", "/v1/conversations", "/v1/deliveries", "/v1/messages/x"]
)
async def test_the_operators_side_needs_its_token(http: httpx2.AsyncClient, path: str, authorization: str) -> None:
    response = await http.get(path, headers=[(b"authorization", authorization.encode("latin-1"))])
    _says_what_to_mend(response, 401)


@pytest.mark.parametrize("body", [b"raise", b"say what nobody can read again"])
async def test_a_mistake_of_an_adapter_is_told_counted_and_stores_nothing(
    tmp_path: Path, database_url: str, sink: Sink, body: bytes
) -> None:
    config = write_config(tmp_path, database_url=database_url, callback=sink.url)
    config.write_text(f'{config.read_text()}\n[sources.mistaken]\nadapter = "tests.end_to_end.mistaken"\n')
    async with bridge_from(config) as opened:
        wire = httpx2.ASGITransport(app=opened.bridge.asgi, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=wire, base_url="http://bridge", trust_env=False) as http:
            response = await http.post("/in/mistaken", content=body)
            assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
            assert response.json()["detail"].startswith("The adapter of 'mistaken' failed")
            told = (await http.get("/metrics")).text
        assert 'bridge_arrivals_total{outcome="500",source="mistaken"} 1.0' in told
        assert (await opened.settled()).accepted == 0
