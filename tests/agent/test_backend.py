"""The client against a service that follows a script: what is sent, what is understood, what is raised."""

import asyncio
import inspect
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from bridge import Backend, User
from bridge.agent.request import InvokeRequest, OutputFormat
from bridge.agent.task import Task, TaskEvent
from bridge.errors import AgentError, Busy, Interrupted, Refused, Unreachable
from tests.agent.doubles import (
    BREAKS_OFF,
    HANGS_UP,
    Answer,
    LeapingClock,
    ScriptedService,
    answer,
    event,
    stream,
    task,
    text_answer,
)
from tests.words.wire import Peer, serving

HELLO = InvokeRequest(prompt="hello", idempotency_key="key-of-turn-1")


def backend_with(http: httpx2.AsyncClient, service: ScriptedService, clock: LeapingClock, **options: Any) -> Backend:
    return Backend(http, base_url=service.url, api_key="key-1", agent_id="a1", clock=clock, **options)


async def events_of(handle: Task) -> list[TaskEvent]:
    return [event async for event in handle.aevents()]


def types(events: list[TaskEvent]) -> list[str]:
    return [event.type for event in events]


async def test_the_next_turn_uses_the_connection_of_the_stream_before(http: httpx2.AsyncClient) -> None:
    async def speak(peer: Peer) -> None:
        while True:
            await peer.request()
            told = stream(event("task_created", task()), event("task_finished", task("completed")))
            for piece in (told.head, *told.pieces):  # the last chunk comes after the last event
                await peer.say(piece)
                await asyncio.sleep(0)

    async with serving(speak) as wire:
        backend = Backend(http, base_url=wire.url, api_key="key-1", agent_id="a1")
        for _ in range(3):
            assert types(await events_of(await backend.invoke(HELLO))) == ["task_finished"]
    assert wire.connections == 1


async def test_a_stream_that_never_ends_after_its_last_event_is_left(
    backend: Backend, service: ScriptedService
) -> None:
    told = stream(event("task_created", task()), event("task_finished", task("completed")))
    service.script([Answer(head=told.head, pieces=told.pieces[:-1], silent=True)])
    assert types(await events_of(await backend.invoke(HELLO))) == ["task_finished"]


async def test_a_stream_brings_the_id_first_then_chunks_then_the_end(
    backend: Backend, service: ScriptedService
) -> None:
    service.script(
        [
            stream(
                event("connected", None),
                event("task_created", task()),
                event("task_updated", task("executing")),
                event("chunk", "the "),
                event("chunk", "answer"),
                event("task_finished", task("completed")),
            )
        ]
    )
    handle = await backend.invoke(HELLO)
    assert (handle.id, handle.status) == ("t1", "pending")
    assert types(await events_of(handle)) == ["task_updated", "chunk", "chunk", "task_finished"]
    assert (handle.status, handle.result) == ("completed", "the answer")


@pytest.mark.parametrize(
    "anothers",
    [{"payload_extension": {"idempotency_key": "another"}}, {"input": {"text": "something else"}}],
    ids=["another key", "another text"],
)
@pytest.mark.parametrize("status", ["completed", "failed", "paused"])
async def test_a_stream_is_not_ended_by_another_turn_of_its_thread(
    backend: Backend, service: ScriptedService, anothers: dict[str, Any], status: str
) -> None:
    mine = task("completed", result="my answer", payload_extension={"idempotency_key": "key-of-turn-1"})
    earlier = event("task_finished" if status != "paused" else "task_updated", task(status, result="no", **anothers))
    service.script([stream(event("task_created", task()), earlier, event("task_finished", mine))])
    handle = await backend.invoke(HELLO)
    assert types(await events_of(handle)) == ["task_finished"]
    assert handle.result == "my answer"


async def test_a_stream_that_ends_with_another_turn_is_gone_on_with_by_reads(
    backend: Backend, service: ScriptedService
) -> None:
    anothers = task("completed", result="no", payload_extension={"idempotency_key": "another"})
    service.script(
        [
            stream(event("task_created", task()), event("task_finished", anothers)),
            answer(anothers),
            answer(task("completed", payload_extension={"idempotency_key": "key-of-turn-1"})),
        ]
    )
    handle = await backend.invoke(HELLO)
    await events_of(handle)
    assert handle.result == "the answer"


