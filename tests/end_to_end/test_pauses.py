"""What the agent waits for is decided once, by whom it was asked, whatever process is there to hear it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.store.ledger import Ledger
from tests.conftest import START, FakeClock
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import ADMIN, Callback, Sink, post, request, signed, write_config
from tests.end_to_end.streams import streaming


@pytest.fixture
def config(database_url: str, tmp_path: Path, sink: Sink) -> Path:
    return write_config(tmp_path, database_url=database_url, callback=sink.url)


async def asked(opened: Opened, sink: Sink, **sent: Any) -> tuple[str, list[str]]:
    """Ada asks for something that needs an approval; the decision's id and its choices, as the callback tells them."""
    said = request("approve", conversation="order-7", user={"id": "ada"}, **sent)
    assert (await post(opened.http, said)).status_code == 202
    (callback,) = await sink.callbacks(1)
    assert callback.data["status"] == "paused"
    buttons = callback.data["metadata"]["buttons"]
    return buttons[0]["decision_id"], [button["choice"] for button in buttons]


async def decide(opened: Opened, decision_id: str, choice: str, who: str = "ada", **sent: Any) -> None:
    wish = {"decision_id": decision_id, "choice": choice}
    said = request("", conversation="order-7", user={"id": who}, decision=wish, **sent)
    assert (await post(opened.http, said)).status_code == 202


def results(sink: Sink) -> list[Callback]:
    return [callback for callback in sink.received if callback.data["status"] == "completed"]


async def test_who_is_not_called_learns_what_to_decide_by_waiting_by_reading_along_and_by_asking(
    database_url: str, tmp_path: Path, sink: Sink
) -> None:
    config = write_config(tmp_path, database_url=database_url, callback=sink.url)
    config.write_text(config.read_text().replace(f'callback = "{sink.url}"', ""))
    async with bridge_from(config) as opened:
        said = request("approve", conversation="order-7", user={"id": "ada"}, metadata={"mine": 1})
        headers = {**said.headers, "prefer": "wait=20"}
        waited = (await opened.http.post("/in/orders", content=said.body, headers=headers)).json()
        assert waited["status"] == "paused"
        assert [button["choice"] for button in waited["metadata"]["buttons"]] == ["approve", "deny"]
        assert waited["metadata"]["mine"] == 1
        asked = f"/v1/messages/{waited['message_id']}"
        seen = (await opened.http.get(asked, headers=ADMIN)).json()
        assert (seen["state"], seen["result"], seen["metadata"]) == ("paused", waited["result"], waited["metadata"])
        async with streaming(opened.bridge.asgi, "GET", f"{asked}/events", headers=ADMIN) as stream:
            paused = await stream.until("paused")
            assert (paused.id, paused.data["data"]) == (None, waited)
            await decide(opened, waited["metadata"]["buttons"][0]["decision_id"], "deny")
            assert (await stream.until("finished")).data["data"]["status"] == "completed"
        assert "buttons" not in (await opened.http.get(asked, headers=ADMIN)).json()["metadata"]


async def still_paused(opened: Opened) -> bool:
    return (await opened.books(lambda books: books.in_flight == 1)).in_flight == 1


async def test_a_decision_is_made_once_by_whom_it_is_bound_to_and_survives_a_restart(config: Path, sink: Sink) -> None:
    async with bridge_from(config) as opened:
        decision_id, choices = await asked(opened, sink)
        assert choices == ["approve", "deny"]
        await decide(opened, decision_id, "approve", who="eve")
        await decide(opened, decision_id, "whatever")
        await decide(opened, "dcs_of_nobody", "approve")
        assert await still_paused(opened)
    async with bridge_from(config) as opened:  # another process, which knows only the rows
        assert results(sink) == []
        await decide(opened, decision_id, "deny")
        await decide(opened, decision_id, "approve")  # too late: it is decided
        books = await opened.settled()
        assert (books.accepted, books.answered, books.balanced) == (1, 1, True)
    (answer,) = results(sink)
    assert "den" in answer.data["result"].lower()


async def test_a_pause_that_nobody_ends_is_over_in_the_end(config: Path, sink: Sink) -> None:
    clock = FakeClock()
    async with bridge_from(config, clock) as opened:
        decision_id, _ = await asked(opened, sink, at=START)
        for _ in range(9):
            await clock.leap(timedelta(days=1))
        books: Ledger = await advanced(opened, clock)
        assert (books.dead, books.balanced) == (1, True)
        await decide(opened, decision_id, "approve", at=clock.now())
        assert (await opened.settled()).dead == 1
    assert results(sink) == []


async def advanced(opened: Opened, clock: FakeClock) -> Ledger:
    """The books once nothing is in flight, time going on meanwhile."""
    while True:
        books = await opened.books(lambda _: True)
        if not books.in_flight:
            return books
        await clock.advance(timedelta(minutes=5))


async def test_a_question_is_answered_by_the_persons_next_words(config: Path, sink: Sink) -> None:
    async with bridge_from(config) as opened:
        assert (await post(opened.http, request("ask", conversation="c", user={"id": "ada"}))).status_code == 202
        await sink.callbacks(1)
        assert (await post(opened.http, request("blue", conversation="c", user={"id": "ada"}))).status_code == 202
        books = await opened.settled()
    assert (books.accepted, books.answered) == (2, 2)
    assert len(results(sink)) == 1


@pytest.mark.parametrize("command", ["stop", "reset"])
async def test_a_running_turn_is_stopped_by_a_request_and_that_is_confirmed_once(
    config: Path, sink: Sink, command: str
) -> None:
    async with bridge_from(config) as opened:
        first = request("sleep 600", conversation="c")
        assert (await post(opened.http, first)).status_code == 202
        await opened.books(lambda books: books.in_flight == 1)
        assert (await post(opened.http, request("hello", conversation="c"))).status_code == 202
        assert (await post(opened.http, request("", conversation="c", command=command))).status_code == 202
        books = await opened.settled()
        assert (books.accepted, books.cancelled, books.balanced) == (2, 2, True)
        assert [callback.data["result"] for callback in await sink.callbacks(1)] == ["Stopped."]


async def test_words_like_ours_in_a_foreign_body_are_no_wish(config: Path, sink: Sink) -> None:
    async with bridge_from(config) as opened:
        for body in (b'{"command": "reboot"}', b'{"decision": "yes"}', b'{"decision": {"decision_id": 7}}'):
            assert (await post(opened.http, signed(body))).status_code in {202, 422}
        assert (await opened.settled()).parked == 3
        assert (await post(opened.http, request("hello", command="stop"))).status_code == 202
        assert (await opened.settled()).answered == 1
    assert len(sink.received) == 1
