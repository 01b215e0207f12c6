"""The controller dialect, as xpander-sdk 2.0.537 was seen to speak it: its requests, and the answers it can read."""

import asyncio
import json
from typing import Any

import pytest

from tests.agent.conftest import Serve
from tests.agent.doubles import HeldClock, Served

SDK = {"accept": "*/*", "user_agent": "python-httpx/0.28.1"}

CREATE: dict[str, Any] = {
    "id": None,
    "input": {"text": "Hi, my name is Sam", "files": None, "user": None},
    "payload_extension": None,
    "source": "sdk",
    "worker_id": None,
    "run_locally": False,
    "output_format": None,
    "output_schema": None,
    "events_streaming": False,
    "additional_context": None,
    "expected_output": None,
    "instructions_override": None,
    "test_run_node_id": None,
    "user_oidc_token": None,
    "mcp_servers": [],
    "triggering_agent_id": None,
    "title": None,
    "think_mode": "default",
    "disable_attachment_injection": False,
    "user_tokens": None,
    "return_metrics": False,
    "llm_model_provider": None,
    "llm_model_name": None,
    "llm_reasoning_effort": None,
    "harness_cli": None,
    "permission_mode": None,
    "tool_call_limit": None,
}
"""The body that `ainvoke_agent` posts, recorded."""

USER = {
    "id": None,
    "first_name": None,
    "last_name": None,
    "email": "alex@example.com",
    "additional_attributes": None,
    "timezone": None,
}