async def test_a_request_travels_with_key_user_and_version(backend: Backend, service: ScriptedService) -> None:
    service.script([stream(event("task_created", task()), event("task_finished", task("completed")))])
    ada = User(email="ada@example.com")
    request = replace(HELLO, user_details=ada, agent_version="7/b", existing_task_id="t 1")
    await events_of(await backend.invoke(request))
    [call] = service.calls
    assert call.path == "/v1/agents/a1/invoke/stream?version=7%2Fb"
    assert (call.headers["x-api-key"], call.headers["idempotency-key"]) == ("key-1", "key-of-turn-1")
    assert call.body == {
        "id": "t 1",
        "input": {"text": "hello", "files": [], "user": {"id": "ada@example.com", "email": "ada@example.com"}},
        "payload_extension": {"idempotency_key": "key-of-turn-1"},
        "source": "sdk",
    }


FULL = {
    "id": "t9",
    "input": {
        "text": "hi",
        "files": ["https://files.example.com/a.pdf"],
        "user": {"id": "u1", "email": "u@example.com", "first_name": "U", "timezone": "Europe/Paris"},
    },
    "payload_extension": {"channel": "C1", "idempotency_key": "k1"},
    "source": "slack",
    "worker_id": "w1",
    "run_locally": True,
    "output_format": "json",
    "output_schema": {"type": "object"},
    "events_streaming": True,
    "additional_context": "facts",
    "expected_output": "a list",
    "instructions_override": "be brief",
    "title": "A title",
    "think_mode": "harder",
    "disable_attachment_injection": True,
}


def test_every_field_has_its_place_in_the_rest_body() -> None:
    request = InvokeRequest(
        agent_id="a1",
        prompt="hi",
        existing_task_id="t9",
        file_urls=("https://files.example.com/a.pdf",),
        user_details=User(id="u1", email="u@example.com", first_name="U", timezone="Europe/Paris"),
        agent_version="7",
        tool_call_payload_extension={"channel": "C1"},
        source="slack",
        worker_id="w1",
        run_locally=True,
        output_format=OutputFormat.Json,
        output_schema={"type": "object"},
        events_streaming=True,
        additional_context="facts",
        expected_output="a list",
        instructions_override="be brief",
        title="A title",
        think_mode="harder",
        disable_attachment_injection=True,
        idempotency_key="k1",
    )
    assert request.rest_body() == FULL


def test_the_controller_body_says_null_where_the_sdk_does() -> None:
    body = InvokeRequest(prompt="hi").controller_body()
    assert body["input"] == {"text": "hi", "files": None}
    assert (body["id"], body["payload_extension"], body["think_mode"]) == (None, None, "default")
    assert body["run_locally"] is body["events_streaming"] is False


async def test_polling_asks_at_growing_distances_until_the_turn_is_over(
    http: httpx2.AsyncClient, service: ScriptedService, clock: LeapingClock
) -> None:
    backend = backend_with(http, service, clock, mode="poll")
    service.script([answer(task()), *[answer(task("executing"))] * 6, answer(task("completed"))])
    handle = await backend.invoke(HELLO)
    assert handle.status == "pending"
    assert types(await events_of(handle)) == ["task_updated", "task_finished"]
    assert clock.slept == [2.0, 3.0, 4.5, 6.75, 10.125, 15.0]
    assert service.calls[0].path == "/v1/agents/a1/invoke/async"


async def test_sync_comes_back_with_the_end_and_still_tells_it(
    http: httpx2.AsyncClient, service: ScriptedService, clock: LeapingClock
) -> None:
    service.script([answer(task("completed"))])
    handle = await backend_with(http, service, clock, mode="sync").invoke(HELLO)
    assert handle.result == "the answer"
    assert types(await events_of(handle)) == ["task_finished"]


@pytest.mark.parametrize("status", ["error", "failed", "stopped"])
async def test_a_failure_in_a_200_is_a_normal_end_with_its_text_kept(
    backend: Backend, service: ScriptedService, status: str
) -> None:
    end = task(status, result="Error code: 413 - request_too_large")
    service.script([stream(event("task_created", task()), event("task_finished", end))])
    handle = await backend.invoke(HELLO)
    await events_of(handle)
    assert (handle.status, handle.result) == (status, "Error code: 413 - request_too_large")


