"""The agent goes away in the middle of each kind of call: the work is begun once, and answered once."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from bridge.agent.backend import Mode
from bridge.model import Act, Lease
from bridge.store import reader
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.ledger import ledger
from tests.conftest import FakeClock
from tests.stages.platform import arrival
from tests.stages.test_turns import Room, refused, state

TIMES = 2
LOST = httpx2.ReadError("connection reset")


@dataclass
class Faltering:
    """A service that keeps idempotency keys, and goes away `times` times at one moment of its calls."""

    moment: str
    times: int
    begun: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    task: dict[str, Any] = field(default_factory=dict)
    keeps_keys: bool = True
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.seen[request.method] += 1
        if request.method == "GET":
            if self._is_away_at("while it is read"):
                raise LOST
            if not self.task:
                return httpx2.Response(404, json={"detail": "No such task."})
            return httpx2.Response(200, json=self.task)
        if self._is_away_at("while it is stopped"):
            raise LOST
        if self._is_away_at("before it is reached"):
            return refused(request)
        if request.headers["idempotency-key"] not in self.begun or not self.keeps_keys:
            self._begin(request)
        if self._is_away_at("before its answer"):
            raise LOST
        if self._is_away_at("behind a balancer"):
            return httpx2.Response(504, text="<h1>Gateway timeout</h1>")
        if request.url.path.endswith("/stream"):
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=self._events())
        pending = request.url.path.endswith("/async")
        return httpx2.Response(200, json=self.task | ({"status": "pending", "result": None} if pending else {}))

    def _begin(self, request: httpx2.Request) -> None:
        body = json.loads(request.content)
        key = request.headers["idempotency-key"]
        assert body["payload_extension"]["idempotency_key"] == key
        self.begun[key] += 1
        self.task = {
            "id": body.get("id") or "task-1",
            "agent_id": "a",
            "status": "completed",
            "result": "done",
            "input": body["input"],
            "payload_extension": body["payload_extension"],
        }

    async def _events(self) -> AsyncIterator[bytes]:
        yield _line("connected", None)
        if self._is_away_at("before it names the task"):
            raise LOST
        yield _line("task_created", self.task | {"status": "pending", "result": None})
        yield _line("chunk", "do")
        if "in the middle of its stream" in self.moment:
            raise LOST
        if "without an end to its stream" in self.moment:
            return
        await self.goes_on.wait()
        yield _line("task_finished", self.task)

    def _is_away_at(self, moment: str) -> bool:
        if moment not in self.moment or not self.times:
            return False
        self.times -= 1
        return True


def _line(kind: str, data: Any) -> bytes:
    event = {"type": kind, "task_id": "task-1", "organization_id": "o", "time": "", "data": data}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def settle(room: Room, clock: FakeClock, lease: Lease) -> Lease:
    """Let the turn be tried, and time pass, until it is over."""
    for _ in range(30):
        stepping = asyncio.ensure_future(room.turns.step(lease))
        while not stepping.done():
            await clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.001)
        stepping.result()
        if (await state(room))[0] not in {"queued", "running"}:
            return lease
        await clock.advance(timedelta(seconds=40))
        lease = await room.again(lease)
    raise AssertionError(f"the turn is {await state(room)}")


@pytest.mark.parametrize(
    ("mode", "moment", "calls"),
    [
        ("sync", "before it is reached", None),
        ("sync", "before its answer", None),
        ("sync", "behind a balancer", None),
        ("poll", "before it is reached", None),
        ("poll", "before its answer", None),
        ("poll", "while it is read", 1),
        ("stream", "before it is reached", None),
        ("stream", "before its answer", None),
        ("stream", "before it names the task", None),
        ("stream", "in the middle of its stream", 1),
        ("stream", "without an end to its stream", 1),
        ("stream", "in the middle of its stream and while it is read", 1),
    ],
)
async def test_its_work_is_begun_once_and_answered_once(
    store: Store, clock: FakeClock, mode: Mode, moment: str, calls: int | None
) -> None:
    room = Room(store, clock, mode=mode)
    room.answer = agent = Faltering(moment, TIMES)
    agent.goes_on.set()
    lease = await settle(room, clock, await room.hear("m1"))
    answers = [text for text in await room.deliver(lease) if not text.startswith("The agent cannot be reached")]
    assert answers == ["done"]
    assert list(agent.begun.values()) == [1]
    # Once the task is known, it is asked for; only what may never have begun is asked again, under the same key.
    assert agent.seen["POST"] == (calls or TIMES + 1)
    books = await store.read(ledger)
    assert (books.accepted, books.answered, books.balanced) == (1, 1, True)
    await room.turns.lanes.close()


@pytest.mark.parametrize("moment", ["before it is reached", "before its answer", "behind a balancer"])
async def test_where_the_id_is_ours_to_choose_no_key_is_needed(store: Store, clock: FakeClock, moment: str) -> None:
    room = Room(store, clock, mode="sync", choose_task_ids=True)
    room.answer = agent = Faltering(moment, TIMES, keeps_keys=False)
    lease = await settle(room, clock, await room.hear("m1"))
    assert (await room.deliver(lease))[-1] == "done"
    assert list(agent.begun.values()) == [1]
    assert agent.task["id"] == next(iter(agent.begun))
    await room.turns.lanes.close()


async def test_a_stop_that_it_never_hears_is_a_stop_all_the_same(store: Store, clock: FakeClock) -> None:
    room = Room(store, clock, mode="stream")
    room.answer = agent = Faltering("", 0)
    lease = await room.hear("m1")
    stepping = asyncio.ensure_future(room.turns.step(lease))
    while (await store.read(reader.message_list))[0].task_id is None:  # noqa: ASYNC110 - a row tells nobody
        await asyncio.sleep(0.001)
    agent.moment, agent.times = "while it is stopped", 1
    said = arrival(store, "stop")
    assert said.messages
    await store.accept(INGEST, replace(said, messages=(replace(said.messages[0], act=Act.STOP),)))
    room.turns.stop(lease.conversation_id)
    await stepping
    assert await state(room) == ("cancelled", 1)
    assert await room.deliver(lease) == ["Stopped."]
    assert (agent.times, agent.seen["POST"]) == (0, 2)
    await room.turns.lanes.close()
