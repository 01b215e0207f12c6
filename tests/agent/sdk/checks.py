"""Run by the interpreter that has xpander-sdk 2.0.537: the vendor's own client against our server.

python checks.py ADDRESS
"""

# ruff: noqa: T201, BLE001, PT017 - a script for another environment

import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable
from typing import Any

ADDRESS = sys.argv[1]
os.environ.update({"XPANDER_BASE_URL": ADDRESS, "XPANDER_API_KEY": "key-1", "XPANDER_ORGANIZATION_ID": "o1"})
os.environ["XPANDER_AGENT_ID"] = "demo"

from xpander_sdk import Agents, Backend, Configuration, Tasks, User  # noqa: E402
from xpander_sdk.exceptions.module_exception import ModuleException  # noqa: E402
from xpander_sdk.models.shared import OutputFormat  # noqa: E402
from xpander_sdk.modules.tasks.models.task import AgentExecutionStatus  # noqa: E402

CONFIGURATION = Configuration(api_key="key-1", organization_id="o1", base_url=ADDRESS, agent_id="demo")
backend, tasks, agents = Backend(CONFIGURATION), Tasks(CONFIGURATION), Agents(CONFIGURATION)


async def settled(task: Any, *, seconds: float = 10) -> Any:
    until = time.monotonic() + seconds
    while task.status.value in {"pending", "executing"} and time.monotonic() < until:
        await asyncio.sleep(0.02)
        await task.areload()
    return task


async def create_and_poll() -> None:
    task = await backend.ainvoke_agent(agent_id="demo", prompt="Hi, my name is Sam and I work at Acme")
    assert task.status.value == "pending", task.status
    await settled(task)
    assert (task.status.value, task.result) == ("completed", "Hello Sam, I will remember that in this thread.")
    assert task.source == "sdk"


async def continue_a_thread() -> None:
    first = await settled(await backend.ainvoke_agent(agent_id="demo", prompt="my name is Sam"))
    second = await backend.ainvoke_agent(agent_id="demo", existing_task_id=first.id, prompt="What is my name?")
    assert second.id == first.id
    assert (await settled(second)).result == "Your name is Sam."


async def agent_from_the_environment() -> None:
    assert (await settled(await backend.ainvoke_agent(prompt="hello"))).agent_id == "demo"


async def stream_with_every_argument() -> None:
    task = await backend.ainvoke_agent(
        agent_id="demo",
        prompt="long 900",
        file_urls=["https://files.example.com/a.txt"],
        user_details=User(id="user_42", email="alex@example.com", first_name="Alex", timezone="America/New_York"),
        agent_version="7",
        tool_call_payload_extension={"channel": "C1"},
        source="slack",
        worker_id="w1",
        run_locally=False,
        output_format=OutputFormat.Markdown,
        events_streaming=True,
        additional_context="facts",
        expected_output="a text",
    )
    assert task.events_streaming is True
    events = [event async for event in task.aevents()]
    kinds = [event.type.value if hasattr(event.type, "value") else event.type for event in events]
    assert kinds[0] == "task_created", kinds
    assert kinds[-1] == "task_finished", kinds
    assert len("".join(event.data for event in events if event.type == "chunk")) == 900
    assert events[-1].data.result == (await settled(task)).result
    assert task.input.user.email == "alex@example.com"
    assert task.agent_version == "7"


async def stop_twice() -> None:
    task = await backend.ainvoke_agent(agent_id="demo", prompt="sleep 60")
    await task.astop()
    assert (task.status.value, task.is_manually_stopped) == ("stopped", True)
    again = await tasks.astop(task_id=task.id)
    assert (again.status.value, again.finished_at) == ("stopped", task.finished_at)


async def short_circuit_hit() -> None:
    first = await settled(await backend.ainvoke_agent(agent_id="demo", prompt="hello"))
    found = await backend.ainvoke_agent(agent_id="demo", prompt=json.dumps({"xpander_task_id": first.id}))
    assert (found.id, found.result) == (first.id, first.result)


async def short_circuit_miss() -> None:
    task = await backend.ainvoke_agent(agent_id="demo", prompt=json.dumps({"xpander_task_id": "nothing"}))
    assert task.status.value == "pending"
    assert "nothing" in (await settled(task)).result