@pytest.mark.parametrize("cut", [True, False], ids=["connection broken", "ended without a finish"])
async def test_a_cut_stream_is_confirmed_by_a_read_and_goes_on_by_polling(
    backend: Backend, service: ScriptedService, *, cut: bool
) -> None:
    begun = [event("task_created", task()), event("task_updated", task("executing")), event("chunk", "the ")]
    service.script([stream(*begun, cut=cut), HANGS_UP, answer(task("executing")), answer(task("completed"))])
    handle = await backend.invoke(HELLO)
    assert types(await events_of(handle))[-1] == "task_finished"
    assert handle.result == "the answer"
    assert [call.path for call in service.calls[1:]] == ["/v1/tasks/t1"] * 3


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (answer({"detail": "bad"}, 400), Refused, "invalid"),
        (answer({"detail": "bad"}, 401), Refused, "api_key"),
        (answer({"detail": "bad"}, 403), Refused, "agent_id"),
        (answer({"detail": "bad"}, 404), Refused, "base_url"),
        (answer({"detail": "busy"}, 409), Busy, "previous turn"),
        (answer({"detail": "bad"}, 413), Refused, "too large"),
        (answer({"detail": "bad"}, 422), Refused, "options"),
        (answer({}, 307, location="https://other.example.com/"), Refused, "redirects to https://other"),
        (answer({}, 429), Unreachable, "no work now"),
        (answer({}, 503), Unreachable, "no work now"),
        (answer({}, 500), Interrupted, "may be running"),
        (answer({}, 502), Interrupted, "may be running"),
        (answer({}, 504), Interrupted, "may be running"),
        (text_answer(b"<h1>Maintenance</h1>"), Interrupted, "base_url"),
        (answer([1, 2]), Interrupted, "base_url"),
        (HANGS_UP, Interrupted, "broke"),
        (BREAKS_OFF, Interrupted, "broke"),
    ],
)
@pytest.mark.parametrize("mode", ["stream", "poll", "sync"])
async def test_failures_say_what_to_do(  # noqa: PLR0917 - the fixtures of one table
    http: httpx2.AsyncClient,
    service: ScriptedService,
    clock: LeapingClock,
    mode: str,
    reply: Answer,
    error: type[AgentError],
    words: str,
) -> None:
    service.script([reply])
    with pytest.raises(error) as raised:
        await backend_with(http, service, clock, mode=mode).invoke(HELLO)
    assert raised.type is error or raised.type.__base__ is error
    assert words in str(raised.value)
    assert "key-1" not in str(raised.value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "Sun, 22 Nov 2026 09:00:30 GMT"}, 30.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "1e308"}, 3600.0),
        ({"retry_after": "-5"}, 0.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "12"}, 12.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1795338045"}, 45.0),
        ({"x_ratelimit_remaining": "3", "x_ratelimit_reset": "12"}, None),
        ({}, None),
    ],
)
async def test_a_rate_limit_tells_when_to_come_back(
    backend: Backend, service: ScriptedService, headers: dict[str, str], seconds: float | None
) -> None:
    service.script([answer({}, 429, **headers)])
    with pytest.raises(Unreachable) as raised:
        await backend.invoke(HELLO)
    assert raised.value.after == seconds


async def test_where_nobody_listens_nothing_was_sent(http: httpx2.AsyncClient, clock: LeapingClock) -> None:
    backend = Backend(http, base_url="http://127.0.0.1:9", api_key="k", agent_id="a1", clock=clock)
    with pytest.raises(Unreachable, match="cannot be reached"):
        await backend.invoke(HELLO)


async def test_a_service_that_answers_json_instead_of_a_stream_is_polled(
    backend: Backend, service: ScriptedService
) -> None:
    service.script([answer(task("executing")), answer(task("completed"))])
    handle = await backend.invoke(HELLO)
    assert types(await events_of(handle)) == ["task_finished"]


async def test_a_pause_ends_the_events_with_the_link_to_show(backend: Backend, service: ScriptedService) -> None:
    login = {"type": "login_required", "data": {"url": "https://login.example.com", "server_name": "drive"}}
    service.script(
        [
            stream(
                event("task_created", task()),
                event("auth_event", login),
                event("task_updated", task("paused")),
                cut=True,
            )
        ]
    )
    handle = await backend.invoke(HELLO)
    assert types(await events_of(handle)) == ["auth_event", "task_updated"]
    assert handle.status == "paused"


