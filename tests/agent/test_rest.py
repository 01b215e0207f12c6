"""The embedded agent over REST v1: every example of the service's own pages, and what it answers to the rest."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from bridge import Backend
from bridge.agent.request import InvokeRequest
from bridge.agent.server.runs import Limits
from bridge.agent_rows import NewTurn, TurnChange
from tests.agent.conftest import Serve
from tests.agent.doubles import HeldClock, LeapingClock, Served


def told(response_text: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    return [json.loads(line[6:]) for line in response_text.split("\n") if line.startswith("data: ")]


async def test_the_second_turn_knows_the_first(serve: Serve) -> None:
    agent = await serve()
    first = await agent.invoke("Hi, my name is Sam and I work at Acme")
    second = await agent.invoke("What is my name and where do I work?", id=first["id"])
    assert second["id"] == first["id"]
    assert (second["status"], second["result"]) == ("completed", "Your name is Sam. You work at Acme.")


async def test_title_and_instructions_travel(serve: Serve) -> None:
    agent = await serve()
    answer = await agent.invoke(
        "What does it cost?", title="Pricing Inquiry", instructions_override="Always respond in exactly 2 sentences."
    )
    assert (answer["status"], answer["title"]) == ("completed", "Pricing Inquiry")
    assert answer["result"] == "You said: What does it cost?. This is a demo agent."


async def test_the_agent_knows_who_asks(serve: Serve) -> None:
    agent = await serve()
    user = {"id": "u1", "email": "alex@example.com", "first_name": "Alex"}
    assert (await agent.invoke("What is my name?", input={"user": user}))["result"] == "Your name is Alex."
    assert (await agent.invoke("What is my email?", input={"user": user}))[
        "result"
    ] == "Your email is alex@example.com."


async def test_async_is_pending_at_first_and_completed_later(serve: Serve) -> None:
    agent = await serve()
    started = (await agent.call("POST", "/v1/agents/demo/invoke/async", {"input": {"text": "hello"}})).json()
    assert (started["status"], started["result"]) == ("pending", None)
    assert (await agent.settled(started["id"]))["result"] == "You said: hello"


async def test_a_stream_tells_the_whole_turn_and_closes(serve: Serve) -> None:
    agent = await serve()
    response = await agent.call("POST", "/v1/agents/demo/invoke/stream", {"input": {"text": "long 450"}})
    events = told(response.text)
    assert [event["type"] for event in events] == [
        *["task_created", "task_updated"],
        *["chunk"] * 3,
        "task_finished",
    ]
    assert [event["data"]["status"] for event in events if event["type"] != "chunk"] == [
        "pending",
        "executing",
        "completed",
    ]
    result = events[-1]["data"]["result"]
    assert "".join(event["data"] for event in events if event["type"] == "chunk") == result
    assert len(result) == 450
    assert set(events[0]) == {"type", "task_id", "organization_id", "time", "data"}


async def test_a_schema_is_answered_by_json_that_fits(serve: Serve) -> None:
    agent = await serve()
    schema = {
        "type": "object",
        "required": ["name", "tags", "count"],
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
            "count": {"$ref": "#/$defs/positive"},
            "optional": {"type": "string"},
        },
        "$defs": {"positive": {"type": "integer", "exclusiveMinimum": 0}},
    }
    answer = await agent.invoke("hello", output_schema=schema, output_format="json")
    assert json.loads(answer["result"]) == {"name": "xx", "tags": ["a"], "count": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^a+$"},
        {"type": "array", "minItems": 2, "items": {"type": "integer"}, "uniqueItems": True},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"type": "no such type"},
        {"type": "array", "minItems": 50, "items": {"type": "array", "minItems": 50, "items": {"type": "array"}}},
    ],
)
async def test_an_answer_that_breaks_its_schema_is_an_error_result(serve: Serve, schema: dict[str, Any]) -> None:
    answer = await (await serve()).invoke("hello", output_schema=schema)
    assert answer["status"] == "error"
    assert "output_schema" in answer["result"]


async def test_a_failure_is_a_200_with_status_error(serve: Serve) -> None:
    answer = await (await serve()).invoke("fail the disk is full")
    assert (answer["status"], answer["result"]) == ("error", "the disk is full")


async def test_a_busy_thread_answers_409_until_its_turn_is_over(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    first = asyncio.create_task(agent.invoke("sleep 5", id="t1"))
    await held.until_someone_sleeps(5)
    refused = await agent.call("POST", "/v1/agents/demo/invoke", {"input": {"text": "and?"}, "id": "t1"})
    assert refused.status_code == 409
    await held.release(5)
    assert (await first)["status"] == "completed"
    assert (await agent.invoke("and?", id="t1"))["status"] == "completed"


async def test_the_same_key_is_the_same_turn_in_every_form(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    body = {"input": {"text": "sleep 5"}, "payload_extension": {"idempotency_key": "k1"}}
    calls = [
        asyncio.create_task(agent.call("POST", f"/v1/agents/demo/invoke{kind}", body))
        for kind in ("", "/stream", "/async", "")
    ]
    await held.until_someone_sleeps(5)
    assert (await calls[2]).json()["status"] in {"pending", "executing"}
    await held.release(5)
    sync, stream, _, again = [await call for call in calls]
    assert told(stream.text)[-1]["data"]["id"] == sync.json()["id"] == again.json()["id"]
    later = await agent.call(
        "POST", "/v1/agents/demo/invoke/stream", {"input": {"text": "other"}}, idempotency_key="k1"
    )
    assert told(later.text) == told(stream.text)
    assert (await agent.call("GET", "/v1/tasks")).json()["total"] == 1


async def test_a_key_of_an_earlier_turn_shows_that_turn(serve: Serve) -> None:
    agent = await serve()
    first = await agent.invoke("one", payload_extension={"idempotency_key": "k1"})
    await agent.invoke("two", id=first["id"], payload_extension={"idempotency_key": "k2"})
    assert await agent.invoke("one", payload_extension={"idempotency_key": "k1"}) == first


async def test_a_caller_that_leaves_does_not_end_the_turn(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    for kind, task_id in (("", "t1"), ("/stream", "t2")):
        body = {"input": {"text": "sleep 5"}, "id": task_id}
        leaving = asyncio.create_task(agent.call("POST", f"/v1/agents/demo/invoke{kind}", body))
        await held.until_someone_sleeps(5)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await held.release(5)
        shown = await agent.settled(task_id)
        assert shown["result"] == "You said: sleep 5"


async def test_stop_ends_the_turn_once_and_for_all(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    running = asyncio.create_task(agent.invoke("sleep 50", id="t1"))
    await held.until_someone_sleeps(50)
    stopped = (await agent.call("POST", "/v1/tasks/t1/stop")).json()
    assert (stopped["status"], stopped["is_manually_stopped"]) == ("stopped", True)
    assert stopped["finished_at"]
    assert (await running)["status"] == "stopped"
    assert (await agent.call("POST", "/v1/tasks/t1/stop")).json() == stopped
    assert (await agent.invoke("again", id="t1"))["status"] == "completed"


async def test_a_question_pauses_and_the_next_message_answers_it(serve: Serve) -> None:
    agent = await serve()
    response = await agent.call("POST", "/v1/agents/demo/invoke/stream", {"input": {"text": "ask"}})
    events = told(response.text)
    assert [event["type"] for event in events][2:] == ["ask_user_questions", "task_updated"]
    assert events[-1]["data"]["status"] == "paused"
    assert (await agent.invoke("red", id=events[-1]["task_id"]))["status"] == "completed"


async def test_a_login_pauses_until_its_link_is_used(serve: Serve) -> None:
    agent = await serve()
    paused = await agent.invoke("login", id="t1")
    assert paused["status"] == "paused"
    assert paused["pending_eca_request"]["auth_url"] == "http://agent.example.com/demo/login/t1"
    page = await agent.call("GET", "/demo/login/t1", x_api_key="")
    assert "button" in page.text
    assert (await agent.call("GET", "/v1/tasks/t1")).json()["status"] == "paused"
    answers = await asyncio.gather(*(agent.call("POST", "/demo/login/t1", x_api_key="") for _ in range(3)))
    assert max(answer.text for answer in answers).startswith("You are logged in")
    assert sum("Nothing waits" in answer.text for answer in answers) == 2
    shown = await agent.settled("t1")
    assert shown["result"] == "You are logged in."


async def test_a_paused_turn_can_be_stopped(serve: Serve) -> None:
    agent = await serve()
    await agent.invoke("login", id="t1")
    assert (await agent.call("POST", "/v1/tasks/t1/stop")).json()["status"] == "stopped"
    assert "Nothing waits" in (await agent.call("POST", "/demo/login/t1")).text


async def test_the_thread_is_what_was_said(serve: Serve) -> None:
    agent = await serve()
    await agent.invoke("one", id="t1")
    await agent.invoke("fail two", id="t1")
    await agent.invoke("child", id="t2", parent_execution_id="t1")
    messages = (await agent.call("GET", "/v1/tasks/t1/thread")).json()
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "one"),
        ("assistant", "You said: one"),
        ("user", "fail two"),
    ]
    full = (await agent.call("GET", "/v1/tasks/t1/thread/full")).json()
    assert full["root"] == messages
    assert [message["content"] for message in full["t2"]] == ["child", "You said: child"]


async def test_tasks_are_listed_in_pages_and_by_filter(serve: Serve) -> None:
    agent = await serve()
    for number in range(5):
        await agent.invoke("hello", id=f"t{number}", input={"user": {"id": f"u{number % 2}"}})
    await agent.invoke("fail x", id="t0")
    page = (await agent.call("GET", "/v1/tasks?per_page=2&page=3")).json()
    assert (len(page["items"]), page["total"], page["total_pages"]) == (1, 5, 3)
    assert (await agent.call("GET", "/v1/tasks?user_id=u1")).json()["total"] == 2
    assert (await agent.call("GET", "/v1/tasks?status=error")).json()["items"][0]["id"] == "t0"
    assert (await agent.call("GET", "/v1/agents/other/tasks")).json()["total"] == 0


async def test_delete_forgets_the_task_with_its_thread(serve: Serve) -> None:
    agent = await serve()
    await agent.invoke("my name is Sam", id="t1")
    assert (await agent.call("DELETE", "/v1/tasks/t1")).status_code == 204
    assert (await agent.call("GET", "/v1/tasks/t1")).status_code == 404
    assert (await agent.invoke("what is my name?", id="t1"))["result"] == "You have not told me your name."


async def test_agents_are_shown(serve: Serve) -> None:
    agent = await serve()
    assert [one["id"] for one in (await agent.call("GET", "/v1/agents")).json()["items"]] == ["demo", "other"]
    assert (await agent.call("GET", "/v1/agents/demo")).json()["name"] == "Demo"
    assert (await agent.call("GET", "/health", x_api_key="")).json() == {"status": "ok"}


MANY = [f"https://files.example.com/{number}.txt" for number in range(1000)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/agents/demo/invoke", b"{", 422),
        ("POST", "/v1/agents/demo/invoke", {}, 422),
        ("POST", "/v1/agents/demo/invoke", {"input": {"text": 5}}, 422),
        ("POST", "/v1/agents/demo/invoke", {"input": {"text": "x", "files": ["u"] * 101}}, 422),
        ("POST", "/v1/agents/demo/invoke", {"input": {"text": "x", "files": MANY}}, 422),
        ("POST", "/v1/agents/demo/invoke/stream", {"input": {"text": "x", "images": MANY}}, 422),
        (
            "POST",
            "/v1/agents/demo/invoke/async",
            {
                "input": {"text": "x", "attachments": [{"url": url} for url in MANY]},
                "disable_attachment_injection": True,
            },
            422,
        ),
        ("POST", "/v1/agents/demo/invoke", {"input": {"text": "x"}, "id": "a/b"}, 422),
        ("POST", "/v1/agents/demo/invoke", {"input": {"text": "x"}, "id": "a\x00b"}, 422),
        ("POST", "/v1/agents/demo/invoke", {"input": {"text": "x"}, "id": "a" * 256}, 422),
        ("POST", "/v1/agents/demo/invoke", b'{"input":{"text":"\\ud800"}}', 422),
        ("POST", "/v1/agents/demo/invoke", b'{"input":{"text":"x"},"output_schema":' + b'{"a":' * 9000, 422),
        ("POST", "/v1/agents/demo/invoke", b'{"input":{"text":"' + b"x" * (9 << 20) + b'"}}', 413),
        ("POST", "/v1/agents/nobody/invoke", {"input": {"text": "x"}}, 404),
        ("POST", "/v1/agents/demo%00/invoke", {"input": {"text": "x"}}, 404),
        ("GET", "/v1/tasks/nothing", None, 404),
        ("GET", "/v1/tasks/no%00thing", None, 404),
        ("GET", "/v1/tasks/no%2Fthing", None, 404),
        ("GET", "/v1/tasks?page=0", None, 422),
        ("GET", "/v1/tasks?per_page=99999999999999999999", None, 422),
        ("GET", "/v1/tasks?status=queued", None, 422),
        ("GET", "/v1/tasks?user_id=%00", None, 422),
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/tasks", None, 405),
    ],
)
async def test_bad_input_is_refused_with_its_reason(
    serve: Serve, method: str, path: str, body: Any, status: int
) -> None:
    agent = await serve()
    response = await agent.call(method, path, body)
    assert response.status_code == status
    assert response.json()["detail"]


async def test_a_body_without_a_declared_length_is_limited_too(serve: Serve) -> None:
    agent = await serve(max_body=1000)
    assert (await agent.call("POST", "/v1/agents/demo/invoke", b"x" * 1001)).status_code == 413


async def test_a_text_may_hold_anything_that_is_text(serve: Serve) -> None:
    answer = await (await serve()).invoke("a\x00b \u2028 😀", id="weird id: 'ü' \"%\"")
    assert answer["result"] == "You said: a\ufffdb \u2028 😀"
    assert answer["id"] == "weird id: 'ü' \"%\""


@pytest.mark.parametrize(("key", "status"), [("key-1", 200), ("key-2", 200), ("key-3", 401), ("", 401)])
async def test_only_known_keys_come_in(serve: Serve, key: str, status: int) -> None:
    agent = await serve()
    assert (await agent.call("GET", "/v1/tasks", x_api_key=key)).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tasks",
        "/v1/tasks/t1",
        "/health/agents/demo",
        "/health/agent-execution/t1/status",
        "//health/agents/demo",
        "/openapi.json/agents/demo",
        "/demo/login/t1/../../../agents/demo",
        "/demo/agents/demo",
        "/healthy",
        "/health/",
    ],
)
async def test_nothing_but_the_open_pages_is_shown_without_a_key(serve: Serve, path: str) -> None:
    agent = await serve()
    await agent.invoke("hello", id="t1")
    assert (await agent.call("GET", path, x_api_key="")).status_code == 401


async def test_where_all_places_are_taken_nothing_is_stored(serve: Serve, held: HeldClock) -> None:
    agent = await serve(limits=Limits(running=1, waiting=1))
    for task_id in ("t1", "t2"):
        await agent.call("POST", "/v1/agents/demo/invoke/async", {"input": {"text": "sleep 5"}, "id": task_id})
    await held.until_someone_sleeps(5)
    refused = await agent.call("POST", "/v1/agents/demo/invoke/async", {"input": {"text": "hello"}, "id": "t3"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert (await agent.call("GET", "/v1/tasks/t2")).json()["status"] == "pending"
    assert (await agent.call("GET", "/v1/tasks")).json()["total"] == 2


async def test_what_a_stopped_server_left_is_finished_by_the_next(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await agent.call("POST", "/v1/agents/demo/invoke/async", {"input": {"text": "sleep 5"}, "id": "t1"})
    await held.until_someone_sleeps(5)
    held.sleepers.clear()
    again: Served = await serve()
    await held.until_someone_sleeps(5)
    await held.release(5)
    shown = await again.settled("t1")
    assert (shown["status"], shown["execution_attempts"]) == ("completed", 2)


async def test_a_turn_that_kills_its_process_again_and_again_fails(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await agent.call("POST", "/v1/agents/demo/invoke/async", {"input": {"text": "sleep 5"}, "id": "t1"})
    for _ in range(3):
        await held.until_someone_sleeps(5)
        held.sleepers.clear()
        agent = await serve()
    shown = await agent.settled("t1")
    assert shown["status"] == "failed"
    assert "3 times" in shown["result"]


@pytest.mark.parametrize("mode", ["stream", "sync"])
async def test_our_client_and_our_server_agree(serve: Serve, clock: LeapingClock, mode: Any, http: Any) -> None:
    agent = await serve()
    backend = Backend(http, base_url=agent.url, api_key="key-1", agent_id="demo", mode=mode, clock=clock)
    handle = await backend.invoke(InvokeRequest(prompt="hello", idempotency_key="k1"))
    events = [event.type async for event in handle.aevents()]
    assert events[-1] == "task_finished"
    assert (handle.status, handle.result) == ("completed", "You said: hello")
    again = await backend.attach(handle.id, InvokeRequest(prompt="hello", idempotency_key="k1"))
    assert [event.type async for event in again.aevents()] == ["task_finished"]


async def test_without_a_database_nothing_is_taken_on(serve: Serve) -> None:
    agent = await serve()
    agent.rows.failures = 1
    refused = await agent.call("POST", "/v1/agents/demo/invoke", {"input": {"text": "hello"}})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert (await agent.call("GET", "/v1/tasks")).json()["total"] == 0


async def test_an_end_that_cannot_be_stored_is_stored_later_and_told_then(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    running = asyncio.create_task(agent.invoke("sleep 5", id="t1"))
    await held.until_someone_sleeps(5)
    agent.rows.failures = 2
    await held.release(5)
    await held.until_someone_sleeps(0.5)
    assert (await agent.call("GET", "/v1/tasks/t1")).json()["status"] == "executing"
    await held.release(0.5)
    await held.until_someone_sleeps(1)
    await held.release(1)
    assert (await running)["status"] == "completed"


async def test_a_brain_that_takes_too_long_is_ended(serve: Serve) -> None:
    agent = await serve(limits=Limits(turn=timedelta(milliseconds=20)))
    answer = await agent.invoke("sleep 5")
    assert answer["status"] == "error"
    assert "took longer" in answer["result"]


async def test_a_brain_that_tells_too_much_is_ended(serve: Serve) -> None:
    agent = await serve(limits=Limits(events=3))
    answer = await agent.invoke("long 1000")
    assert (answer["status"], answer["result"]) == ("error", "The agent told more than 3 things.")


async def test_fragments_of_a_long_answer_are_kept_joined(serve: Serve) -> None:
    agent = await serve()
    body = {"input": {"text": "long 150000"}, "payload_extension": {"idempotency_key": "k1"}}
    live = told((await agent.call("POST", "/v1/agents/demo/invoke/stream", body)).text)
    later = told((await agent.call("POST", "/v1/agents/demo/invoke/stream", body)).text)
    chunks = ["".join(event["data"] for event in events if event["type"] == "chunk") for events in (live, later)]
    assert chunks[0] == chunks[1]
    assert (len(live), len(later)) == (753, 4)


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
async def test_a_key_that_cannot_be_kept_is_refused(serve: Serve, key: str) -> None:
    agent = await serve()
    response = await agent.call("POST", "/v1/agents/demo/invoke", {"input": {"text": "x"}}, idempotency_key=key)
    assert response.status_code == 400


@pytest.mark.parametrize("kind", ["", "/stream"])
async def test_a_turn_that_another_process_works_on_is_waited_for(serve: Serve, held: HeldClock, kind: str) -> None:
    agent = await serve()
    order = json.dumps({"input": {"text": "hello"}})
    elsewhere = NewTurn(task_id="t1", agent_id="demo", idempotency_key="k1", request=order, at=held.now())
    await agent.rows.begin(elsewhere)
    body = {"input": {"text": "hello"}, "payload_extension": {"idempotency_key": "k1"}}
    waiting = asyncio.create_task(agent.call("POST", f"/v1/agents/demo/invoke{kind}", body))
    await held.until_someone_sleeps(1)
    await agent.rows.change(TurnChange(task_id="t1", number=1, status="completed", result="done there", at=held.now()))
    await held.release(1)
    assert "done there" in (await waiting).text


async def test_a_turn_stored_in_doubt_is_worked_on_all_the_same(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    agent.rows.doubts = 1
    body = {"input": {"text": "hello"}, "id": "t1"}
    assert (await agent.call("POST", "/v1/agents/demo/invoke", body)).status_code == 503
    assert (await agent.call("GET", "/v1/tasks/t1")).json()["status"] == "executing"
    await held.until_someone_sleeps(2)
    await held.release(2)
    assert (await agent.settled("t1"))["status"] == "completed"


async def test_a_turn_taken_over_elsewhere_is_waited_for_to_its_end(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    running = asyncio.create_task(agent.invoke("sleep 5", id="t1"))
    await held.until_someone_sleeps(5)
    for status, only_from in (("paused", "executing"), ("executing", "paused")):  # a second attempt, as elsewhere
        change = TurnChange(task_id="t1", number=1, status=status, only_from=frozenset({only_from}), at=held.now())
        assert await agent.rows.change(change)
    await held.release(5)
    await held.until_someone_sleeps(1)
    await agent.rows.change(TurnChange(task_id="t1", number=1, status="completed", result="theirs", at=held.now()))
    await held.release(1)
    assert (await running)["result"] == "theirs"
