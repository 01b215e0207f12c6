"""Conversations: what is said while a turn runs waits, in order, through crashes, until it is begun or cleared."""

import asyncio
from typing import Any

import pytest

from tests.agent.conftest import Serve
from tests.agent.doubles import HeldClock, Served

BOTH = pytest.mark.parametrize("prefix", ["/v1/agents/demo/gateway", "/v1/agents/demo"])
AT = "/v1/agents/demo/gateway/conversations/c1"


async def busy(agent: Served, held: HeldClock, text: str = "sleep 5") -> None:
    """A turn that runs until the clock is released."""
    await agent.call("POST", "/v1/agents/demo/invoke/async", {"input": {"text": text}, "id": "c1"})
    await held.until_someone_sleeps(5)


async def say(agent: Served, text: str, at: str = AT, **more: Any) -> dict[str, Any]:
    response = await agent.call("POST", f"{at}/messages", {"text": text, **more})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


async def said(agent: Served, count: int) -> list[str]:
    """The thread's user messages, once there are so many and nothing runs."""
    for _ in range(2000):
        thread = (await agent.call("GET", "/v1/tasks/c1/thread")).json()
        words = [one["content"] for one in thread if one["role"] == "user"]
        if len(words) >= count and not (await state(agent))["is_running"]:
            return words
        await asyncio.sleep(0.002)
    raise AssertionError(f"only {words}")


async def state(agent: Served, at: str = AT) -> dict[str, Any]:
    response = await agent.call("GET", f"{at}/run-state")
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


@BOTH
async def test_what_is_said_meanwhile_waits_and_is_answered_in_order(
    serve: Serve, held: HeldClock, prefix: str
) -> None:
    agent = await serve()
    at = f"{prefix}/conversations/c1"
    await busy(agent, held)
    user = {"id": "u1", "email": "u1@example.com"}
    first = await say(agent, "one", at, user=user, files=["https://files.example.com/a.txt"])
    second = await say(agent, "two", at, mode="steer")
    assert (first["action"], first["queue_depth"], first["steer_target"]) == ("queued", 1, None)
    assert (second["action"], second["queue_depth"]) == ("queued", 2)
    shown = await state(agent, at)
    assert (shown["is_running"], shown["is_steerable"], shown["queue_depth"]) == (True, False, 2)
    assert [one["text"] for one in shown["queued_messages"]] == ["one", "two"]
    assert (shown["queued_messages"][0]["id"], shown["queued_messages"][0]["user"]) == (first["message_id"], user)
    await held.release(5)
    assert await said(agent, 3) == ["sleep 5", "one", "two"]
    shown = await state(agent, at)
    assert (shown["conversation_state"], shown["queue_depth"], shown["execution_status"]) == ("idle", 0, "completed")


async def test_what_is_said_to_an_idle_conversation_is_the_callers_to_run(serve: Serve) -> None:
    agent = await serve()
    assert (await say(agent, "hello"))["action"] == "started"
    assert (await agent.call("GET", f"{AT}/run-state")).status_code == 404
    body = {"input": {"text": "hello"}, "id": "c1"}
    assert (await agent.call("POST", "/v1/agents/demo/gateway/invoke", body)).json()["result"] == "You said: hello"
    told = await agent.call("POST", "/v1/agents/demo/gateway/invoke/stream", body)
    assert '"task_finished"' in told.text
    assert (await say(agent, "again")) == {
        "action": "started",
        "message_id": None,
        "queue_depth": 0,
        "steer_target": None,
    }