async def test_a_pause_seen_by_polling_shows_its_link_too(
    http: httpx2.AsyncClient, service: ScriptedService, clock: LeapingClock
) -> None:
    waiting = task("paused", pending_eca_request={"connector_name": "drive", "auth_url": "https://login.example.com"})
    service.script([answer(task()), answer(waiting)])
    handle = await backend_with(http, service, clock, mode="poll").invoke(HELLO)
    events = await events_of(handle)
    assert types(events) == ["auth_event", "task_updated"]
    assert events[0].data["data"]["url"] == "https://login.example.com"


async def test_reattaching_waits_for_this_turn_not_for_the_previous_answer(
    backend: Backend, service: ScriptedService
) -> None:
    earlier = task("completed", result="the previous answer", payload_extension={"idempotency_key": "another"})
    mine = task("completed", payload_extension={"idempotency_key": "key-of-turn-1"})
    service.script([answer(earlier), answer(task("executing")), answer(earlier), answer(mine)])
    handle = await backend.attach("t1", HELLO)
    await events_of(handle)
    assert handle.result == "the answer"
    assert {call.method for call in service.calls} == {"GET"}


@pytest.mark.parametrize(
    "elsewhere",
    [
        answer(task("completed", payload_extension={"idempotency_key": "another"})),
        answer(task("completed", input={"text": "something else"})),
        answer({"detail": "no such task"}, 404),
    ],
    ids=["another key", "another text", "gone"],
)
async def test_a_turn_that_never_shows_is_interrupted_after_a_while(
    backend: Backend, service: ScriptedService, clock: LeapingClock, elsewhere: Answer
) -> None:
    service.script([elsewhere] * 20)
    with pytest.raises(Interrupted, match="no longer shows"):
        await events_of(await backend.attach("t1", HELLO))
    assert 30 <= sum(clock.slept) <= 60


@pytest.mark.parametrize(("said", "known"), [("hello", True), ("something earlier", False)])
async def test_the_short_form_is_checked_against_the_thread(
    backend: Backend, service: ScriptedService, said: str, *, known: bool
) -> None:
    short = {"id": "t1", "agent_id": "a1", "status": "completed", "result": "the answer"}
    thread = [{"role": "user", "content": "once"}, {"role": "user", "content": said}, {"role": "assistant"}]
    service.script([answer(short), answer(thread)] * 20)
    handle = await backend.attach("t1", replace(HELLO, existing_task_id="t1"))
    if known:
        await events_of(handle)
        assert handle.result == "the answer"
    else:
        with pytest.raises(Interrupted):
            await events_of(handle)


async def test_polling_outlasts_an_outage_and_does_as_the_rate_limit_says(
    backend: Backend, service: ScriptedService, clock: LeapingClock
) -> None:
    service.script([answer({}, 429, retry_after="40"), BREAKS_OFF, answer({}, 500), answer(task("completed"))])
    await events_of(await backend.attach("t1", HELLO))
    assert clock.slept == [40.0, 3.0, 4.5]


async def test_a_turn_without_end_is_interrupted_when_its_time_is_over(
    http: httpx2.AsyncClient, service: ScriptedService, clock: LeapingClock
) -> None:
    backend = backend_with(http, service, clock, mode="poll", timeout=timedelta(seconds=60))
    service.script([answer(task("executing"))] * 20)
    handle = await backend.invoke(HELLO)
    with pytest.raises(Interrupted, match="may still be running"):
        await events_of(handle)
    assert sum(clock.slept) == 60


async def test_a_key_that_stops_working_ends_the_polling(backend: Backend, service: ScriptedService) -> None:
    service.script([answer({}, 401)])
    with pytest.raises(Refused, match="api_key"):
        await events_of(await backend.attach("t1", HELLO))


async def test_stop_posts_and_never_deletes(backend: Backend, service: ScriptedService) -> None:
    service.script([answer(task("stopped")), answer(task("stopped"))])
    handle = await backend.stop("t/1")
    await handle.astop()
    assert handle.status == "stopped"
    assert [(call.method, call.path) for call in service.calls] == [
        ("POST", "/v1/tasks/t%2F1/stop"),
        ("POST", "/v1/tasks/t1/stop"),
    ]


