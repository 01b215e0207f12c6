"""Every field of the agent's contract: under its wire name in both dialects, set per agent, per source, per message."""

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from bridge.agent.asking import request_for
from bridge.agent.request import InvokeRequest, User
from bridge.calls import Agent
from bridge.model import Author, Candidate, InboundMessage, Json, Lease, RequestOptions, Said, Turn
from bridge.options import RequestDefaults
from tests.agent.test_controller import CREATE

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


class Field(NamedTuple):
    name: str
    value: Any
    wire: str = ""
    """Where it has another name there; `input.x` is x of the input."""
    per_message: bool = False
    """A sender may choose it: it costs nothing, reveals nothing and reaches nobody else's data."""


CONFIGURED = (
    Field("title", "A title", per_message=True),
    Field("instructions_override", "be brief", per_message=True),
    Field("additional_context", "facts", per_message=True),
    Field("expected_output", "a list", per_message=True),
    Field("output_format", "json", per_message=True),
    Field("output_schema", {"type": "object"}, per_message=True),
    Field("think_mode", "harder", per_message=True),
    Field("disable_attachment_injection", True, per_message=True),
    Field("worker_id", "w1"),
    Field("run_locally", True),
    Field("mcp_servers", [{"url": "https://tools.example.com/mcp"}]),
    Field("user_tokens", {"item": "a token"}),
    Field("user_oidc_token", "a token"),
    Field("llm_model_provider", "openai"),
    Field("llm_model_name", "gpt-5"),
    Field("llm_reasoning_effort", "high"),
    Field("harness_cli", "codex"),
    Field("permission_mode", "gated"),
    Field("tool_call_limit", 20),
    Field("return_metrics", True),
    Field("triggering_agent_id", "a0"),
    Field("test_run_node_id", "n1"),
    Field("parent_execution_id", "t0"),
)
"""What a configuration sets, besides `agent_version` and `user`, which have tests of their own."""

OURS = (
    Field("prompt", "hi", "input.text"),
    Field("existing_task_id", "t9", "id"),
    Field("file_urls", ["https://files.example.com/a.pdf"], "input.files"),
    Field("user_details", User(id="u1", email="u@example.com"), "input.user"),
    Field("tool_call_payload_extension", {"channel": "C1"}, "payload_extension"),
    Field("source", "orders"),
    Field("events_streaming", True),
)
"""What the bridge itself, or a caller of `Backend`, says of each turn."""


def _at(body: Mapping[str, Any], field: Field) -> Any:
    found: Any = body
    for step in (field.wire or field.name).split("."):
        found = found[step]
    return found


def _turn(options: RequestOptions | None = None, author: Author | None = None) -> Turn:
    message = InboundMessage(
        message_key="m1",
        conversation=(Candidate(value="c1", matched_by="thread"),),
        return_address="here",
        author=author or Author(id="u1", email="u@example.com"),
        text="hi",
        options=options or RequestOptions(),
    )
    return Turn(
        id="trn_1",
        lease=Lease("cnv_1", 1),
        seq=1,
        source="orders",
        conversation="c1",
        thread_id=None,
        agent="local",
        agent_version=None,
        idempotency_key="k1",
        task_id=None,
        event_cursor=None,
        attempt=1,
        created_at=NOW,
        started_at=NOW,
        said=(Said("msg_1", message, "orders"),),
    )


def _asked(turn: Turn, agent: RequestDefaults, source: RequestDefaults | None = None) -> Json:
    here = {"orders": (source or RequestDefaults()).given(), "others": {"title": "of another source"}}
    configured = Agent(backend=None, defaults=agent.given(), source_defaults=here)  # type: ignore[arg-type]  # nothing is called
    return request_for(turn, defaults=configured.defaults_at(turn.source), link=lambda ref: ref.url).rest_body()


