"""A signed webhook becomes a task, its answer comes back signed, and a reply goes on with the same task."""

import asyncio

import httpx2
import pytest

from tests.end_to_end.conftest import Opened
from tests.end_to_end.parties import ADMIN, SECRET, Sink, post, request


async def test_a_signed_webhook_is_answered_by_a_signed_callback(http: httpx2.AsyncClient, sink: Sink) -> None:
    accepted = await post(http, request("hello", conversation="order-7", metadata={"order": 7}))
    assert accepted.status_code == 202, accepted.text
    (callback,) = await sink.callbacks(1)
    answer = callback.opened()
    assert answer["message_id"] == accepted.json()["message_id"]
    assert (answer["conversation"], answer["metadata"], answer["status"]) == ("order-7", {"order": 7}, "completed")
    assert answer["result"] == "You said: hello"


async def test_a_reply_in_the_conversation_goes_on_with_the_same_task(http: httpx2.AsyncClient, sink: Sink) -> None:
    await post(http, request("My name is Ada.", conversation="order-7"))
    await sink.callbacks(1)
    await post(http, request("What is my name?", conversation="order-7"))
    first, second = [callback.opened() for callback in await sink.callbacks(2)]
    assert second["task_id"] == first["task_id"]
    assert "Ada" in second["result"]


async def test_other_conversations_are_other_tasks(http: httpx2.AsyncClient, sink: Sink) -> None:
    await asyncio.gather(*(post(http, request(conversation=f"order-{number}")) for number in range(5)))
    answers = [callback.opened() for callback in await sink.callbacks(5)]
    assert len({answer["task_id"] for answer in answers}) == 5


async def test_messages_of_a_conversation_are_answered_in_the_order_they_came(
    http: httpx2.AsyncClient, sink: Sink
) -> None:
    for number in range(10):
        assert (await post(http, request(f"number {number}", conversation="order-7"))).status_code == 202
    answers = [callback.opened() for callback in await sink.callbacks(10)]
    assert [answer["result"] for answer in answers] == [f"You said: number {number}" for number in range(10)]
    assert len({answer["task_id"] for answer in answers}) == 1


@pytest.mark.parametrize("copies", [2, 20])
async def test_copies_at_the_same_moment_are_one_turn_and_one_callback(opened: Opened, sink: Sink, copies: int) -> None:
    sent = request("hello")
    responses = await asyncio.gather(*(post(opened.http, sent) for _ in range(copies)))
    assert {response.status_code for response in responses} == {202}
    assert len({response.text for response in responses}) == 1
    await _is_answered_once(opened, sink)


async def test_a_copy_after_the_answer_gets_the_same_ids_and_changes_nothing(opened: Opened, sink: Sink) -> None:
    sent = request("hello")
    first = await post(opened.http, sent)
    await sink.callbacks(1)
    again = await post(opened.http, sent)
    assert (again.status_code, again.json()) == (202, first.json())
    await _is_answered_once(opened, sink)


async def _is_answered_once(opened: Opened, sink: Sink) -> None:
    """Everything sent before a later message of its conversation is answered would have been answered before that."""
    await sink.callbacks(1)
    await post(opened.http, request("the last word", conversation="another"))
    callbacks = await sink.callbacks(2)
    assert callbacks[1].opened()["result"] == "You said: the last word"
    counts = await opened.settled()
    assert (counts.accepted, counts.answered) == (2, 2)
    assert len(sink.received) == 2


async def test_the_status_url_shows_the_journey_to_whoever_sent_the_message(opened: Opened, sink: Sink) -> None:
    accepted = (await post(opened.http, request("hello"))).json()
    await sink.callbacks(1)
    await opened.settled()
    path = accepted["status_url"].removeprefix("http://127.0.0.1:8080")
    view = (await opened.http.get(path)).json()
    assert (view["state"], view["status"], view["result"]) == ("answered", "completed", "You said: hello")
    assert [delivery["state"] for delivery in view["deliveries"]] == ["sent"]
    assert view["task_id"] == sink.received[0].data["task_id"]


async def test_a_status_url_opens_its_own_message_only(opened: Opened, sink: Sink) -> None:
    first, second = [(await post(opened.http, request("hello"))).json() for _ in range(2)]
    await sink.callbacks(2)
    _, _, token = first["status_url"].partition("?token=")
    other = await opened.http.get(f"/v1/messages/{second['message_id']}?token={token}")
    assert other.status_code == 404
    assert other.text == (await opened.http.get(f"/v1/messages/msg_unknown?token={token}")).text
    assert (await opened.http.get(f"/v1/messages/{second['message_id']}")).status_code == 401
    assert SECRET not in other.text


async def test_the_operator_reads_a_ledger_that_balances(opened: Opened, sink: Sink) -> None:
    await post(opened.http, request("hello"))
    await sink.callbacks(1)
    await opened.settled()
    books = (await opened.http.get("/v1/ledger", headers=ADMIN)).json()
    assert (books["accepted"], books["answered"], books["balanced"]) == (1, 1, True)


async def test_a_failed_turn_is_told_to_the_caller_without_the_raw_error(opened: Opened, sink: Sink) -> None:
    accepted = (await post(opened.http, request("fail because of a secret reason"))).json()
    (callback,) = await sink.callbacks(1)
    answer = callback.opened()
    assert (answer["message_id"], answer["status"]) == (accepted["message_id"], "error")
    assert "secret reason" not in callback.body.decode()
    assert (await opened.settled()).dead == 1
