"""A head that hangs in its call, on clocks of our own: it is dead after a bound, and the conversation goes on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from bridge.store import reader
from bridge.store.database import Store
from tests.conftest import FakeClock
from tests.stages.test_turns import Room, _until, state, task

MINUTE = timedelta(minutes=1)


class Time:
    """The event loop's clock, by which calls are timed, and the bridge's, moved forward together."""

    def __init__(self, clock: FakeClock, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock = clock
        self._ahead = timedelta()
        true = loop.time
        monkeypatch.setattr(loop, "time", lambda: true() + self._ahead.total_seconds())

    async def advance(self, by: timedelta) -> None:
        await self._clock.advance(by)
        self._ahead += by
        await asyncio.sleep(0)


@pytest.fixture
async def time(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(clock, asyncio.get_running_loop(), monkeypatch)


@pytest.fixture
async def room(store: Store, clock: FakeClock) -> AsyncIterator[Room]:
    room = Room(store, clock, mode="stream", timeout=timedelta(hours=12))
    yield room
    await room.turns.lanes.close()


class Slow:
    """An agent that begins its work and tells of it only when it is `told` something to say."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.heard = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/stop"):
            return task(request, status="stopped")
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=self._events(request))

    async def _events(self, request: httpx2.Request) -> AsyncGenerator[bytes]:
        yield _event("task_created", task(request, status="executing", result=None))
        while (word := await self.told.get()) != "end":
            yield b'data: {"type":"chunk","task_id":"task-1","data":"%s"}\n\n' % word.encode()
            self.heard += 1
        yield _event("task_finished", task(request))


def _event(kind: str, shown: httpx2.Response) -> bytes:
    return b'data: {"type":"%s","task_id":"task-1","data":%s}\n\n' % (kind.encode(), shown.content)


async def _tasked(room: Room) -> None:
    async with asyncio.timeout(20):
        while not (await room.store.read(reader.message_list))[-1].task_id:  # noqa: ASYNC110 - another task writes it
            await asyncio.sleep(0)


async def _errors(room: Room) -> list[tuple[str, str | None]]:
    """State and error of each message, the first one first."""
    return [(view.state, view.error) for view in reversed(await room.store.read(reader.message_list))]


async def test_a_head_that_hangs_in_its_open_call_is_dead_and_the_conversation_goes_on(room: Room, time: Time) -> None:
    room.hold.clear()  # the call is taken, and nothing ever comes back
    lease = await room.hear("m1")
    await room.hear("m2")
    step = asyncio.create_task(room.turns.step(lease))
    await _until(lambda: len(room.asked) == 1)
    await time.advance(59 * MINUTE)
    assert not step.done()
    assert (await state(room))[0] == "queued"
    await time.advance(MINUTE)
    await step
    assert await _errors(room) == [("dead", "stuck: No sign of life for 1:00:00."), ("queued", None)]
    assert "Reference" in (await room.deliver(lease))[0]
    room.hold.set()
    room.answer = task
    await room.turns.step(lease)
    assert (await room.deliver(lease))[1:] == ["done"]


async def test_a_task_that_falls_silent_is_stopped_at_the_agent_too(room: Room, time: Time) -> None:
    room.answer = Slow()
    step = asyncio.create_task(room.turns.step(await room.hear("m1")))
    await _tasked(room)
    await time.advance(61 * MINUTE)
    await step
    assert await _errors(room) == [("dead", "stuck: No sign of life for 1:00:00.")]
    assert [request.url.path for request in room.asked] == ["/v1/agents/a/invoke/stream", "/v1/tasks/task-1/stop"]


async def test_a_long_task_with_signs_of_life_is_never_stuck(room: Room, time: Time) -> None:
    room.answer = agent = Slow()
    step = asyncio.create_task(room.turns.step(await room.hear("m1")))
    await _tasked(room)
    for number in range(5):
        agent.told.put_nowait("word")
        await _until(lambda: agent.heard == number + 1)  # noqa: B023 - awaited within the round
        await asyncio.sleep(0)
        await time.advance(40 * MINUTE)
    agent.told.put_nowait("end")
    await step
    assert await state(room) == ("answered", 1)