async def test_the_same_key_waits_once_and_is_known_when_it_has_run(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await busy(agent, held)
    told = await asyncio.gather(*(say(agent, "one", idempotency_key="k1") for _ in range(3)))
    assert len({one["message_id"] for one in told}) == 1
    await held.release(5)
    assert await said(agent, 2) == ["sleep 5", "one"]
    await busy(agent, held)
    assert (await say(agent, "one", idempotency_key="k1"))["queue_depth"] == 0
    await held.release(5)
    assert await said(agent, 3) == ["sleep 5", "one", "sleep 5"]


async def test_what_waits_survives_the_process(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await busy(agent, held)
    await say(agent, "one")
    await held.release(1)
    agent = await serve()
    await held.until_someone_sleeps(5)
    assert (await state(agent))["queue_depth"] == 1
    await held.release(5)
    assert await said(agent, 2) == ["sleep 5", "one"]


async def test_what_nobody_began_is_begun_by_the_beat(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await busy(agent, held)
    await say(agent, "one")
    await agent.call("POST", f"{AT}/stop")
    await agent.call("PATCH", "/agent-execution/c1/update", {"status": "completed", "result": "by hand"})
    assert (await state(agent))["queue_depth"] == 1
    await held.until_someone_sleeps(2)
    await held.release(2)
    assert await said(agent, 2) == ["sleep 5", "one"]


async def test_after_a_stop_what_waits_waits_until_it_is_asked_for(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await busy(agent, held)
    await say(agent, "one")
    await say(agent, "two")
    assert (await agent.call("POST", f"{AT}/stop")).json()["status"] == "stopped"
    await held.release(2)
    assert (await state(agent))["queue_depth"] == 2
    told = await agent.call("POST", f"{AT}/drain/stream")
    assert "You said: one" in told.text
    assert await said(agent, 3) == ["sleep 5", "one", "two"]
    assert (await agent.call("POST", f"{AT}/drain/stream")).text == ""


async def test_a_stop_may_clear_what_waits(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await busy(agent, held)
    await say(agent, "one")
    assert (await agent.call("POST", f"{AT}/drain/stream")).text == ""  # a run owns it
    stopped = await agent.call("POST", f"{AT}/stop", {"clear_queue": True})
    assert stopped.json()["is_manually_stopped"] is True
    assert (await state(agent))["queue_depth"] == 0


CARD = {"answers": [{"question_id": "colour", "selected_option_ids": ["red"], "free_text": "or so"}]}


async def test_a_question_is_answered_by_choice(serve: Serve) -> None:
    agent = await serve()
    await agent.invoke("ask", id="c1")
    assert (await state(agent))["conversation_state"] == "paused"
    told = await agent.call("POST", f"{AT}/answers", CARD)
    assert told.headers["content-type"].startswith("text/event-stream")
    assert "You said: red, or so" in told.text
    assert (await agent.call("POST", f"{AT}/answers", CARD)).status_code == 400


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [{"question_id": "size"}],
        [{"question_id": "colour"}],
        [{"question_id": "colour", "selected_option_ids": ["green"]}],
    ],
)
async def test_an_answer_that_does_not_fit_runs_nothing(serve: Serve, answers: list[Any]) -> None:
    agent = await serve()
    await agent.invoke("ask", id="c1")
    assert (await agent.call("POST", f"{AT}/answers", {"answers": answers})).status_code == 400
    assert (await state(agent))["execution_status"] == "paused"


@pytest.mark.parametrize("path", ["messages", "stop", "answers", "drain/stream"])
async def test_another_agents_conversation_is_none(serve: Serve, path: str) -> None:
    agent = await serve()
    await agent.invoke("ask", id="c1")
    body = CARD if path == "answers" else {}
    other = await agent.call("POST", f"/v1/agents/other/gateway/conversations/c1/{path}", body)
    assert other.status_code == 404
    nobody = await agent.call("POST", f"/v1/agents/nobody/gateway/conversations/c1/{path}", body)
    assert nobody.status_code == 404


async def test_not_everything_can_wait(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await busy(agent, held)
    for number in range(100):
        await say(agent, str(number))
    assert (await agent.call("POST", f"{AT}/messages", {"text": "one more"})).status_code == 429
    await agent.call("DELETE", "/v1/tasks/c1")
    assert (await agent.call("GET", f"{AT}/run-state")).status_code == 404
    await agent.invoke("hello", id="c1")
    assert (await state(agent))["queue_depth"] == 0


async def thread(agent: Served) -> list[tuple[str, str]]:
    """Each message of the conversation: its id and what it says."""
    told = (await agent.call("GET", "/v1/tasks/c1/thread")).json()
    return [(one["id"], one["content"]) for one in told]


@BOTH
async def test_an_edited_message_is_run_again_and_what_came_after_it_is_gone(serve: Serve, prefix: str) -> None:
    agent = await serve()
    for text in ("my name is Sam", "my name is Ada", "what is my name?"):
        await agent.invoke(text, id="c1")
    second = (await thread(agent))[2][0]
    edit = f"{prefix}/conversations/c1/edit/{second}"
    answer = await agent.call("POST", edit, {"input": {"text": "what did I say?"}})
    assert (answer.status_code, answer.json()["id"]) == (200, "c1")
    assert answer.json()["result"] == "You said before: my name is Sam"
    assert [text for _, text in await thread(agent)][::2] == ["my name is Sam", "what did I say?"]
    assert (await agent.call("POST", edit, {"input": {"text": "again"}})).status_code == 404  # it is gone, too


async def test_the_first_message_may_be_edited_and_told_as_it_happens(serve: Serve) -> None:
    agent = await serve()
    await agent.invoke("one", id="c1")
    await agent.invoke("two", id="c1")
    told = await agent.call("POST", f"{AT}/edit/c1:1:user/stream", {"input": {"text": "what did I say?"}})
    assert "You have said nothing before." in told.text
    assert '"task_finished"' in told.text
    assert (await agent.invoke("what did I say?", id="c1"))["result"] == "You said before: what did I say?"


async def test_an_edit_stops_what_runs_and_the_same_key_edits_once(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await busy(agent, held)
    edit = {"input": {"text": "hello"}, "payload_extension": {"idempotency_key": "k1"}}
    answers = [await agent.call("POST", f"{AT}/edit/c1:1:user", edit) for _ in range(2)]
    assert [answer.json()["result"] for answer in answers] == ["You said: hello"] * 2
    assert [text for _, text in await thread(agent)] == ["hello", "You said: hello"]


async def test_a_repeated_edit_does_not_stop_the_turn_it_began(serve: Serve, held: HeldClock) -> None:
    agent = await serve()
    await agent.invoke("one", id="c1")
    edit = {"input": {"text": "sleep 5"}, "payload_extension": {"idempotency_key": "k1"}}
    edits = [asyncio.create_task(agent.call("POST", f"{AT}/edit/c1:1:user", edit)) for _ in range(2)]
    await held.until_someone_sleeps(5)
    edits.append(asyncio.create_task(agent.call("POST", f"{AT}/edit/c1:1:user", edit)))
    assert (await state(agent))["is_running"]
    await held.release(5)
    assert {(await one).json()["status"] for one in edits} == {"completed"}


NOTHING = ["c1:2:user", "c1:1:assistant", "c1:0:user", "c2:1:user", "c1:x:user", ":user", "c1:1", "c1:\u0661:user"]


@pytest.mark.parametrize("message_id", NOTHING)
async def test_what_is_no_message_of_a_person_there_cannot_be_edited(
    serve: Serve, held: HeldClock, message_id: str
) -> None:
    agent = await serve()
    await busy(agent, held)
    response = await agent.call("POST", f"{AT}/edit/{message_id}", {"input": {"text": "x"}})
    assert response.status_code == 404
    assert (await state(agent))["is_running"]  # and nothing was stopped for it
