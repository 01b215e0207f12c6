"""Turns that wait for a person: asked once for each thing, until it is decided or its time is over."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from bridge.model import Act, Lease
from bridge.store import tables
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from tests.conftest import FakeClock
from tests.stages.platform import arrival
from tests.stages.test_turns import Room, state, task
from tests.store.journeys import rows_of

WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)


class Asking(Room):
    """A room whose agent waits for a person, and takes decisions; `now` is what its records tell."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        super().__init__(store, clock, decisions="/v1/tasks/{task_id}/approval")
        self.clock = clock
        self.now: dict[str, Any] = {"status": "paused", "result": "May I?", "hitl_request": {"wait_node_id": "n1"}}
        self.later: dict[str, Any] = {}
        """What else they tell once it is told of a decision."""
        self.told: list[str] = []
        self.answer = self.reply

    def reply(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/approval"):
            self.told.append(json.loads(request.content)["choice"])
            self.now |= self.later
            return httpx2.Response(200, json={})
        return task(request, **self.now, payload_extension=self.extension())

    async def decide(self, choice: str = "approve") -> Lease:
        """Anna presses a button below the newest question."""
        decision = max(await rows_of(self.store, tables.decisions), key=lambda row: str(row.id))
        said = arrival(self.store, f"press {decision.id}")
        (first,) = said.messages or ()
        pressed = replace(first, act=Act.DECIDE, metadata={"decision_id": decision.id, "choice": choice})
        (lease,) = (await self.store.accept(INGEST, replace(said, messages=(pressed,)))).wake
        return lease

    async def questions(self) -> list[bool]:
        """Of each that was asked, whether it still is open."""
        rows = sorted(await rows_of(self.store, tables.decisions), key=lambda row: str(row.id))
        return [row.choice is None and row.open for row in rows]


@pytest.fixture
async def room(store: Store, clock: FakeClock) -> AsyncIterator[Asking]:
    room = Asking(store, clock)
    yield room
    await room.turns.lanes.close()


@pytest.mark.parametrize("told", [{"paused_at": "later"}, {"hitl_request": {"wait_node_id": "n2"}}])
async def test_a_second_question_in_the_same_words_is_asked_too(room: Asking, told: dict[str, Any]) -> None:
    await room.turns.step(await room.hear("m1"))
    await room.clock.advance(SECOND)
    room.later = told
    await room.turns.step(await room.decide())
    assert (room.told, await room.questions()) == (["approve"], [False, True])
    await room.clock.advance(SECOND)
    room.later = {"status": "completed", "result": "done"}
    await room.turns.step(await room.decide())
    assert (room.told, (await state(room))[0]) == (["approve", "approve"], "answered")


async def test_a_question_is_asked_once_though_the_agent_takes_its_time_with_the_decision(room: Asking) -> None:
    lease = await room.hear("m1")
    await room.turns.step(lease)
    room.now["paused_at"] = "as some tell at each look"
    for seconds in (6, 12):
        await room.clock.advance(timedelta(seconds=seconds))
        await room.turns.step(lease)
    assert await room.questions() == [True]
    await room.turns.step(await room.decide())
    await room.clock.advance(timedelta(minutes=5))
    await room.turns.step(await room.again(lease))
    assert await room.questions() == [False]


async def test_what_is_decided_in_the_last_moment_is_told(room: Asking) -> None:
    await room.turns.step(await room.hear("m1"))
    await room.clock.advance(WEEK - SECOND)
    lease = await room.decide()
    await room.clock.advance(2 * SECOND)
    room.later = {"status": "completed", "result": "done"}
    await room.turns.step(lease)
    assert (room.told, (await state(room))[0]) == (["approve"], "answered")


async def test_a_question_is_over_when_its_time_is(room: Asking) -> None:
    room.now = {"status": "paused", "result": "Which one?"}
    lease = await room.hear("m1")
    await room.turns.step(lease)
    await room.clock.advance(WEEK)
    await room.turns.step(await room.again(lease))
    await room.clock.advance(timedelta(minutes=2))
    await room.turns.step(await room.again(lease))
    assert (await state(room))[0] == "dead"


async def test_a_second_question_has_a_time_of_its_own(room: Asking) -> None:
    lease = await room.hear("m1")
    await room.turns.step(lease)
    await room.clock.advance(WEEK - timedelta(days=1))
    room.now["result"] = "And this?"
    await room.turns.step(await room.again(lease))
    assert await room.questions() == [False, True]
    await room.clock.advance(timedelta(days=2))
    await room.turns.step(await room.again(lease))
    assert (await state(room))[0] == "paused"
