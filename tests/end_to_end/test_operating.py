"""An operator over HTTP: what he may set going again, and what he is told where he may not."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.end_to_end.conftest import Opened
from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS, Sink, post, request


async def accepted(opened: Opened, text: str, conversation: str = "order-7") -> str:
    response = await post(opened.http, request(text, conversation=conversation))
    assert response.status_code == 202, response.text
    message_id: str = response.json()["message_id"]
    return message_id


async def operate(http: httpx2.AsyncClient, path: str, **body: Any) -> httpx2.Response:
    return await http.post(f"/v1/{path}", json=body, headers=ADMIN)


async def test_a_dead_message_is_asked_again_and_its_cause_stays_on_record(opened: Opened, sink: Sink) -> None:
    message_id = await accepted(opened, "fail out of cheese")
    await sink.callbacks(1)
    await opened.settled()
    would = await operate(opened.http, f"messages/{message_id}/replay", how="invoke", dry_run=True)
    assert would.status_code == 200, would.text
    assert "out of cheese" in would.json()["does"]
    assert (await opened.settled()).dead == 1
    done = await operate(opened.http, f"messages/{message_id}/replay", how="invoke")
    assert done.json()["turn_id"] != would.json()["turn_id"]
    assert "wake" not in done.json()
    callbacks = await sink.callbacks(2)
    assert len({callback.id for callback in callbacks}) == 2
    assert {callback.opened()["message_id"] for callback in callbacks} == {message_id}
    assert (await opened.settled()).dead == 1  # the demo agent obeys again


async def test_an_answer_is_sent_once_more(opened: Opened, sink: Sink) -> None:
    message_id = await accepted(opened, "hello")
    await sink.callbacks(1)
    await opened.settled()
    await operate(opened.http, f"messages/{message_id}/replay", how="repost")
    first, second = await sink.callbacks(2)
    assert first.id != second.id
    assert first.opened()["result"] == second.opened()["result"]
    assert (await opened.settled()).answered == 1


async def test_many_are_asked_again_by_a_filter_and_a_rehearsal_changes_nothing(opened: Opened, sink: Sink) -> None:
    dead = [await accepted(opened, f"fail {number}") for number in range(3)]
    await accepted(opened, "hello")
    await sink.callbacks(4)
    await opened.settled()
    wish = {"how": "invoke", "state": "dead", "source": "orders"}
    would = (await operate(opened.http, "messages/replay", **wish, dry_run=True)).json()
    assert [one["message_id"] for one in would["done"]] == dead
    assert (await opened.settled()).dead == 3
    assert len(sink.received) == 4
    done = (await operate(opened.http, "messages/replay", **wish, limit=2)).json()
    assert [one["message_id"] for one in done["done"]] == dead[1:]  # the newest two, oldest first
    assert done["refused"] == []
    await sink.callbacks(6)
    assert (await opened.settled()).dead == 3  # the demo agent obeys again


async def test_a_refusal_stops_none_of_the_others(opened: Opened, sink: Sink) -> None:
    message_id = await accepted(opened, "hello")
    failed = await accepted(opened, "fail")
    await sink.callbacks(2)
    await opened.settled()
    many = (await operate(opened.http, "messages/replay", how="reattach", state="answered")).json()
    assert ([one["id"] for one in many["refused"]], many["done"]) == ([message_id], [])
    many = (await operate(opened.http, "messages/replay", how="done", state="dead")).json()
    assert [one["message_id"] for one in many["done"]] == [failed]


async def test_dead_deliveries_are_retried_by_a_filter(opened: Opened, sink: Sink) -> None:
    sink.answers.extend([(400, {}), (400, {})])
    for number in range(2):
        await accepted(opened, f"hello {number}")
    await sink.callbacks(2)
    await opened.books(lambda books: books.dead == 2)
    many = (await operate(opened.http, "deliveries/retry", state="dead")).json()
    assert len(many["done"]) == 2
    assert len({callback.id for callback in await sink.callbacks(4)}) == 2
    assert (await opened.settled()).answered == 2


async def test_a_dead_delivery_is_retried_under_its_own_id(opened: Opened, sink: Sink) -> None:
    sink.answers.append((400, {}))
    await accepted(opened, "hello")
    (first,) = await sink.callbacks(1)
    await opened.books(lambda books: books.dead == 1)
    (delivery,) = (await opened.http.get("/v1/deliveries?state=dead", headers=ADMIN)).json()["deliveries"]
    response = await operate(opened.http, f"deliveries/{delivery['delivery_id']}/retry")
    assert response.status_code == 200, response.text
    assert (await sink.callbacks(2))[1].id == first.id
    assert (await opened.settled()).answered == 1


async def test_reattaching_to_an_answered_turn_is_a_conflict_that_says_what_to_do(opened: Opened, sink: Sink) -> None:
    message_id = await accepted(opened, "hello")
    await sink.callbacks(1)
    await opened.settled()
    response = await operate(opened.http, f"messages/{message_id}/replay", how="reattach")
    assert (response.status_code, response.headers["content-type"]) == (409, "application/problem+json")
    assert "how=repost" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("messages/msg_unknown/replay", b'{"how":"invoke"}', 404),
        ("messages/msg_unknown/replay", b'{"how":"again"}', 422),
        ("messages/msg_unknown/replay", b"{}", 422),
        ("messages/msg_unknown/replay", b'{"how":"invoke","dryrun":true}', 422),
        ("messages/msg_unknown/replay", b'{"how":"invoke","dry_run":"yes"}', 422),
        ("messages/msg_unknown/replay", b"not json", 422),
        ("messages/msg_unknown/replay", b"\xff\xfe", 422),
        ("messages/msg_unknown/replay", b"[" * 10_000, 422),
        ("messages/msg_unknown/replay", b" " * 70_000, 413),
        ("messages/%00/replay", b'{"how":"invoke"}', 400),
        ("messages/replay", b'{"how":"invoke"}', 422),
        ("messages/replay", b'{"how":"invoke","state":"lost"}', 422),
        ("messages/replay", b'{"how":"invoke","state":"dead","since":"2026-11-22T12:00:00"}', 422),
        ("messages/replay", b'{"how":"invoke","state":"dead","source":"team\\u0000"}', 422),
        ("deliveries/retry", b'{"state":"dead","source":"My Team"}', 422),
        ("deliveries/retry", b"", 422),
        ("deliveries/dlv_unknown/retry", b"", 404),
        ("deliveries/dlv_unknown/retry", b'{"how":"invoke"}', 422),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused(opened: Opened, path: str, body: bytes, status: int) -> None:
    response = await opened.http.post(f"/v1/{path}", content=body, headers=ADMIN)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=many",
        "since=yesterday",
        "since=2026-11-22T12:00:00",
        "state=%00",
        "state=daed",
        "stat=dead",
        "source=A",
    ],
)
@pytest.mark.parametrize("path", ["messages", "deliveries"])
async def test_a_filter_that_makes_no_sense_is_refused(opened: Opened, path: str, query: str) -> None:
    response = await opened.http.get(f"/v1/{path}?{query}", headers=ADMIN)
    assert response.status_code in {400, 422}, response.text


@pytest.mark.parametrize(
    "path", ["messages/msg_1/replay", "deliveries/dlv_1/retry", "messages/replay", "deliveries/retry"]
)
async def test_nobody_but_the_operator_sets_anything_going(opened: Opened, path: str) -> None:
    assert (await opened.http.post(f"/v1/{path}", json={"how": "invoke"})).status_code == 401
    mine = {"authorization": "Bearer something else"}
    assert (await opened.http.post(f"/v1/{path}?token=x", json={"how": "invoke"}, headers=mine)).status_code == 401


async def test_a_sender_may_not_replay_with_the_token_of_his_message(opened: Opened, sink: Sink) -> None:
    status_url = (await post(opened.http, request("hello"))).json()["status_url"]
    await sink.callbacks(1)
    path, _, token = status_url.partition("/v1/")[2].partition("?")
    assert (await opened.http.get(f"/v1/{path}?{token}")).status_code == 200
    assert (await opened.http.post(f"/v1/{path}/replay?{token}", json={"how": "invoke"})).status_code == 401


async def test_a_running_turn_is_stopped_at_the_agent(opened: Opened, sink: Sink) -> None:
    message_id = await accepted(opened, "sleep 600")
    task_id = await _running(opened, message_id)
    conversation_id = (await _journey(opened, message_id))["conversation_id"]
    response = await operate(opened.http, f"conversations/{conversation_id}/stop")
    assert (response.status_code, response.json()["stopping"]) == (200, 1), response.text
    (callback,) = await sink.callbacks(1)
    assert (callback.data["task_id"], callback.data["status"]) == (task_id, "stopped")
    assert (await opened.settled()).cancelled == 1


async def test_an_erased_conversation_is_stopped_first_and_begins_anew(opened: Opened, sink: Sink) -> None:
    await accepted(opened, "My name is Ada.")
    await sink.callbacks(1)
    message_id = await accepted(opened, "sleep 600")
    task_id = await _running(opened, message_id)
    conversation_id = (await _journey(opened, message_id))["conversation_id"]
    response = await opened.http.delete(f"/v1/conversations/{conversation_id}", headers=ADMIN)
    assert (response.status_code, response.json()["messages"]) == (200, 2), response.text
    counts = await opened.settled()
    assert (counts.answered, counts.cancelled, counts.balanced) == (1, 1, True)
    known = len(sink.received)
    await accepted(opened, "What is my name?")
    again = (await sink.callbacks(known + 1))[-1].data
    assert again["task_id"] != task_id
    assert "Ada" not in again["result"]
    assert (await opened.http.delete("/v1/conversations/cnv_unknown", headers=ADMIN)).status_code == 404
    assert (await opened.http.delete(f"/v1/conversations/{conversation_id}")).status_code == 401


async def _journey(opened: Opened, message_id: str) -> dict[str, Any]:
    journey: dict[str, Any] = (await opened.http.get(f"/v1/messages/{message_id}", headers=ADMIN)).json()
    return journey


async def _running(opened: Opened, message_id: str) -> str:
    """The task id, once the turn runs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (task_id := (await _journey(opened, message_id))["task_id"]) is None:  # noqa: ASYNC110 - rows do not tell when they change
            await asyncio.sleep(0.01)
    return str(task_id)