@pytest.mark.parametrize("reply", [text_answer(b"", 204), text_answer(b"OK"), answer({"ok": True})])
async def test_a_decision_is_told_whatever_the_service_says_to_it(
    backend: Backend, service: ScriptedService, reply: Answer
) -> None:
    service.script([reply, reply])
    await backend.decide("/tasks/{task_id}/decide", "t/1", decision_id="d1", choice="approve", decided_by="U1")
    await backend.tell("/feedback", "t1", {"value": "1"}, key="k1")
    assert [call.path for call in service.calls] == ["/v1/tasks/t%2F1/decide", "/v1/feedback"]


async def test_reading_a_task_anew_shows_the_newest_state(backend: Backend, service: ScriptedService) -> None:
    service.script([answer(task("executing")), answer(task("completed"))])
    handle = await backend.ainvoke_agent(prompt="hello")
    await handle.areload()
    assert handle.status == "completed"


async def test_a_chosen_id_is_known_before_the_call(
    http: httpx2.AsyncClient, service: ScriptedService, clock: LeapingClock
) -> None:
    backend = backend_with(http, service, clock, choose_task_ids=True, mode="poll")
    service.script([answer(task(id="key-of-turn-1"))])
    handle = await backend.invoke(HELLO)
    assert backend.task_id_for(HELLO) == handle.id == service.calls[0].body["id"] == "key-of-turn-1"


async def test_the_reference_to_a_task_creates_nothing(backend: Backend, service: ScriptedService) -> None:
    service.script([answer(task("completed"))])
    handle = await backend.ainvoke_agent(prompt='{"xpander_task_id": "t1"}')
    assert handle.result == "the answer"
    assert [(call.method, call.path) for call in service.calls] == [("GET", "/v1/tasks/t1")]


@pytest.mark.parametrize("failure", [answer({}, 404), answer({}, 500), BREAKS_OFF])
async def test_a_reference_that_cannot_be_read_becomes_a_normal_call(
    backend: Backend, service: ScriptedService, failure: Answer
) -> None:
    service.script([failure, answer(task())])
    await backend.ainvoke_agent(prompt='{"xpander_task_id": "t1"}')
    assert service.calls[1].body["input"]["text"] == '{"xpander_task_id": "t1"}'


async def test_what_a_person_typed_never_references_a_task(backend: Backend, service: ScriptedService) -> None:
    service.script([stream(event("task_created", task()), event("task_finished", task("completed")))])
    await backend.invoke(InvokeRequest(prompt='{"xpander_task_id": "t1"}'))
    assert [call.method for call in service.calls] == ["POST"]


async def test_the_blocking_twin_names_the_other_inside_a_loop(backend: Backend) -> None:
    with pytest.raises(RuntimeError, match="await ainvoke_agent"):
        backend.invoke_agent(prompt="hello")


async def test_the_blocking_twin_takes_everything_from_the_environment(
    service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPANDER_BASE_URL", service.url + "/v1/")
    monkeypatch.setenv("XPANDER_API_KEY", "key-2")
    monkeypatch.setenv("XPANDER_AGENT_ID", "a7")
    service.script([answer(task()), answer(task())])
    backend = Backend()
    for _ in range(2):
        handle = await asyncio.to_thread(backend.invoke_agent, prompt="hello")
        assert (handle.id, handle.status) == ("t1", "pending")
    assert service.calls[1].path == "/v1/agents/a7/invoke/async"
    assert service.calls[1].headers["x-api-key"] == "key-2"


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "sécret"},
        {"base_url": "no address"},
        {"base_url": "ftp://x"},
    ],
)
async def test_an_address_or_key_that_cannot_be_is_refused(http: httpx2.AsyncClient, options: dict[str, str]) -> None:
    backend = Backend(http, **{"base_url": "http://127.0.0.1:9", "api_key": "k", "agent_id": "a1"} | options)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="check base_url and api_key") as raised:
        await backend.invoke(HELLO)
    assert "cret" not in str(raised.value)


async def test_without_an_agent_nothing_is_sent(http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XPANDER_AGENT_ID", raising=False)
    with pytest.raises(Refused, match="XPANDER_AGENT_ID"):
        await Backend(http).ainvoke_agent(prompt="hello")


def test_the_call_has_the_contracts_fifteen_parameters_in_order() -> None:
    expected = (
        "agent_id prompt existing_task_id file_urls user_details agent_version tool_call_payload_extension source "
        "worker_id run_locally output_format output_schema events_streaming additional_context expected_output"
    )
    for function in (Backend.ainvoke_agent, Backend.invoke_agent):
        assert list(inspect.signature(function).parameters) == ["self", *expected.split()]
