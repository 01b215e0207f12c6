"""What an agent says in a shape that nobody expects ends in something a person can see, or is tried again as any."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from bridge.agent.backend import Mode
from bridge.agent.outcomes import failure_from_status
from bridge.errors import Unreachable
from bridge.pauses import Pause
from bridge.store import reader
from bridge.store.database import Store
from tests.conftest import FakeClock
from tests.stages.test_turns import Room, task

DEEP = b"[" * 100_000


async def heard(room: Room, clock: FakeClock, body: bytes) -> list[str]:
    """What becomes of a message to an agent that answers it so, whatever it is asked."""
    room.answer = lambda _: httpx2.Response(200, content=body, headers={"content-type": "application/json"})
    lease = await room.hear("m1")
    step = asyncio.create_task(room.turns.step(lease))
    async with asyncio.timeout(20):
        # the clock gives the database time to answer, or days pass before it has
        while not (await asyncio.wait({step}, timeout=0.005))[0]:
            await clock.advance(timedelta(seconds=20))
    await step
    return await room.deliver(lease)


@pytest.mark.parametrize("mode", ["sync", "poll", "stream"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"id":"t","status":"completed","result":"a cut \\ud83d emoji"}', "a cut \ufffd emoji"),
        (b'{"id":"t","status":"completed","result":"a \\ud83d\\ude00 and a \\u0000"}', "a \U0001f600 and a \ufffd"),
        (b'{"id":"t\\u0000\\ud83d","status":"completed","result":"done"}', "done"),
        (b'{"id":"t","status":"completed","result":null}', ""),
        (b'{"id":"t","status":"completed","result":" \\n "}', ""),
        (b'{"id":"t","status":"completed","result":{"a":[1]}}', '{"a": [1]}'),
        (b'{"id":"t","status":"paused","result":"Which \\ud83d?"}', "Which \ufffd?"),
    ],
)
async def test_an_odd_result_gets_to_the_person(
    store: Store, clock: FakeClock, body: bytes, said: str, mode: Mode
) -> None:
    room = Room(store, clock, mode=mode)
    assert await heard(room, clock, body) == [said]
    await room.turns.lanes.close()


@pytest.mark.parametrize("mode", ["sync", "poll"])
@pytest.mark.parametrize("body", [b'{"id":"t","result":' + DEEP, b'{"id":"t","status":["completed"]}'])
async def test_what_is_no_task_is_tried_again_and_the_try_counts(
    store: Store, clock: FakeClock, body: bytes, mode: Mode
) -> None:
    room = Room(store, clock, mode=mode)
    await heard(room, clock, body)
    (view, *_) = await store.read(reader.message_list)
    assert view.error
    await room.turns.lanes.close()


@pytest.mark.parametrize(
    "told",
    [
        {"questions": 5},
        {"questions": {"question": "Which?"}},
        {"questions": [{"question": "Which?", "options": 5}]},
        {"questions": [{"question": "Which?", "options": {"label": "x"}}]},
    ],
)
async def test_a_question_in_an_odd_shape_is_a_question_all_the_same(
    store: Store, clock: FakeClock, told: dict[str, object]
) -> None:
    room = Room(store, clock, mode="stream")
    record = '{"id":"task-1","status":"paused","result":"Which one?"}'
    question = httpx2.Response(200, json=told).text

    def asks(_: httpx2.Request) -> httpx2.Response:
        lines = [
            f'data: {{"type":"ask_user_questions","task_id":"task-1","data":{question}}}',
            f'data: {{"type":"task_updated","task_id":"task-1","data":{record}}}',
        ]
        return httpx2.Response(200, text="\n\n".join([*lines, ""]), headers={"content-type": "text/event-stream"})

    room.answer = asks
    lease = await room.hear("m1")
    await room.turns.step(lease)
    (text,) = await room.deliver(lease)
    assert text.startswith("Which")
    await room.turns.lanes.close()


def test_a_choice_keeps_its_capitals_on_its_button() -> None:
    pause = Pause(kind="question", text="Where?", choices=("use PostgreSQL", "IBM"))
    assert [one["label"] for one in pause.buttons("dcs_1", [])] == ["Use PostgreSQL", "IBM"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("Thu, 26 Nov 2026 12:00:30 GMT", 30),
        ("Thu, 26 Nov 2026 12:00:30 +99999999999999999999", None),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
    ],
)
def test_a_date_to_come_back_at_is_read_or_passed_over(given: str, seconds: int | None) -> None:
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    failure = failure_from_status(503, {"retry-after": given}, b"", now=now)
    assert isinstance(failure, Unreachable)
    assert failure.after == seconds


async def test_an_answer_without_a_word_is_owed_with_its_files(store: Store, clock: FakeClock) -> None:
    room = Room(store, clock)
    room.answer = lambda request: task(request, result="\n", files=["https://a.b/report.csv"])
    lease = await room.hear("m1")
    await room.turns.step(lease)
    await room.deliver(lease)
    assert [[ref.name for ref in one.files] for one in room.platform.sent] == [["report.csv"]]
    await room.turns.lanes.close()
