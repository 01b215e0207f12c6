"""Workers connected to the controller dialect, as xpander-sdk 2.0.537 was seen to be one."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2

from tests.agent.conftest import Serve
from tests.agent.doubles import Served

Events = AsyncGenerator[tuple[str, dict[str, Any]], None]


@asynccontextmanager
async def worker(http: httpx2.AsyncClient, agent: Served) -> AsyncIterator[Events]:
    """Connected, with its registration read."""
    url = f"{agent.url}/o1/events/demo/?environment=local&supports_llm_gateway=true"
    stream = http.stream("GET", url, headers={"x-api-key": "key-1"}, timeout=10)
    async with stream as response, aclosing(_events(response)) as events:
        kind, registration = await anext(events)
        assert kind == "worker-registration"
        assert {"created_by", "dedicated_agent_id", "parent_asset_id", "last_heartbeat"} <= set(registration)
        yield events


async def _events(response: httpx2.Response) -> Events:
    kind = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            yield kind, json.loads(line[6:])


async def finish(agent: Served, task: dict[str, Any], result: str) -> None:
    path = f"/agent-execution/{task['id']}/update"
    await agent.call("PATCH", path, task | {"status": "executing"})
    await agent.call("PATCH", path, task | {"status": "completed", "result": result})


async def test_a_connected_worker_does_the_turns_of_its_agent(serve: Serve, http: httpx2.AsyncClient) -> None:
    agent = await serve()
    async with worker(http, agent) as events:
        invoking = asyncio.create_task(agent.invoke("hello"))
        kind, task = await anext(events)
        assert (kind, task["input"]["text"], task["status"]) == ("agent-execution", "hello", "executing")
        beat = {"id": "e1", "event": "worker-heartbeat", "data": "2026-11-22T09:00:00"}
        assert (await agent.call("POST", "/o1/events/w1?type=worker&agent_id=demo", beat)).status_code == 200
        await finish(agent, task, "from the worker")
        answer = await invoking
    assert (answer["status"], answer["result"]) == ("completed", "from the worker")


async def test_without_its_worker_the_agent_is_itself_again(serve: Serve, http: httpx2.AsyncClient) -> None:
    agent = await serve()
    async with worker(http, agent):
        pass
    for _ in range(200):
        answer = asyncio.create_task(agent.invoke("hello"))
        done, _ = await asyncio.wait({answer}, timeout=0.05)
        if done:
            break
        answer.cancel()
    assert answer.result()["result"] == "You said: hello"


async def test_a_worker_that_leaves_loses_its_turn_to_the_next(serve: Serve, http: httpx2.AsyncClient) -> None:
    agent = await serve()
    async with worker(http, agent) as events:
        invoking = asyncio.create_task(agent.invoke("hello"))
        _, first = await anext(events)
    async with worker(http, agent) as events:
        _, again = await anext(events)
        assert again["id"] == first["id"]
        await finish(agent, again, "from the second")
        assert (await invoking)["result"] == "from the second"


async def test_a_stopped_turn_is_never_given_out(serve: Serve, http: httpx2.AsyncClient) -> None:
    agent = await serve()
    async with worker(http, agent) as events:
        invoking = asyncio.create_task(agent.invoke("one", id="t1"))
        await anext(events)
        await agent.call("POST", "/v1/tasks/t1/stop")
        assert (await invoking)["status"] == "stopped"
        asyncio.create_task(agent.invoke("two", id="t2"))  # noqa: RUF006 - ended by the stop below
        _, task = await anext(events)
        assert task["id"] == "t2"
        await agent.call("POST", "/v1/tasks/t2/stop")


async def test_a_worker_for_nobody_is_refused(serve: Serve) -> None:
    assert (await (await serve()).call("GET", "/o1/events/nobody/")).status_code == 404
