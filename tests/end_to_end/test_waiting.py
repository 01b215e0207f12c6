"""`Prefer: wait`: the answer in the response where it comes in time, and nothing lost where it does not."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import FakeClock
from tests.end_to_end import slow_forms
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import PATIENCE_SECONDS, SECRET, Request, Sink, request, signed, write_config
from tests.end_to_end.streams import until_state
from tests.words.wire import answer, serving

MORE = """
[sources.notes]
adapter = "webhook"
agent = "local"
secrets = ["{secret}"]
busy = "collect"

[sources.vendor]
adapter = "webhook"
agent = "local"
scheme = "standard"
secrets = ["{secret}"]
map = "xpander"

[sources.slow]
adapter = "tests.end_to_end.slow_forms"
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


async def ask(
    http: httpx2.AsyncClient, sent: Request, prefer: str | None = "wait=20", source: str = "orders"
) -> httpx2.Response:
    headers: Mapping[str, str] = {**sent.headers, **({} if prefer is None else {"prefer": prefer})}
    return await http.post(f"/in/{source}", content=sent.body, headers=dict(headers))


async def until_answered(pending: "asyncio.Task[httpx2.Response]", clock: FakeClock) -> httpx2.Response:
    """Let the seconds pass until the response is there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not pending.done():
            await clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.01)
    return await pending


async def test_who_waits_gets_the_answer_in_the_response(opened: Opened, sink: Sink) -> None:
    response = await ask(opened.http, request("hello", conversation="order-7", metadata={"order": 7}))
    assert response.status_code == 200, response.text
    assert response.headers["preference-applied"] == "wait=20"
    assert "Prefer" in response.headers["vary"]
    answer = response.json()
    assert (answer["status"], answer["result"], answer["files"]) == ("completed", "You said: hello", [])
    assert (answer["conversation"], answer["metadata"]) == ("order-7", {"order": 7})
    (callback,) = await sink.callbacks(1)
    assert callback.opened() == answer


async def test_an_answer_that_takes_longer_is_a_202_and_the_task_goes_on(
    config: Path, clock: FakeClock, sink: Sink
) -> None:
    async with bridge_from(config, clock) as opened:
        pending = asyncio.create_task(ask(opened.http, request("sleep 60", at=clock.now()), "wait=2"))
        response = await until_answered(pending, clock)
        assert response.status_code == 202
        assert set(response.json()) == {"message_id", "conversation_id", "status_url"}
        assert "preference-applied" not in response.headers
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not sink.received:
                await clock.advance(timedelta(seconds=5))
                await asyncio.sleep(0.01)
        assert sink.received[0].data["message_id"] == response.json()["message_id"]


async def test_nobody_is_kept_longer_than_the_cap(config: Path, clock: FakeClock) -> None:
    async with bridge_from(config, clock) as opened:
        begun = clock.now()
        pending = asyncio.create_task(ask(opened.http, request("sleep 600", at=clock.now()), "wait=500"))
        response = await until_answered(pending, clock)
        assert response.status_code == 202
        assert clock.now() - begun < timedelta(seconds=60)


async def test_a_caller_who_goes_away_stops_nothing(opened: Opened, sink: Sink) -> None:
    pending = asyncio.create_task(ask(opened.http, request("sleep 1")))
    await opened.books(lambda books: books.in_flight == 1)
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    (callback,) = await sink.callbacks(1)
    assert callback.opened()["result"] == "You said: sleep 1"


@pytest.mark.parametrize(
    "prefer", ["respond-async", "wait=soon", "wait=", "wait=-1", "wait=\xb2", "wait", "", "wait=0"]
)
async def test_what_is_no_wait_is_answered_at_once(opened: Opened, prefer: str) -> None:
    response = await opened.http.post(
        "/in/orders",
        content=(sent := request("sleep 30")).body,
        headers=[*((k.encode(), v.encode()) for k, v in sent.headers.items()), (b"prefer", prefer.encode("latin-1"))],
    )
    assert response.status_code == 202


@pytest.mark.parametrize(
    "prefer", ["respond-async, wait=20", 'Wait="20"', "wait = 20; x=y", "handling=lenient,wait=20"]
)
async def test_the_preference_is_read_as_the_rfc_writes_it(opened: Opened, prefer: str) -> None:
    response = await ask(opened.http, request("hello"), prefer)
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=20")


async def test_a_copy_that_waits_gets_the_first_ones_answer(opened: Opened) -> None:
    sent = request("hello")
    first, second, third = await asyncio.gather(*(ask(opened.http, sent) for _ in range(3)))
    assert first.json() == second.json() == third.json() == (await ask(opened.http, sent)).json()
    assert (await opened.settled()).accepted == 1


async def test_messages_that_are_answered_together_get_the_same_answer(opened: Opened) -> None:
    blocking = asyncio.create_task(ask(opened.http, request("sleep 1", conversation="c"), source="notes"))
    await until_state(opened.http, "running")
    both = await asyncio.gather(
        *(ask(opened.http, request(text, conversation="c"), source="notes") for text in ("one", "two"))
    )
    first, second = [response.json() for response in both]
    assert first["result"] == second["result"]
    assert first["message_ids"] == second["message_ids"]
    assert set(first["message_ids"]) == {first["message_id"], second["message_id"]}
    assert (await blocking).json()["result"] == "You said: sleep 1"


async def test_a_failure_is_told_without_the_raw_error(opened: Opened) -> None:
    response = await ask(opened.http, request("fail because of a secret reason"))
    assert (response.status_code, response.json()["status"]) == (200, "error")
    assert "secret reason" not in response.text
    assert "trn_" in response.json()["result"]


async def test_what_the_agent_waits_for_is_told(opened: Opened) -> None:
    response = await ask(opened.http, request("ask"))
    answer: dict[str, Any] = response.json()
    assert (response.status_code, answer["status"]) == (200, "paused")
    assert "Which colour" in answer["result"]


async def test_what_leads_to_no_result_is_not_waited_for(opened: Opened) -> None:
    response = await ask(opened.http, request(""))
    assert response.status_code == 202
    assert (await opened.settled()).parked == 1


async def test_a_platform_that_waits_by_itself_gets_its_own_form(opened: Opened) -> None:
    response = await ask(opened.http, signed(b'{"prompt": "hello"}'), None, source="vendor")
    assert response.status_code == 200, response.text
    assert (response.json()["status"], response.json()["result"]) == ("completed", "You said: hello")
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize(("source", "field"), [("orders", "text"), ("vendor", "prompt")])
async def test_a_form_with_files_is_waited_for_too(opened: Opened, source: str, field: str) -> None:
    sent = _form("Read this.", field=field)
    response = await ask(opened.http, sent, None if source == "vendor" else "wait=20", source=source)
    assert response.status_code == 200, response.text
    assert "note.txt" in response.json()["result"]
    assert response.json()["status"] == "completed"


async def test_a_file_that_is_named_by_address_is_read_by_the_agent(opened: Opened) -> None:
    async with serving(answer(b"the quick brown fox", headers=("Content-Type: text/plain",))) as wire:
        response = await ask(opened.http, request("Read this.", files=[f"{wire.url}note.txt"]))
        assert response.status_code == 200, response.text
        assert "note.txt (text/plain, 19 characters) says: the quick brown fox" in response.json()["result"]
        assert len(wire.requests) == 1, "fetched once, by the bridge; the agent reads what is stored"


async def test_the_wait_of_a_form_with_files_is_one_wait(config: Path, clock: FakeClock) -> None:
    async with bridge_from(config, clock) as opened:
        begun = clock.now()
        sent = _form("sleep 600", at=begun)
        pending = asyncio.create_task(ask(opened.http, sent, "wait=20", source="slow"))
        while not pending.done():
            assert clock.now() - begun < timedelta(seconds=20 + slow_forms.READING_SECONDS)
            await clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.1)
        assert (await pending).status_code == 202


def _form(text: str, *, field: str = "text", at: datetime | None = None) -> Request:
    boundary = "a-boundary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="note.txt"\r\n'
        f"Content-Type: text/plain\r\n\r\nthe quick brown fox\r\n--{boundary}--\r\n"
    )
    return _signed(body.encode(), f"multipart/form-data; boundary={boundary}", at=at)


def _signed(body: bytes, content_type: str, *, at: datetime | None = None) -> Request:
    made = signed(body, at=at)
    return Request(webhook_id=made.webhook_id, body=body, headers={**made.headers, "content-type": content_type})
