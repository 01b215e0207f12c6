"""An agent asks for a yes or no, and goes on with it: by both dialects, once, and also after a crash."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from bridge.agent.server.brains import Ask, Pause, approval
from bridge.agent.server.desk import Agent
from bridge.agent.server.function import Function
from tests.agent.conftest import Serve
from tests.agent.doubles import HeldClock, Served
from tests.agent.test_workers import finish, worker

YES = {"decision_id": "dcs_1", "choice": "approve", "decided_by": "ada"}


async def asked(agent: Served) -> dict[str, Any]:
    paused = await agent.invoke("approve", id="t1")
    assert (paused["status"], paused["result"], bool(paused["hitl_request"])) == ("paused", "May I go on?", True)
    return paused


@pytest.mark.parametrize("choice", ["approve", "deny"])
async def test_the_agent_goes_on_with_what_was_decided(serve: Serve, choice: str) -> None:
    agent = await serve()
    await asked(agent)
    taken = await agent.call("POST", "/v1/tasks/t1/approval", YES | {"choice": choice})
    assert taken.status_code == 200, taken.text
    shown = await agent.settled("t1")
    assert (shown["status"], shown["result"], shown["hitl_request"]) == ("completed", f"ada said: {choice}.", None)


@pytest.mark.parametrize(("path", "choice"), [("approve", "approve"), ("reject", "deny")])
@pytest.mark.parametrize("prefix", ["", "/o1"])
@pytest.mark.parametrize("body", [None, {"decided_by": "ada"}])
async def test_the_controller_dialect_has_a_route_for_each_choice(
    serve: Serve, prefix: str, path: str, choice: str, body: Any
) -> None:
    agent = await serve()
    await asked(agent)
    taken = await agent.call("POST", f"{prefix}/hitl/t1/{path}", body)
    assert taken.status_code == 200, taken.text
    assert (await agent.settled("t1"))["result"] == f"{'ada' if body else 'somebody'} said: {choice}."


async def test_the_same_decision_may_come_again_and_another_is_too_late(serve: Serve) -> None:
    agent = await serve()
    await asked(agent)
    many = await asyncio.gather(*(agent.call("POST", "/v1/tasks/t1/approval", YES) for _ in range(4)))
    assert {response.status_code for response in many} == {200}
    await agent.settled("t1")
    assert (await agent.call("POST", "/v1/tasks/t1/approval", YES)).status_code == 200
    late = await agent.call("POST", "/v1/tasks/t1/approval", YES | {"choice": "deny", "decision_id": "dcs_2"})
    assert late.status_code == 409
    assert (await agent.call("GET", "/v1/tasks/t1")).json()["result"] == "ada said: approve."


async def test_where_nothing_waits_for_it_a_decision_is_refused(serve: Serve) -> None:
    agent = await serve()
    assert (await agent.call("POST", "/v1/tasks/t1/approval", YES)).status_code == 404
    await agent.invoke("login", id="t1")
    assert (await agent.call("POST", "/v1/tasks/t1/approval", YES)).status_code == 409
    assert (await agent.call("GET", "/v1/tasks/t1")).json()["status"] == "paused"
    assert (await agent.call("POST", "/v1/tasks/t1/approval", YES | {"choice": "perhaps"})).status_code == 422


async def slow_after_yes(ask: Ask) -> AsyncIterator[str | Pause]:
    if ask.decision is None:
        yield approval("May I?")
    await ask.clock.sleep(5)
    yield f"{ask.decision.choice if ask.decision else 'nobody'} at attempt {ask.attempt}"


async def test_a_decision_survives_the_process_that_took_it(serve: Serve, held: HeldClock) -> None:
    agents = {"demo": Agent(name="Demo", brain=Function(slow_after_yes))}
    agent = await serve(agents=agents)
    await agent.invoke("go", id="t1")
    assert (await agent.call("POST", "/v1/tasks/t1/approval", YES)).status_code == 200
    await held.until_someone_sleeps(5)
    await held.release(1)
    agent = await serve(agents=agents)
    await held.until_someone_sleeps(5)
    await held.release(5)
    assert (await agent.settled("t1"))["result"] == "approve at attempt 3"


async def test_what_a_worker_pushes_is_told_to_who_follows_and_who_comes_late(
    serve: Serve, http: httpx2.AsyncClient
) -> None:
    agent = await serve()
    pushed = [
        {"type": "tool_call_request", "task_id": "t1", "data": {"request_id": "r1", "operation_id": "search"}},
        {"type": "task_finished", "task_id": "t1", "data": {"id": "t1", "status": "completed"}},
        {"type": "chunk", "task_id": "t1", "data": "half"},
    ]
    async with worker(http, agent) as events:
        body = {"input": {"text": "hello"}, "id": "t1"}
        following = asyncio.create_task(agent.call("POST", "/v1/agents/demo/invoke/stream", body))
        _, task = await anext(events)
        taken = await agent.call("POST", "/o1/agent-execution/t1/events/push", pushed)
        assert (taken.status_code, taken.json()) == (200, {"accepted": 2})
        await finish(agent, task, "from the worker")
        live = (await following).text
    late = (await agent.call("GET", "/v1/tasks/t1/events")).text
    for told in (live, late):
        assert told.count('"type":"tool_call_request"') == told.count('"type":"chunk"') == 1
        assert told.count('"type":"task_finished"') == 1
    assert (await agent.call("POST", "/agent-execution/t1/events/push", pushed)).json() == {"accepted": 0}


@pytest.mark.parametrize("body", [{}, ["x"], [{"data": 1}], b'[{"type":"think","data":1e999}]', b"", b"["])
async def test_a_push_that_is_no_array_of_events_is_refused(serve: Serve, body: Any) -> None:
    agent = await serve()
    assert (await agent.call("POST", "/agent-execution/t1/events/push", body)).status_code == 422
    assert (await agent.call("POST", "/agent-execution/t1/events/push", [])).status_code == 404