@pytest.mark.parametrize("field", [*CONFIGURED, *OURS], ids=lambda field: field.name)
def test_each_travels_under_its_wire_name_in_both_dialects(field: Field) -> None:
    request = InvokeRequest(**{field.name: field.value})
    sent = {"id": "u1", "email": "u@example.com"} if isinstance(field.value, User) else field.value
    assert _at(request.rest_body(), field) == sent
    assert _at(request.controller_body(), field) == sent


@pytest.mark.parametrize("field", CONFIGURED, ids=lambda field: field.name)
def test_each_is_set_per_agent_and_per_source(field: Field) -> None:
    set_here = RequestDefaults(**{field.name: field.value})
    assert _at(_asked(_turn(), set_here), field) == field.value
    assert _at(_asked(_turn(), RequestDefaults(), set_here), field) == field.value
    assert field.name not in _asked(_turn(), RequestDefaults())


@pytest.mark.parametrize("field", [field for field in CONFIGURED if field.per_message], ids=lambda field: field.name)
def test_what_is_safe_is_set_per_message(field: Field) -> None:
    turn = _turn(RequestOptions(**{field.name: field.value}))
    assert _at(_asked(turn, RequestDefaults()), field) == field.value


def test_the_table_has_every_field_there_is() -> None:
    named = {field.name for field in CONFIGURED}
    apart = {"agent_id", "agent_version", "idempotency_key"}
    assert {field.name for field in fields(InvokeRequest)} == named | {field.name for field in OURS} | apart
    assert RequestDefaults.model_fields.keys() == named | {"agent_version", "user"}
    safe = {field.name for field in CONFIGURED if field.per_message}
    assert {field.name for field in fields(RequestOptions)} == safe | {"agent_version"}


def test_the_controller_dialect_is_sent_all_that_the_sdk_sends() -> None:
    assert InvokeRequest().controller_body().keys() >= CREATE.keys()


def test_the_message_goes_before_the_source_and_the_source_before_the_agent() -> None:
    agent = RequestDefaults(title="agent", expected_output="agent", think_mode="default", additional_context="one")
    source = RequestDefaults(title="source", expected_output="source", additional_context="two")
    body = _asked(_turn(RequestOptions(title="message", additional_context="three")), agent, source)
    assert (body["title"], body["expected_output"], body["think_mode"]) == ("message", "source", "default")
    assert body["additional_context"] == "one\ntwo\nthree"  # facts add up


@pytest.mark.parametrize(
    ("author", "id_"),
    [
        (Author(id="orders"), "web-form"),
        (Author(id="orders", email="ada@example.com"), "orders"),
        (Author(id="u7"), "u7"),
    ],
)
def test_a_user_is_named_where_the_source_names_nobody(author: Author, id_: str) -> None:
    usual = RequestDefaults.model_validate({"user": {"id": "web-form", "email": "forms@example.com"}})
    assert _asked(_turn(author=author), RequestDefaults(), usual)["input"]["user"]["id"] == id_


def test_a_token_is_shown_to_nobody_but_the_agent() -> None:
    given = RequestDefaults.model_validate({"user_oidc_token": "hunter2", "user_tokens": {"item": "hunter3"}})
    request = InvokeRequest(**given.given())
    assert "hunter" in str(request.rest_body())
    assert "hunter" not in f"{given!r} {request!r} {given.model_dump_json()}"


@pytest.mark.parametrize(
    "author_id",
    ["U1", "ada.b+c", "ada lovelace", "dependabot[bot]", "grüße", "a@b", ".a", "a..b", "x" * 65, "\ud800", ""],
)
def test_who_has_no_address_is_given_one_that_looks_like_one(author_id: str) -> None:
    user = User.of(Author(id=author_id))
    assert re.fullmatch(r"[\w+-]+(\.[\w+-]+)*@unknown\.invalid", user.email, re.ASCII)
    assert len(user.email.partition("@")[0]) <= 64
    assert user.email == User.of(Author(id=author_id)).email != User.of(Author(id=f"{author_id}'")).email
