"""A stream that was cut goes on from its last place: the server tells it, the client asks for it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import Backend
from bridge.agent.server.brains import Ask, Told
from bridge.agent.server.desk import Agent
from bridge.agent.server.function import Function
from tests.agent.conftest import Serve
from tests.agent.doubles import HeldClock, ScriptedService, Served, answer, event, stream, task
from tests.agent.test_backend import HELLO, events_of, types

Frame = tuple[str, dict[str, Any]]


async def talkative(ask: Ask) -> AsyncIterator[str | Told]:
    """Tells so much that its fragments are kept joined."""
    for number in range(int(ask.text)):
        if number % 100 == 50:
            yield Told("think", f"at {number}")
        yield f"<{number}>"


@pytest.fixture
async def agent(serve: Serve) -> Served:
    return await serve(agents={"demo": Agent(name="Demo", brain=Function(talkative))})


async def frames(agent: Served, path: str, since: str = "") -> list[Frame]:
    response = await agent.call("GET", path, **({"last-event-id": since} if since else {}))
    assert response.status_code == 200, response.text
    return [
        (lines[0].removeprefix("id: "), json.loads(lines[1].removeprefix("data: ")))
        for lines in (block.split("\n") for block in response.text.split("\n\n") if block)
    ]


def text_of(told: list[Frame]) -> str:
    return "".join(one["data"] for _, one in told if one["type"] == "chunk")


def thoughts_of(told: list[Frame]) -> list[str]:
    return [one["data"] for _, one in told if one["type"] == "think"]


@pytest.mark.parametrize("path", ["/v1/tasks/t1/events", "/agent-execution/t1/events", "/o1/agent-execution/t1/events"])
@pytest.mark.parametrize("count", [120, 900])
async def test_from_any_place_exactly_the_rest_is_told(agent: Served, path: str, count: int) -> None:
    body = {"input": {"text": str(count)}, "id": "t1"}
    live = await agent.call("POST", "/v1/agents/demo/invoke/stream", body)
    places = [line.removeprefix("id: ") for line in live.text.split("\n") if line.startswith("id: ")]
    whole = await frames(agent, path)
    assert text_of(whole) == "".join(f"<{number}>" for number in range(count))
    heard, thought = "", 0
    for place in dict.fromkeys(places[::37]):
        rest = await frames(agent, path, place)
        _, _, others, characters = map(int, place.split("."))
        heard, thought = text_of(whole)[:characters], others
        assert heard + text_of(rest) == text_of(whole)
        assert thoughts_of(whole)[:thought] + thoughts_of(rest) == thoughts_of(whole)
        assert rest[-1][1]["type"] == "task_finished"


@pytest.mark.parametrize("since", ["nonsense", "1.7.0.0", "9.1.0.0", "1.1.0", "1.1.0.99999999999"])
async def test_a_place_that_is_none_of_ours_is_the_start(agent: Served, since: str) -> None:
    await agent.invoke("3", id="t1")
    told = await agent.call("GET", "/v1/tasks/t1/events", **{"last-event-id": since})
    assert "task_created" in told.text
    assert told.text.count('"chunk"') == 3


async def test_a_place_names_its_turn(agent: Served) -> None:
    await agent.invoke("3", id="t1")
    (first, _), *_ = await frames(agent, "/v1/tasks/t1/events")
    await agent.invoke("5", id="t1")
    assert text_of(await frames(agent, "/v1/tasks/t1/events", first)) == "<0><1><2>"
    assert text_of(await frames(agent, "/v1/tasks/t1/events")) == "<0><1><2><3><4>"


async def test_a_repeated_call_may_go_on_from_its_place_too(agent: Served) -> None:
    body = {"input": {"text": "3"}}
    path = "/v1/agents/demo/invoke/stream"
    first = await agent.call("POST", path, body, idempotency_key="k1")
    place = [line for line in first.text.split("\n") if line.startswith("id: ")][-2].removeprefix("id: ")
    again = await agent.call("POST", path, body, idempotency_key="k1", **{"last-event-id": place})
    assert "task_created" not in again.text
    assert '"task_finished"' in again.text


async def test_who_comes_back_while_the_turn_runs_hears_what_follows(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await agent.call("POST", "/v1/agents/demo/invoke/async", {"input": {"text": "sleep 5"}, "id": "t1"})
    await held.until_someone_sleeps(5)
    reading = agent.call("GET", "/v1/tasks/t1/events", **{"last-event-id": "1.1.0.0"})
    await held.release(5)
    told = (await reading).text
    assert "task_created" not in told
    assert '"You said: sleep 5"' in told


def numbered(place: str, kind: str, data: Any) -> bytes:
    return f"id: {place}\ndata: {json.dumps(event(kind, data))}\n\n".encode()


async def test_a_cut_stream_goes_on_from_its_cursor(backend: Backend, service: ScriptedService) -> None:
    service.script(
        [
            stream(numbered("0", "task_created", task()), numbered("1", "chunk", "the "), cut=True),
            stream(numbered("2", "chunk", "ans"), cut=True),
            stream(numbered("3", "chunk", "wer"), numbered("4", "task_finished", task("completed"))),
        ]
    )
    handle = await backend.invoke(HELLO)
    told = await events_of(handle)
    assert types(told) == ["chunk", "chunk", "chunk", "task_finished"]
    assert "".join(one.data for one in told[:3]) == "the answer"
    assert [(call.method, call.path, call.headers.get("last-event-id")) for call in service.calls[1:]] == [
        ("GET", "/v1/tasks/t1/events", "1"),
        ("GET", "/v1/tasks/t1/events", "2"),
    ]


@pytest.mark.parametrize("refusal", [answer({}, 404), answer({}, 405), answer({}, 500), stream(cut=True)])
async def test_a_service_that_does_not_go_on_is_polled(
    backend: Backend, service: ScriptedService, refusal: Any
) -> None:
    first = stream(numbered("0", "task_created", task()), numbered("1", "chunk", "the "), cut=True)
    service.script([first, refusal, answer(task("completed"))])
    handle = await backend.invoke(HELLO)
    assert types(await events_of(handle)) == ["chunk", "task_finished"]
    assert handle.result == "the answer"
    assert [call.path for call in service.calls[1:]] == ["/v1/tasks/t1/events", "/v1/tasks/t1"]


async def test_a_service_without_ids_is_never_asked_to_go_on(backend: Backend, service: ScriptedService) -> None:
    service.script([stream(event("task_created", task()), event("chunk", "the "), cut=True), answer(task("completed"))])
    await events_of(await backend.invoke(HELLO))
    assert [call.path for call in service.calls[1:]] == ["/v1/tasks/t1"]


async def test_a_turn_of_an_earlier_life_goes_on_from_its_cursor(backend: Backend, service: ScriptedService) -> None:
    service.script([stream(numbered("3", "chunk", "wer"), numbered("4", "task_finished", task("completed")))])
    handle = await backend.attach("t1", HELLO, cursor="2")
    assert types(await events_of(handle)) == ["chunk", "task_finished"]
    assert (handle.status, handle.result) == ("completed", "the answer")
    assert service.calls[0].headers["last-event-id"] == "2"