async def busy_is_409() -> None:
    task = await backend.ainvoke_agent(agent_id="demo", prompt="sleep 60")
    try:
        await backend.ainvoke_agent(agent_id="demo", existing_task_id=task.id, prompt="and?")
    except ModuleException as error:
        assert error.status_code == 409, error.status_code
    else:
        raise AssertionError("no 409")
    finally:
        await task.astop()


async def error_in_a_200() -> None:
    task = await settled(await backend.ainvoke_agent(agent_id="demo", prompt="fail the disk is full"))
    assert (task.status.value, task.result) == ("error", "the disk is full")


async def pause_is_readable() -> None:
    task = await settled(await backend.ainvoke_agent(agent_id="demo", prompt="login"))
    assert task.status.value == "paused"
    assert task.pending_eca_request.auth_url.startswith("http")


async def unknown_agent_is_404() -> None:
    await raises(404, backend.ainvoke_agent(agent_id="nobody", prompt="hello"))


async def unknown_task_is_404() -> None:
    await raises(404, tasks.aget(task_id="nothing"))


async def wrong_key_is_401() -> None:
    wrong = Configuration(api_key="wrong", organization_id="o1", base_url=ADDRESS)
    await raises(401, Tasks(wrong).aget(task_id="t1"))


async def raises(status: int, call: Awaitable[Any]) -> None:
    try:
        await call
    except ModuleException as error:
        assert error.status_code == status, (error.status_code, error.description)
    else:
        raise AssertionError(f"no {status}")


async def save_and_update() -> None:
    task = await settled(await backend.ainvoke_agent(agent_id="demo", prompt="hello"))
    await task.aset_status(AgentExecutionStatus.Error, "changed")
    assert (await tasks.aget(task_id=task.id)).result == "changed"
    task.result = "saved"
    await task.asave()
    assert (await tasks.aget(task_id=task.id)).result == "saved"
    updated = await tasks.aupdate(task_id=task.id, source="elsewhere")
    assert updated.source == "elsewhere"


async def lists() -> None:
    user = User(id="user_list", email="list@example.com")
    task = await settled(await backend.ainvoke_agent(agent_id="demo", prompt="hello", user_details=user))
    items = await tasks.alist(agent_id="demo")
    assert task.id in [item.id for item in items]
    mine = await tasks.alist_user_tasks(user_id="user_list")
    assert [item.id for item in mine] == [task.id]
    assert (await mine[0].aload()).result == task.result
    assert [agent.id for agent in await agents.alist()] == ["demo"]


async def activity_log() -> None:
    task = await settled(await backend.ainvoke_agent(agent_id="demo", prompt="hello"))
    log = await task.aget_activity_log()
    assert [message.role for message in log.messages] == ["user", "agent"]
    assert log.messages[1].content.text == task.result


async def reports() -> None:
    task = await backend.areport_external_task(
        agent_id="demo", id="ext-sdk", input="asked", result="done", is_success=True
    )
    assert (task.id, task.status.value, task.result) == ("ext-sdk", "completed", "done")


async def blocking_twin() -> None:
    task = await asyncio.to_thread(backend.invoke_agent, agent_id="demo", prompt="hello")
    assert task.id


CHECKS = [
    create_and_poll, continue_a_thread, agent_from_the_environment, stream_with_every_argument, stop_twice,
    short_circuit_hit, short_circuit_miss, busy_is_409, error_in_a_200, pause_is_readable, unknown_agent_is_404,
    unknown_task_is_404, wrong_key_is_401, save_and_update, lists, activity_log, reports, blocking_twin,
]  # fmt: skip


async def main() -> int:
    failures = 0
    for check in CHECKS:
        try:
            await asyncio.wait_for(check(), 30)
        except Exception:
            failures += 1
            print(f"FAILED  {check.__name__}")
            traceback.print_exc()
        else:
            print(f"ok      {check.__name__}")
    print(f"{len(CHECKS) - failures} of {len(CHECKS)} against {ADDRESS}")
    return failures


sys.exit(asyncio.run(main()))
