"""Server-sent events: what happens in a turn as it happens, resumed where the reader left off, whatever breaks."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from bridge.store.tables import events
from bridge.store.writer import Tx, Write
from tests.conftest import FakeClock
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS, Request, Sink, post, request, write_config
from tests.end_to_end.serving import free_port, serving
from tests.end_to_end.streams import Frame, Stream, streaming, text_of, until_state

LENGTH = 30_000


@pytest.fixture
def config(database_url: str, tmp_path: Path, sink: Sink) -> Path:
    return write_config(tmp_path, database_url=database_url, callback=sink.url)


@pytest.fixture
async def opened(config: Path) -> AsyncIterator[Opened]:
    async with bridge_from(config) as one:
        yield one


def posting(opened: Opened, sent: Request) -> AbstractAsyncContextManager[Stream]:
    headers = {**sent.headers, "accept": "text/event-stream"}
    return streaming(opened.bridge.asgi, "POST", "/in/orders", headers=headers, body=sent.body)


def reading(
    opened: Opened, accepted: Mapping[str, str], *, last: int | None = None
) -> AbstractAsyncContextManager[Stream]:
    path = accepted["status_url"].removeprefix("http://127.0.0.1:8080").replace("?", "/events?")
    headers = {} if last is None else {"last-event-id": str(last)}
    return streaming(opened.bridge.asgi, "GET", path, headers=headers)


async def told(opened: Opened, text: str) -> tuple[dict[str, str], list[Frame]]:
    """A whole stream: what was accepted, and every frame behind that."""
    async with posting(opened, request(text)) as stream:
        accepted, *frames = await stream.all()
    assert accepted.event == "accepted"
    return accepted.data["data"], frames


async def test_a_caller_who_accepts_a_stream_reads_the_answer_as_it_comes(opened: Opened, sink: Sink) -> None:
    async with posting(opened, request(f"long {LENGTH}")) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
        accepted, *frames = await stream.all()
    assert accepted.id is None
    assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
    assert [frame.event for frame in frames[-2:]] == ["chunk", "finished"]
    result = frames[-1].data["data"]
    assert result["message_id"] == accepted.data["data"]["message_id"]
    assert text_of(frames) == result["result"]
    assert len(result["result"]) == LENGTH
    (callback,) = await sink.callbacks(1)
    assert callback.opened() == result


async def test_fragments_are_put_together(opened: Opened) -> None:
    _, frames = await told(opened, f"long {LENGTH}")
    assert len(frames) < LENGTH / 900  # the agent says 200 characters at a time


async def test_reading_again_from_any_place_brings_the_rest_once(opened: Opened) -> None:
    accepted, frames = await told(opened, f"long {LENGTH}")
    for place in (0, 1, len(frames) // 2, len(frames) - 1):
        async with reading(opened, accepted, last=place) as stream:
            assert await stream.all() == frames[place:]


async def test_the_place_may_stand_in_the_address(opened: Opened) -> None:
    accepted, frames = await told(opened, f"long {LENGTH}")
    path = accepted["status_url"].removeprefix("http://127.0.0.1:8080").replace("?", "/events?last_event_id=5&")
    async with streaming(opened.bridge.asgi, "GET", path) as stream:
        assert await stream.all() == frames[5:]


async def test_whoever_has_read_it_all_is_told_to_stop_asking(opened: Opened) -> None:
    accepted, frames = await told(opened, "hello")
    async with reading(opened, accepted, last=frames[-1].id) as stream:
        assert stream.status == 204


@pytest.mark.parametrize("last", ["nonsense", "9999", "-1", "1e3", "\u0663"])
async def test_a_place_that_is_none_of_this_turn_is_told_to_resync(opened: Opened, last: str) -> None:
    accepted = (await post(opened.http, request("sleep 2"))).json()
    path = accepted["status_url"].removeprefix("http://127.0.0.1:8080").replace("?", f"/events?last_event_id={last}&")
    async with streaming(opened.bridge.asgi, "GET", path) as stream:
        first, *rest = await stream.all()
    assert (first.event, first.id) == ("resync", None)
    assert first.data["data"]["status_url"] == accepted["status_url"]
    assert rest[-1].event == "finished"


async def test_events_that_are_gone_lead_to_a_resync_and_then_the_result(opened: Opened) -> None:
    accepted, _ = await told(opened, f"long {LENGTH}")
    forget: Write[None, None] = Write(_forget)
    await opened.bridge.store.write(forget, None)
    async with reading(opened, accepted, last=3) as stream:
        frames = await stream.all()
    assert [frame.event for frame in frames] == ["resync", "chunk", "finished"]


def _forget(tx: Tx, rows: Sequence[None]) -> Sequence[None]:
    last = max(tx.connection.execute(events.select().with_only_columns(events.c.seq)).scalars())
    tx.connection.execute(delete(events).where(events.c.seq < last))
    return rows


async def test_several_readers_read_the_same(opened: Opened) -> None:
    sent = request(f"sleep 1 long {LENGTH}")
    accepted = (await post(opened.http, sent)).json()

    async def read() -> list[Frame]:
        async with reading(opened, accepted) as stream:
            return await stream.all()

    all_of_them = await asyncio.gather(*(read() for _ in range(4)))
    assert all(frames == all_of_them[0] for frames in all_of_them)
    assert len(text_of(all_of_them[0])) == LENGTH


async def test_a_reader_who_hangs_up_stops_nothing_and_may_come_back(opened: Opened, sink: Sink) -> None:
    async with posting(opened, request(f"sleep 1 long {LENGTH}")) as stream:
        accepted = (await stream.until("accepted")).data["data"]
    (callback,) = await sink.callbacks(1)
    async with reading(opened, accepted, last=0) as stream:
        frames = await stream.all()
    assert text_of(frames) == callback.opened()["result"]


async def test_a_late_reader_is_told_what_was_said_before(opened: Opened, sink: Sink) -> None:
    """Nobody asked while it ran, so nothing was stored: the result is all there is, and it is there."""
    accepted = (await post(opened.http, request("hello"))).json()
    await sink.callbacks(1)
    async with reading(opened, accepted) as stream:
        (only,) = await stream.all()
    assert (only.event, only.id, only.data["data"]["result"]) == ("finished", 1, "You said: hello")


async def test_nothing_is_stored_for_turns_that_nobody_listens_to(opened: Opened, sink: Sink) -> None:
    await post(opened.http, request(f"long {LENGTH}"))
    await sink.callbacks(1)
    stored = await opened.bridge.store.read(lambda connection: connection.execute(events.select()).all())
    assert stored == []


async def test_a_message_that_cannot_be_used_is_told_why(opened: Opened) -> None:
    _, (*_, last) = await told(opened, " ")
    assert (last.data["data"]["status"], last.data["data"]["reason"]) == ("parked", "there is neither text nor a file")


async def test_failures_are_told_at_the_end(opened: Opened) -> None:
    _, frames = await told(opened, "fail because of a secret reason")
    assert frames[-1].event == "finished"
    assert frames[-1].data["data"]["status"] == "error"
    assert "secret reason" not in str(frames)


async def test_a_question_is_an_event_and_the_answer_to_it_goes_on(opened: Opened) -> None:
    async with posting(opened, request("ask", conversation="c")) as stream:
        asked = await stream.until("ask_user_questions")
        assert "Which colour" in str(asked.data)
        await opened.books(lambda books: books.in_flight == 1)
        await until_state(opened.http, "paused")
        await post(opened.http, request("red", conversation="c"))
        assert (await stream.until("finished")).data["data"]["result"] == "You said: red"


async def test_who_listens_only_after_a_question_was_asked_sees_it(opened: Opened) -> None:
    accepted = (await post(opened.http, request("ask", conversation="c"))).json()
    await until_state(opened.http, "paused")
    async with reading(opened, accepted) as stream:
        asked = await stream.until("ask_user_questions")
        assert "Which colour" in str(asked.data)


async def test_a_quiet_turn_sends_comments_so_that_no_proxy_gives_up(config: Path, clock: FakeClock) -> None:
    async with bridge_from(config, clock) as opened:
        async with posting(opened, request("sleep 40", at=clock.now())) as stream:
            await stream.until("accepted")
            reader = asyncio.create_task(stream.all())
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not reader.done():
                    await clock.advance(timedelta(seconds=1))
                    await asyncio.sleep(0.01)
        comments = [frame for frame in stream.frames if not frame.event]
        assert len(comments) >= 3  # `retry`, and one each 15 of the 40 seconds


async def test_a_foreign_token_opens_no_stream(opened: Opened) -> None:
    first, second = [(await post(opened.http, request("hello"))).json() for _ in range(2)]
    _, _, token = first["status_url"].partition("?token=")
    foreign = await opened.http.get(f"/v1/messages/{second['message_id']}/events?token={token}")
    assert (foreign.status_code, "hello" in foreign.text) == (404, False)
    unknown = await opened.http.get("/v1/messages/msg_unknown/events", headers=ADMIN)
    assert unknown.status_code == 404


async def test_a_reader_at_another_node_reads_the_same(config: Path, opened: Opened) -> None:
    if opened.bridge.store.exclusive:
        return  # SQLite admits one node
    async with bridge_from(config) as other:
        accepted = (await post(opened.http, request(f"sleep 3 long {LENGTH}"))).json()
        async with reading(other, accepted) as far, reading(opened, accepted) as near:
            there, here = await asyncio.gather(far.all(), near.all())
    assert there == here
    assert len(text_of(there)) == LENGTH


async def test_an_open_stream_does_not_hold_up_the_stop_and_is_read_on_at_the_next_start(
    tmp_path: Path, sink: Sink
) -> None:
    port = free_port()
    config = write_config(tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback=sink.url, port=port)
    sent = request(f"sleep 8 long {LENGTH}")
    headers = {**sent.headers, "accept": "text/event-stream"}
    async with serving(config, port) as served:
        async with served.http.stream("POST", "/in/orders", content=sent.body, headers=headers) as response:
            lines = response.aiter_lines()
            async for line in lines:
                if line.startswith("data: "):
                    accepted = json.loads(line.removeprefix("data: "))["data"]
                    break
            served.send_signal(signal.SIGTERM)
            # Read to its end, which is a proper one: a cut connection would raise here.
            assert [line async for line in lines if line.startswith("event:")] == []
        assert await asyncio.wait_for(served.process.wait(), 10) == 0, served.log.read_text()
    async with serving(config, port) as served:
        path = accepted["status_url"].partition(f":{port}")[2].replace("?", "/events?")
        frames = (await served.http.get(path, timeout=60)).text.split("\n\n")
    assert "event: finished" in frames[-2]
