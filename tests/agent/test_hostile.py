"""Whatever is sent, the embedded agent answers with a reason and goes on: requests made from its own document."""

import asyncio
import json
import socket
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.agent.server.orders import Order
from tests.agent.conftest import Serve
from tests.agent.doubles import Served

FIELDS = [*Order.model_fields, "text", "files", "user", "email", "status", "result", "is_success", "detail", "deep"]

ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=10),
        st.sampled_from(["hello", "long 50", "fail x", "ask", "login", "completed", "executing", "json", "harder"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)),
    max_leaves=15,
)
ORDERS = st.builds(
    lambda given, more: {"input": given} | more, ANYTHING, st.dictionaries(st.sampled_from(FIELDS), ANYTHING)
)
BODIES = st.one_of(
    st.builds(lambda body: json.dumps(body).encode(), st.one_of(ORDERS, ANYTHING)),
    st.binary(max_size=50),
)
SEGMENTS = st.one_of(st.sampled_from(["demo", "t1", "list", "user"]), st.text(min_size=1, max_size=8))


def operations(document: dict[str, Any]) -> list[tuple[str, str, list[str], bool]]:
    return [
        (
            method.upper(),
            path,
            [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"],
            "requestBody" in operation,
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if not path.endswith("/events/{agent_id}/")  # a worker's stream has no end
    ]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_nothing_in_the_published_document_leads_to_a_500(serving: Served, data: st.DataObject) -> None:
    document = (await serving.call("GET", "/openapi.json", x_api_key="")).json()
    method, path, queries, has_body = data.draw(st.sampled_from(operations(document)))
    path = "/".join(quote(data.draw(SEGMENTS), safe="") if part.startswith("{") else part for part in path.split("/"))
    asked = data.draw(st.dictionaries(st.sampled_from(queries), st.text(max_size=5), max_size=3)) if queries else {}
    path += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    response = await serving.call(method, path, data.draw(BODIES) if has_body else None)
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert "detail" in response.json()


@pytest.fixture
async def serving(serve: Serve) -> Served:
    return await serve()


def test_the_document_names_every_route(serving_document: dict[str, Any]) -> None:
    assert "/v1/agents/{agent_id}/invoke/stream" in serving_document["paths"]
    assert "/{organization_id}/agent-execution/{task_id}/events" in serving_document["paths"]
    assert "Order" in serving_document["components"]["schemas"]


@pytest.fixture
async def serving_document(serving: Served) -> dict[str, Any]:
    document: dict[str, Any] = (await serving.call("GET", "/openapi.json")).json()
    return document


async def test_a_consumer_that_never_reads_holds_nothing_up(serve: Serve) -> None:
    agent = await serve()
    body = json.dumps({"input": {"text": "long 900000"}, "id": "t1"}).encode()
    head = "POST /v1/agents/demo/invoke/stream HTTP/1.1\r\nhost: x\r\nx-api-key: key-1\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    host, _, port = agent.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))) as lazy:
        await asyncio.to_thread(lazy.sendall, head.encode() + body)
        assert len((await agent.settled("t1"))["result"]) == 900_000
        assert (await agent.invoke("hello"))["status"] == "completed"


async def test_many_turns_at_once_all_end(serve: Serve) -> None:
    agent = await serve()
    answers = await asyncio.gather(*(agent.invoke(f"turn {number}") for number in range(60)))
    assert {answer["status"] for answer in answers} == {"completed"}
    assert len({answer["id"] for answer in answers}) == 60


async def test_a_large_prompt_within_the_limit_is_answered(serve: Serve) -> None:
    answer = await (await serve()).invoke("x" * 1_500_000)
    assert len(answer["result"]) > 1_500_000


async def test_an_answer_without_bounds_is_an_error(serve: Serve) -> None:
    answer = await (await serve()).invoke("x" * 2_500_000)
    assert answer["status"] == "error"
    assert "longer than" in answer["result"]


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" * 5000])
async def test_a_number_beyond_all_bounds_is_no_500(serving: Served, number: bytes) -> None:
    body = b'{"input":{"text":"hello"},"id":"t1","payload_extension":{"n":%s},"output_schema":{"minimum":%s}}'
    taken = await serving.call("POST", "/v1/agents/demo/invoke", body % (number, number))
    assert taken.status_code < 500
    patched = await serving.call("PATCH", "/agent-execution/t1/update", b'{"tokens":{"n":%s}}' % number)
    assert patched.status_code < 500
    for path in ("/v1/tasks/t1", "/v1/tasks/t1/thread", "/v1/tasks", "/activity/demo/t1"):
        assert (await serving.call("GET", path)).status_code in {200, 404}
