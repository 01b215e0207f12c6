"""Files that an agent hands back: stored here, and given to everybody who gets the answer, as links that open."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bridge.store import tables
from bridge.store.erasure import files_of
from tests.agent.doubles import ScriptedService, task, text_answer
from tests.agent.doubles import answer as agent_answer
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import ADMIN, SECRET, Sink, post, request, write_config
from tests.end_to_end.streams import streaming
from tests.store.journeys import rows_of
from tests.words.wire import answer, serving

MORE = """
[sources.quiet]
adapter = "webhook"
agent = "local"
secrets = ["{secret}"]
"""


@pytest.fixture
def config(database_url: str, tmp_path: Path, sink: Sink) -> Path:
    path = write_config(tmp_path, database_url=database_url, callback=sink.url)
    path.write_text(path.read_text() + MORE.format(secret=SECRET))
    return path


@pytest.fixture
async def opened(config: Path) -> AsyncIterator[Opened]:
    async with bridge_from(config) as one:
        yield one


async def fetched(http: httpx2.AsyncClient, file: dict[str, Any]) -> bytes:
    """What stands behind a link, fetched as a stranger would."""
    response = await http.get("/files/" + file["url"].partition("/files/")[2])
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"].startswith("attachment")
    assert len(response.content) == file["size"]
    return response.content


async def test_a_callback_carries_links_to_what_the_agent_made(opened: Opened, sink: Sink) -> None:
    await post(opened.http, request("please write file report.txt"))
    (callback,) = await sink.callbacks(1)
    (file,) = callback.opened()["files"]
    assert (file["name"], file["media_type"]) == ("report.txt", "text/plain")
    assert b"The demo agent wrote this for you." in await fetched(opened.http, file)


async def test_whoever_waits_reads_a_stream_or_asks_later_gets_them_too(opened: Opened) -> None:
    sent = request("please write file report.txt", conversation="c")
    headers = {**sent.headers, "prefer": "wait=20"}
    answer = (await opened.http.post("/in/quiet", content=sent.body, headers=headers)).json()
    (file,) = answer["files"]
    content = await fetched(opened.http, file)
    view = (await opened.http.get(f"/v1/messages/{answer['message_id']}", headers=ADMIN)).json()
    assert await fetched(opened.http, view["files"][0]) == content
    sent = request("and file other.txt", conversation="c")
    headers = {**sent.headers, "accept": "text/event-stream"}
    async with streaming(opened.bridge.asgi, "POST", "/in/quiet", headers=headers, body=sent.body) as stream:
        finished = await stream.until("finished")
    assert [one["name"] for one in finished.data["data"]["files"]] == ["other.txt"]


async def test_an_answer_without_files_says_so(opened: Opened, sink: Sink) -> None:
    await post(opened.http, request("hello"))
    assert (await sink.callbacks(1))[0].opened()["files"] == []


async def test_erasing_the_conversation_forgets_them_but_not_what_another_one_names(opened: Opened) -> None:
    answers = []
    for conversation in ("one", "two"):
        sent = request("file same.txt", conversation=conversation)
        headers = {**sent.headers, "prefer": "wait=20"}
        answers.append((await opened.http.post("/in/quiet", content=sent.body, headers=headers)).json())
    first, second = answers
    assert await opened.bridge.store.read(files_of, first["conversation_id"]) == ()
    erased = await opened.http.delete(f"/v1/conversations/{first['conversation_id']}", headers=ADMIN)
    assert erased.is_success, erased.text
    assert await fetched(opened.http, second["files"][0])
    assert len(await opened.bridge.store.read(files_of, second["conversation_id"])) == 1
    erased = await opened.http.delete(f"/v1/conversations/{second['conversation_id']}", headers=ADMIN)
    gone = await opened.http.get("/files/" + second["files"][0]["url"].partition("/files/")[2])
    assert gone.status_code == 404


async def test_erasing_forgets_what_was_fetched_from_an_address_that_a_message_named(opened: Opened) -> None:
    async with serving(answer(b"a,b\n1,2\n", headers=("Content-Type: text/csv",))) as there:
        sent = request("read this", conversation="one", files=[f"{there.url}orders.csv"])
        headers = {**sent.headers, "prefer": "wait=20"}
        told = (await opened.http.post("/in/orders", content=sent.body, headers=headers)).json()
    (row,) = await rows_of(opened.bridge.store, tables.files)
    assert row.name == "orders.csv"
    erased = await opened.http.delete(f"/v1/conversations/{told['conversation_id']}", headers=ADMIN)
    assert erased.json()["files"] == 1
    assert await rows_of(opened.bridge.store, tables.files) == []
    (gone,) = await rows_of(opened.bridge.store, tables.discards)
    assert gone.digest == row.digest


async def test_a_file_that_a_remote_agent_keeps_beside_itself_is_handed_on_as_a_link_of_ours(
    database_url: str, tmp_path: Path, sink: Sink
) -> None:
    service = ScriptedService()
    server = await service.start()
    record = task("completed", files=[f"{service.url}/made/report.txt"])
    service.script([agent_answer(record), text_answer(b"made by the agent", media_type="text/plain")])
    remote = (
        f'[agents.local]\nkind = "xpander"\nbase_url = "{service.url}"\napi_key = "k"\nagent_id = "a1"\nmode = "poll"'
    )
    config = write_config(tmp_path, database_url=database_url, callback=sink.url, agent=remote)
    async with server, bridge_from(config) as opened:
        await post(opened.http, request("hello"))
        (callback,) = await sink.callbacks(1)
        (file,) = callback.opened()["files"]
        assert (file["name"], service.url in file["url"]) == ("report.txt", False)
        assert await fetched(opened.http, file) == b"made by the agent"
    assert "authorization" not in service.calls[-1].headers
    assert "x-api-key" not in service.calls[-1].headers
