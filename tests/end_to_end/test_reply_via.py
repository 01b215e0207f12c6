"""`reply_via`: what comes in at one source is answered at another, and people's replies there go on with the task."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ConfigError
from bridge.store import reader
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS, Sink, post, request, write_config

MORE = """reply_via = {{ source = "room", address = "{address}" }}

[sources.room]
adapter = "tests.end_to_end.room"
agent = "local"
folder = "{folder}/room"
"""


@pytest.fixture
def config(database_url: str, tmp_path: Path, sink: Sink) -> Path:
    path = write_config(tmp_path, database_url=database_url, callback=sink.url)
    path.write_text(path.read_text() + MORE.format(folder=tmp_path, address="#alerts"))
    return path


@pytest.fixture
async def opened(config: Path) -> AsyncIterator[Opened]:
    async with bridge_from(config) as one:
        yield one


async def said_in(folder: Path, number: int) -> list[dict[str, Any]]:
    """What stands in the room, once it is so much, oldest first."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := _said_in(folder)) < number:  # noqa: ASYNC110 - a file does not tell when it is there
            await asyncio.sleep(0.01)
    return found


def _said_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "room").glob("*.json"))]


async def reply(opened: Opened, key: str, text: str, to: dict[str, Any], **more: str) -> None:
    body = {"key": key, "thread": to["id"], "text": text, **more}
    response = await opened.http.post("/in/room", json=body)
    assert response.status_code == 202, response.text


async def test_the_answer_is_said_at_the_other_source_and_nowhere_else(
    opened: Opened, tmp_path: Path, sink: Sink
) -> None:
    await post(opened.http, request("disk full"))
    (said,) = await said_in(tmp_path, 1)
    assert (said["to"], said["text"], said["kind"]) == ({"channel": "#alerts"}, "You said: disk full", "answer")
    await opened.settled()
    assert sink.received == []


async def test_a_reply_there_goes_on_with_the_task_and_is_answered_there(opened: Opened, tmp_path: Path) -> None:
    await post(opened.http, request("My name is Ada.", conversation="alert-7"))
    (said,) = await said_in(tmp_path, 1)
    await opened.settled()
    await reply(opened, "m1", "What is my name?", said, author="somebody", addressed="ambient")
    first, second = await said_in(tmp_path, 2)
    assert second["task_id"] == first["task_id"]
    assert "Ada" in second["text"]
    assert second["to"] == {"channel": "#alerts", "thread": said["id"]}
    await opened.settled()
    (conversation,) = await opened.bridge.store.read(reader.conversation_list)
    assert (conversation.source, conversation.key, conversation.turns) == ("orders", "alert-7", 2)


async def test_both_sources_go_on_with_one_task(opened: Opened, tmp_path: Path) -> None:
    await post(opened.http, request("one", conversation="alert-7"))
    (said,) = await said_in(tmp_path, 1)
    await opened.settled()
    await reply(opened, "m1", "two", said)
    await said_in(tmp_path, 2)
    await post(opened.http, request("three", conversation="alert-7"))
    answers = await said_in(tmp_path, 3)
    assert [one["text"] for one in answers] == ["You said: one", "You said: two", "You said: three"]
    assert len({one["task_id"] for one in answers}) == 1
    assert answers[2]["to"] == {"channel": "#alerts"}
    assert (await opened.settled()).answered == 3


def _with_another_agent(config: Path) -> Path:
    head, _, room = config.read_text().rpartition('agent = "local"')
    config.write_text(f'{head}agent = "second"{room}\n[agents.second]\nkind = "embedded"\nbrain = "demo"\n')
    return config


