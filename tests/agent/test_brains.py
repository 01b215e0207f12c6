"""The brains: the demo's small talk is covered by the service's examples; here the model's and the function's."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.server.brains import Ask, Attachment, BrainFault, Pause, Result, Said, Told
from bridge.agent.server.chat import Chat
from bridge.agent.server.desk import Agent
from bridge.agent.server.function import Function, load_function
from bridge.agent.server.smallest import smallest_instance
from bridge.agent.server.verdict import violation
from bridge.errors import ConfigError
from tests.agent.conftest import Serve
from tests.agent.doubles import HANGS_UP, Answer, LeapingClock, ScriptedService, answer, stream


def ask(text: str = "hello", **more: Any) -> Ask:
    return Ask(task_id="t1", agent_id="a1", text=text, clock=LeapingClock(), **more)


def chat(http: httpx2.AsyncClient, service: ScriptedService, **options: Any) -> Chat:
    return Chat(http, base_url=f"{service.url}/v1/", api_key="sk-1", model="m1", instructions="Be kind.", **options)


def delta(content: str | None = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content} | more, "finish_reason": finish}]}


def completion(*parts: dict[str, Any] | bytes, cut: bool = False) -> Answer:
    return stream(*parts, cut=cut)


DONE = b"data: [DONE]\n\n"


async def steps(brain: Any, asked: Ask) -> list[Any]:
    return [step async for step in brain.answer(asked)]


async def test_a_model_streams_its_answer(http: httpx2.AsyncClient, service: ScriptedService) -> None:
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    service.script([completion(delta(""), delta("Hel"), delta("lo"), delta(finish="stop"), usage, DONE)])
    assert await steps(chat(http, service), ask()) == ["Hel", "lo"]
    [call] = service.calls
    assert (call.path, call.headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-1")
    assert call.body == {
        "model": "m1",
        "stream": True,
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}],
    }


async def test_a_model_is_told_everything(http: httpx2.AsyncClient, service: ScriptedService) -> None:
    service.script([completion(delta("{}", finish="stop"), DONE)])
    files = (
        Attachment(url="https://f/a.txt", name="a.txt", text="the text"),
        Attachment(url="https://f/b.png", name="b.png", media_type="image/png", image=b"\x89PNG"),
        Attachment(url="https://f/c.bin", name="c.bin", note="too large"),
    )
    asked = ask(
        "look",
        thread=(Said(role="user", text="before"), Said(role="assistant", text="yes")),
        attachments=files,
        user={"first_name": "Alex", "additional_attributes": {"secret": 1}},
        instructions="Only JSON.",
        additional_context="It is Monday.",
        expected_output="An object",
        output_schema={"type": "object"},
        think_mode="harder",
    )
    await steps(chat(http, service), asked)
    body = service.calls[0].body
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][0]["content"] == (
        "Be kind.\n\nOnly JSON.\n\nContext:\nIt is Monday.\n\nExpected output: An object"
        '\n\nThe user: {"first_name": "Alex"}'
    )
    text, image = body["messages"][-1]["content"]
    assert text["text"] == (
        "look\n\n[File a.txt]\nthe text\n[End of file a.txt]\n\n[File c.bin (https://f/c.bin): too large]"
    )
    assert image["image_url"]["url"] == "data:image/png;base64,iVBORw=="
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["reasoning_effort"] == "high"


async def test_an_error_that_is_null_is_none(http: httpx2.AsyncClient, service: ScriptedService) -> None:
    service.script([completion(delta("Hello", finish="stop") | {"error": None}, DONE)])
    assert await steps(chat(http, service), ask()) == ["Hello"]


@given(st.integers(1, 40))
async def test_chunks_may_end_inside_a_character(size: int) -> None:
    payload = f"data: {json.dumps(delta('Grüße 😀 €'), ensure_ascii=False)}\n\ndata: [DONE]\n\n".encode()
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    def reply(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body())

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(reply)) as http:
        brain = Chat(http, base_url="http://model.example.com", api_key="", model="m1")
        assert await steps(brain, ask()) == ["Grüße 😀 €"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer({"error": {"message": "slow down"}}, 429), "Error code: 429 - .*slow down"),
        (answer({"error": "broken"}, 500), "Error code: 500"),
        (completion(delta("half"), {"error": {"message": "overloaded"}}), "overloaded"),
        (completion(delta("half")), "broke off"),
        (completion(delta("half"), cut=True), "broke"),
        (completion(b"data: {no json\n\n"), "cannot be read"),
        (completion(b"data: [1]\n\n"), "cannot be read"),
        (HANGS_UP, "broke"),
    ],
)
async def test_half_an_answer_is_an_error(
    http: httpx2.AsyncClient, service: ScriptedService, reply: Answer, words: str
) -> None:
    service.script([reply])
    with pytest.raises(BrainFault, match=words):
        await steps(chat(http, service), ask())


async def test_a_stalled_model_is_an_error(http: httpx2.AsyncClient, service: ScriptedService) -> None:
    begun = completion(delta("half"))
    service.script([Answer(head=begun.head, pieces=begun.pieces[:1], silent=True)])
    with pytest.raises(BrainFault, match="silent"):
        await steps(chat(http, service, silence=timedelta(seconds=0.05)), ask())


async def test_reasoning_is_told_apart_from_the_answer(http: httpx2.AsyncClient, service: ScriptedService) -> None:
    service.script([completion(delta(reasoning_content="hmm"), delta("yes", finish="stop"))])
    assert await steps(chat(http, service), ask()) == [Told("think", "hmm"), "yes"]


async def agent_in_five_lines(asked: Ask) -> AsyncIterator[str]:
    yield f"Hello {asked.user.get('first_name', 'you')}. "
    yield f"You said {asked.text!r} after {len(asked.thread)} messages."


async def returning(asked: Ask) -> str:
    return asked.text.upper()


async def asking(asked: Ask) -> AsyncIterator[str | Told | Pause | Result]:
    if asked.text == "go":
        yield Told("tool_call_request", {"request_id": "r1", "operation_id": "search"})
        yield Pause(Told("ask_user_questions", {"questions": []}), "Which one?")
    yield "thrown away"
    yield Result("kept")


async def broken(asked: Ask) -> str:
    raise ZeroDivisionError(f"a secret in {asked.text}")


async def wrong(asked: Ask) -> int:
    return len(asked.text)


async def telling_nonsense(asked: Ask) -> AsyncIterator[Told]:
    yield Told("think", {asked, float("nan")})


async def half_a_pair(asked: Ask) -> str:
    return f"{asked.text}\ud800"


def not_async(asked: Ask) -> str:
    return asked.text


def agents(function: Any) -> dict[str, Agent]:
    return {"demo": Agent(name="Mine", brain=Function(function))}


async def test_a_function_is_an_agent(serve: Serve) -> None:
    agent = await serve(agents=agents(agent_in_five_lines))
    await agent.invoke("one", id="t1")
    again = await agent.invoke("two", id="t1", input={"user": {"id": "u1", "first_name": "Alex"}})
    assert again["result"] == "Hello Alex. You said 'two' after 2 messages."
    assert (await (await serve(agents=agents(returning))).invoke("loud"))["result"] == "LOUD"


async def test_a_function_may_tell_pause_and_replace(serve: Serve) -> None:
    agent = await serve(agents=agents(asking))
    paused = await agent.invoke("go", id="t1")
    assert (paused["status"], paused["result"]) == ("paused", "Which one?")
    assert (await agent.invoke("the first", id="t1"))["result"] == "kept"


async def test_half_a_surrogate_pair_is_stored_as_a_mark(serve: Serve) -> None:
    assert (await (await serve(agents=agents(half_a_pair))).invoke("x"))["result"] == "x\ufffd"


@pytest.mark.parametrize("function", [broken, wrong, telling_nonsense])
async def test_what_a_function_raises_stays_in_the_log(serve: Serve, function: Any) -> None:
    answer = await (await serve(agents=agents(function))).invoke("hello")
    assert answer["status"] == "error"
    assert answer["result"] == "The agent failed while working on this. Its operator finds the reason in the log."


async def test_a_function_is_loaded_by_name() -> None:
    brain = load_function("tests.agent.test_brains:returning")
    assert await steps(brain, ask("x")) == ["X"]


@pytest.mark.parametrize(
    "target",
    ["", "nothing", "no.such.module:f", "tests.agent.test_brains:nothing", "tests.agent.test_brains:not_async", ":f"],
)
def test_a_function_that_cannot_be_is_a_configuration_error(target: str) -> None:
    with pytest.raises(ConfigError, match=r"brain"):
        load_function(target)


def test_a_function_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "agent_beside.py").write_text("async def agent(ask):\n    yield ask.text\n")
    (tmp_path / "broken_agent.py").write_text("1 / 0\n")
    assert isinstance(load_function("agent_beside:agent"), Function)
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load_function("broken_agent:agent")


SIMPLE = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "minLength": 3},
            {"type": "integer", "minimum": 4},
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "boolean"},
            {"type": "null"},
            {"enum": ["a", 1]},
            {"const": {"x": 1}},
            {"type": ["string", "null"]},
            {"$ref": "#/$defs/named"},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda items, n: {"type": "array", "items": items, "minItems": n}, inner, st.integers(0, 3)),
        st.builds(
            lambda properties: {"type": "object", "properties": properties, "required": list(properties)},
            st.dictionaries(st.text(max_size=5), inner, max_size=3),
        ),
        st.builds(lambda one: {"anyOf": [one]}, inner),
    ),
    max_leaves=8,
)


@given(SIMPLE)
async def test_the_smallest_instance_fits_its_schema(schema: dict[str, Any]) -> None:
    whole = {**schema, "$defs": {"named": {"type": "string"}}}
    assert await violation(json.dumps(smallest_instance(whole)), whole) is None


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "items", "enum", "$ref", "anyOf", "minItems", "minimum"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "required", "items", "enum", "$ref", "anyOf"]), JSON))
async def test_no_schema_is_a_crash(schema: dict[str, Any]) -> None:
    await violation(json.dumps(smallest_instance(schema)), schema)


def hostile_schemas() -> Iterator[dict[str, Any]]:
    deep: dict[str, Any] = {"type": "array", "minItems": 1000}
    for _ in range(15):
        deep = {"type": "array", "minItems": 1000, "items": deep}
    yield deep
    yield {"$ref": "#"}
    yield {"type": "string", "pattern": "(a+)+$"}
    yield {"type": "string", "minLength": 10**12}


@pytest.mark.parametrize("schema", list(hostile_schemas()))
async def test_a_hostile_schema_is_answered_quickly(schema: dict[str, Any]) -> None:
    async with asyncio.timeout(5):
        for answer in (json.dumps(smallest_instance(schema)), json.dumps("a" * 40 + "b")):
            await violation(answer, schema)