@pytest.fixture(params=["", "/o1", "//o1"], ids=["plain", "with organization", "with a double slash"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def create(agent: Served, prefix: str = "", **changes: Any) -> dict[str, Any]:
    response = await agent.call("POST", f"{prefix}/agent-execution/demo", CREATE | changes, **SDK)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def is_readable_by_the_sdk(task: dict[str, Any]) -> bool:
    """The rules its models enforce (measured); a breach makes the whole answer unusable for it."""
    user = task["input"].get("user")
    return (
        all(isinstance(task[key], str) for key in ("id", "agent_id", "organization_id", "created_at"))
        and task["status"] in {"pending", "executing", "paused", "completed", "error", "failed", "stopped"}
        and isinstance(task["result"], str | None)
        and isinstance(task["agent_version"], str | None)
        and (user is None or isinstance(user["email"], str))
        and isinstance(task["input"]["files"], list)
    )


async def test_invoke_is_an_agent_read_and_a_create_then_status_reads(serve: Serve, prefix: str) -> None:
    agent = await serve()
    shown = (await agent.call("GET", f"{prefix}/agents/demo", **SDK)).json()
    needed = {
        "id",
        "organization_id",
        "name",
        "unique_name",
        "framework",
        "model_provider",
        "model_name",
        "icon",
        "instructions",
        "created_at",
    }
    assert needed <= set(shown)
    created = await create(agent, prefix)
    assert created["status"] == "pending"
    assert is_readable_by_the_sdk(created)
    await agent.settled(created["id"])
    done = (await agent.call("GET", f"{prefix}/agent-execution/{created['id']}/status", **SDK)).json()
    assert (done["status"], done["source"]) == ("completed", "sdk")
    assert is_readable_by_the_sdk(done)


async def test_a_task_is_continued_by_its_id(serve: Serve) -> None:
    agent = await serve()
    first = await create(agent)
    await agent.settled(first["id"])
    second = await create(agent, id=first["id"], input={"text": "What is my name?", "files": None, "user": USER})
    assert second["id"] == first["id"]
    assert (await agent.settled(first["id"]))["result"] == "Your name is Sam."


async def test_events_are_told_from_the_start_to_who_comes_late(serve: Serve, prefix: str) -> None:
    agent = await serve()
    created = await create(agent, prefix, events_streaming=True)
    assert created["events_streaming"] is True
    await agent.settled(created["id"])
    headers = SDK | {"accept": "text/event-stream", "cache_control": "no-store"}
    response = await agent.call("GET", f"{prefix or '/o1'}/agent-execution/{created['id']}/events", **headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == ["task_created", "task_updated", "chunk", "task_finished"]
    assert all(set(event) == {"type", "task_id", "organization_id", "time", "data"} for event in events)
    assert all(is_readable_by_the_sdk(event["data"]) for event in events if event["type"].startswith("task_"))


async def test_delete_stops_with_a_body_and_may_be_repeated(serve: Serve, held: HeldClock, prefix: str) -> None:
    agent = await serve()
    created = await create(agent, prefix, input={"text": "sleep 50", "files": None})
    await held.until_someone_sleeps(50)
    stopped = await agent.call("DELETE", f"{prefix}/agent-execution/{created['id']}", **SDK)
    assert stopped.status_code == 200
    assert (stopped.json()["status"], stopped.json()["is_manually_stopped"]) == ("stopped", True)
    again = await agent.call("DELETE", f"{prefix}/agent-execution/{created['id']}", **SDK)
    assert again.json() == stopped.json()


async def test_a_whole_task_may_be_sent_back_changed(serve: Serve) -> None:
    agent = await serve()
    created = await create(agent)
    done = await agent.settled(created["id"])
    path = f"/agent-execution/{created['id']}/update"
    saved = (await agent.call("PATCH", path, done | {"title": "New", "result": "Changed", "status": "error"})).json()
    assert (saved["title"], saved["result"], saved["status"]) == ("New", "Changed", "error")
    shown = (await agent.call("GET", f"/agent-execution/{created['id']}/status")).json()
    assert (shown["title"], shown["result"], shown["status"]) == ("New", "Changed", "error")


async def test_a_finished_task_never_comes_to_life_by_an_update(serve: Serve) -> None:
    agent = await serve()
    created = await create(agent)
    await agent.settled(created["id"])
    path = f"/agent-execution/{created['id']}/update"
    assert (await agent.call("PATCH", path, {"status": "executing"})).json()["status"] == "completed"


async def test_an_update_is_told_and_may_end_the_work(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    created = await create(agent, input={"text": "sleep 50", "files": None})
    await held.until_someone_sleeps(50)
    following = asyncio.create_task(agent.call("GET", f"/o1/agent-execution/{created['id']}/events"))
    path = f"/agent-execution/{created['id']}/update"
    await agent.call("PATCH", path, {"source": "worker"})
    await agent.call("PATCH", path, {"status": "completed", "result": "done by hand"})
    events = [json.loads(line[6:]) for line in (await following).text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == [
        "task_created",
        *["task_updated"] * 3,
        "task_finished",
    ]
    assert (events[-1]["data"]["result"], events[-1]["data"]["source"]) == ("done by hand", "worker")


@pytest.mark.parametrize(
    ("body", "where"), [({"status": "queued"}, "status"), ({"result": {"a": 1}}, "result"), (b"[]", "body")]
)
async def test_an_update_that_would_break_readers_is_refused(serve: Serve, body: object, where: str) -> None:
    agent = await serve()
    created = await create(agent)
    response = await agent.call("PATCH", f"/agent-execution/{created['id']}/update", body)
    assert response.status_code == 422
    assert where in response.text


async def test_a_version_in_the_header_is_shown_as_text(serve: Serve) -> None:
    agent = await serve()
    response = await agent.call("POST", "/agent-execution/demo", CREATE, x_agent_version="7", **SDK)
    assert response.json()["agent_version"] == "7"


async def test_a_task_done_elsewhere_is_reported(serve: Serve, prefix: str) -> None:
    agent = await serve()
    body: dict[str, Any] = {
        "id": "ext-1",
        "input": "what was asked",
        "llm_response": {"any": "thing"},
        "tokens": None,
        "is_success": False,
        "result": "it broke",
        "duration": 1.5,
        "used_tools": [],
    }
    reported = (await agent.call("POST", f"{prefix}/agent-execution/demo/report_task", body, **SDK)).json()
    assert (reported["id"], reported["status"], reported["result"]) == ("ext-1", "error", "it broke")
    assert is_readable_by_the_sdk(reported)


async def test_tasks_are_listed_as_bare_arrays(serve: Serve, prefix: str) -> None:
    agent = await serve()
    created = await create(agent, input={"text": "hello", "files": None, "user": USER | {"id": "u1"}})
    await agent.settled(created["id"])
    for path in ("history/demo", "history/user/u1", "history/demo?status=completed"):
        items = (await agent.call("GET", f"{prefix}/agent-execution/executions/{path}", **SDK)).json()
        assert [(item["id"], item["status"], item["user_id"]) for item in items] == [(created["id"], "completed", "u1")]
    assert (await agent.call("GET", f"{prefix}/agent-execution/executions/history/other", **SDK)).json() == []
    assert [one["id"] for one in (await agent.call("GET", f"{prefix}/agents/list", **SDK)).json()] == ["demo", "other"]


async def test_the_activity_log_has_its_own_words(serve: Serve, prefix: str) -> None:
    agent = await serve()
    created = await create(agent)
    await agent.settled(created["id"])
    log = (await agent.call("GET", f"{prefix}/activity/demo/{created['id']}", **SDK)).json()
    assert [(message["role"], message["content"]) for message in log["messages"]] == [
        ("user", {"text": "Hi, my name is Sam", "files": []}),
        ("agent", {"text": "Hello Sam, I will remember that in this thread.", "files": []}),
    ]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/agents/nobody", 404),
        ("GET", "/agent-execution/nothing/status", 404),
        ("GET", "/o1/agent-execution/nothing/events", 404),
        ("DELETE", "/agent-execution/nothing", 404),
        ("GET", "/activity/demo/nothing", 404),
        ("GET", "/agents/demo/", 404),
    ],
)
async def test_failures_are_json_and_never_a_redirect(serve: Serve, method: str, path: str, status: int) -> None:
    response = await (await serve()).call(method, path, **SDK)
    assert response.status_code == status
    assert response.json()["detail"]


async def test_a_busy_task_is_409_here_too(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    created = await create(agent, input={"text": "sleep 50", "files": None})
    await held.until_someone_sleeps(50)
    refused = await agent.call("POST", "/agent-execution/demo", CREATE | {"id": created["id"]}, **SDK)
    assert refused.status_code == 409
    assert refused.json()["detail"]


async def test_metrics_are_taken(serve: Serve) -> None:
    agent = await serve()
    assert (await agent.call("POST", "/agents-metrics/demo/execution", {"any": "thing"}, **SDK)).status_code == 200