async def test_the_agent_that_was_asked_first_goes_on_although_the_other_source_has_another(
    config: Path, tmp_path: Path
) -> None:
    """A task is one agent's: another knows nothing of it."""
    async with bridge_from(_with_another_agent(config)) as opened:
        await post(opened.http, request("My name is Ada.", conversation="alert-7"))
        (said,) = await said_in(tmp_path, 1)
        await opened.settled()
        await reply(opened, "m1", "What is my name?", said)
        _, second = await said_in(tmp_path, 2)
        assert (second["task_id"], second["kind"]) == (said["task_id"], "answer")
        assert "Ada" in second["text"]
        await opened.settled()
        (view, _) = await opened.bridge.store.read(reader.message_list)
        await opened.http.post(f"/v1/messages/{view.message_id}/replay", json={"how": "invoke"}, headers=ADMIN)
        third = (await said_in(tmp_path, 3))[-1]
        assert third["task_id"] == said["task_id"]
        await reply(opened, "m2", "Who are you?", {"id": "room:elsewhere"})
        fourth = (await said_in(tmp_path, 4))[-1]
        assert fourth["task_id"] != said["task_id"]
        await opened.settled()
        agents = {one.agent for one in await opened.bridge.store.read(reader.conversation_list)}
        assert agents == {"local", "second"}


async def test_a_question_asked_there_is_answered_by_whoever_is_there(opened: Opened, tmp_path: Path) -> None:
    await post(opened.http, request("ask", conversation="alert-7"))
    (question,) = await said_in(tmp_path, 1)
    assert "Which colour" in question["text"]
    await opened.books(lambda books: books.in_flight == 1)
    await _until_sent(opened)
    await reply(opened, "m1", "red", question, author="somebody")
    _, answer = await said_in(tmp_path, 2)
    assert (answer["text"], answer["task_id"]) == ("You said: red", question["task_id"])
    assert (await opened.settled()).answered == 2


async def _until_sent(opened: Opened) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await opened.bridge.store.read(reader.delivery_list, state="sent"):  # noqa: ASYNC110 - rows do not tell
            await asyncio.sleep(0.01)


async def test_it_is_split_as_the_other_source_needs_it_and_any_part_may_be_replied_to(
    opened: Opened, tmp_path: Path
) -> None:
    await post(opened.http, request("long 150", conversation="c"))
    parts = await said_in(tmp_path, 2)
    assert [part["part"] for part in parts] == list(range(len(parts)))
    await opened.settled()
    await reply(opened, "m1", "and now?", parts[-1])
    answers = await said_in(tmp_path, len(parts) + 1)
    assert answers[-1]["task_id"] == parts[0]["task_id"]


async def test_a_failure_is_told_there(opened: Opened, tmp_path: Path) -> None:
    await post(opened.http, request("fail for a secret reason"))
    said = await said_in(tmp_path, 1)
    assert said[0]["kind"] == "error"
    assert "secret reason" not in str(said)


async def test_a_message_of_another_thread_there_is_another_conversation(opened: Opened, tmp_path: Path) -> None:
    await post(opened.http, request("one", conversation="alert-7"))
    (said,) = await said_in(tmp_path, 1)
    await opened.settled()
    await reply(opened, "m1", "two", {"id": "room:elsewhere"})
    answers = await said_in(tmp_path, 2)
    assert answers[1]["task_id"] != said["task_id"]


def _changed(folder: Path, database_url: str, source: str, address: str) -> Path:
    path = write_config(folder, database_url=database_url, callback="http://127.0.0.1:9/never")
    more = MORE.format(folder=folder, address=address).replace('source = "room"', f'source = "{source}"')
    path.write_text(path.read_text() + more)
    return path


@pytest.mark.parametrize(
    ("source", "address", "advice"), [("room", "alerts", "#alerts"), ("orders", "#alerts", "cannot begin")]
)
async def test_an_address_that_leads_nowhere_is_told_at_the_start(
    database_url: str, tmp_path: Path, source: str, address: str, advice: str
) -> None:
    config = _changed(tmp_path, database_url, source, address)
    with pytest.raises(ConfigError, match=advice):
        async with bridge_from(config):
            raise AssertionError("a bridge that cannot answer has started")
