"""The embedded agent as a real process that is killed in the middle of its work."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bridge import Backend
from bridge.agent.request import InvokeRequest
from bridge.agent.task import Task
from bridge.errors import Busy, Interrupted, Unreachable
from tests.agent.process import AgentProcess


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[AgentProcess]:
    process = AgentProcess(tmp_path / "agent.db")
    await process.start()
    yield process
    await process.kill()


def backend(http: httpx2.AsyncClient, agent: AgentProcess, mode: str = "stream") -> Backend:
    return Backend(http, base_url=agent.address, api_key="key-1", agent_id="demo", mode=mode)  # type: ignore[arg-type]  # parametrised


async def kinds(task: Task) -> list[str]:
    return [event.type async for event in task.aevents()]


SLOW = InvokeRequest(prompt="sleep 1", idempotency_key="turn-1")


@pytest.mark.parametrize("mode", ["stream", "poll"])
async def test_a_turn_outlives_its_process_and_its_follower_notices_nothing(
    http: httpx2.AsyncClient, agent: AgentProcess, mode: str
) -> None:
    task = await backend(http, agent, mode).invoke(SLOW)
    following = asyncio.create_task(kinds(task))
    await agent.kill()
    await agent.start()
    assert (await following)[-1] == "task_finished"
    assert (task.status, task.result, task.record["execution_attempts"]) == ("completed", "You said: sleep 1", 2)


@pytest.mark.parametrize("mode", ["stream", "poll", "sync"])
async def test_a_turn_that_was_overtaken_is_told_again_by_its_key(
    http: httpx2.AsyncClient, agent: AgentProcess, mode: str
) -> None:
    asking = backend(http, agent, mode)
    first = InvokeRequest(prompt="one", idempotency_key="turn-1")
    task = await asking.invoke(first)
    await kinds(task)
    await kinds(await asking.invoke(InvokeRequest(prompt="two", idempotency_key="turn-2", existing_task_id=task.id)))

    again = await asking.invoke(replace(first, existing_task_id=task.id))

    assert (await kinds(again))[-1] == "task_finished"
    assert (again.status, again.result) == ("completed", "You said: one")
    thread = (await http.get(f"{agent.address}/v1/tasks/{task.id}/thread", headers={"x-api-key": "key-1"})).json()
    assert [said["content"] for said in thread if said["role"] == "user"] == ["one", "two"]


@pytest.mark.parametrize("mode", ["stream", "sync"])
async def test_after_a_crash_on_either_side_the_same_key_is_the_same_turn(
    http: httpx2.AsyncClient, agent: AgentProcess, mode: str
) -> None:
    calling = asyncio.create_task(backend(http, agent, mode).invoke(SLOW))
    listed: dict[str, Any] = {}
    while not listed.get("total"):
        response = await http.get(f"{agent.address}/v1/tasks", headers={"x-api-key": "key-1"})
        listed = response.json()
    await agent.kill()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await agent.start()
    again = await backend(http, agent, mode).invoke(SLOW)
    await kinds(again)
    assert (again.id, again.status) == (listed["items"][0]["id"], "completed")
    response = await http.get(f"{agent.address}/v1/tasks", headers={"x-api-key": "key-1"})
    assert response.json()["total"] == 1


async def test_sync_learns_of_the_crash_as_interrupted(http: httpx2.AsyncClient, agent: AgentProcess) -> None:
    calling = asyncio.create_task(backend(http, agent, "sync").invoke(SLOW))
    while not (await http.get(f"{agent.address}/v1/tasks", headers={"x-api-key": "key-1"})).json()["total"]:
        pass
    await agent.kill()
    with pytest.raises(Interrupted):
        await calling
    with pytest.raises(Unreachable):
        await backend(http, agent, "sync").invoke(SLOW)


async def test_a_busy_thread_is_still_busy_after_the_crash(http: httpx2.AsyncClient, agent: AgentProcess) -> None:
    task = await backend(http, agent).invoke(SLOW)
    await agent.kill()
    await agent.start()
    with pytest.raises(Busy):
        await backend(http, agent).invoke(InvokeRequest(prompt="and?", existing_task_id=task.id))
    reattached = await backend(http, agent).attach(task.id, SLOW)
    assert (await kinds(reattached))[-1] == "task_finished"
    assert reattached.status == "completed"


async def test_a_stop_in_good_order_leaves_the_turn_to_the_next_process(
    http: httpx2.AsyncClient, agent: AgentProcess
) -> None:
    task = await backend(http, agent, "poll").invoke(SLOW)
    await agent.terminate()
    await agent.start()
    assert (await kinds(task))[-1] == "task_finished"
    assert (task.status, task.record["execution_attempts"]) == ("completed", 2)
