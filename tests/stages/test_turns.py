"""Turns against an agent that behaves as badly as agents do, on a clock of our own."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from bridge.agent.backend import Backend, Mode
from bridge.calls import Agent
from bridge.errors import Replaced
from bridge.model import Act, Author, Lease, OutboundMessage
from bridge.outbox import Outbox
from bridge.patience import Patience
from bridge.shares import Limits, Shares
from bridge.store import reader
from bridge.store.circuits import CHANGE, Change
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.ledger import ledger
from bridge.store.nodes import BEAT, Beat
from bridge.turns import Turns
from bridge.watching import Watchers
from tests.conftest import FakeClock
from tests.stages.platform import Chat, Plain, arrival

Answer = Callable[[httpx2.Request], httpx2.Response]


def task(request: httpx2.Request, **record: Any) -> httpx2.Response:
    body = json.loads(request.content) if request.content else {}
    extension = body.get("payload_extension") or {}
    told = {"id": "task-1", "agent_id": "a", "status": "completed", "result": "done", "payload_extension": extension}
    return httpx2.Response(200, json={**told, "input": body.get("input"), **record})


class Room:
    """One agent, one platform, one conversation at a time."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        limits: Limits = Limits(total=1000),  # noqa: B008 - a value
        mode: Mode = "sync",
        *,
        choose_task_ids: bool = False,
        timeout: timedelta = timedelta(minutes=30),
        platform: Plain | None = None,
        decisions: str | None = None,
    ) -> None:
        self.store = store
        self.platform = platform or Plain()
        self.answer: Answer = task
        self.shares = Shares(limits)
        self.asked: list[httpx2.Request] = []
        self.delivering: list[Lease] = []
        self.hold = asyncio.Event()
        self.hold.set()
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        backend = Backend(
            http,
            base_url="http://agent.test",
            api_key="k",
            agent_id="a",
            mode=mode,
            clock=clock,
            choose_task_ids=choose_task_ids,
            timeout=timeout,
        )
        self.outbox = Outbox(store, clock, adapters={"team": self.platform}, age=timedelta(hours=24))
        self.turns = Turns(
            store,
            clock,
            agents={"local": Agent(backend=backend, defaults={}, decisions=decisions)},
            adapters={"team": self.platform},
            patience=Patience(),
            link=lambda ref: ref.url,
            deliver=self.delivering.append,
            handing=self.outbox.handing,
            watchers=Watchers(store, clock),
            routes={},
            failed=lambda *_: None,
            shares=self.shares,
        )

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        await self.hold.wait()
        return self.answer(request)

    async def hear(self, key: str, text: str = "hello", thread: str = "thread") -> Lease:
        (lease,) = (await self.store.accept(INGEST, arrival(self.store, key, text, thread=thread))).wake
        return lease

    def extension(self) -> dict[str, str]:
        """What a status read echoes of the first call."""
        return {"idempotency_key": self.asked[0].headers["idempotency-key"]}

    async def again(self, lease: Lease) -> Lease:
        """The lease of the moment: what waits long is let go of, and taken up by the beat when it is due."""
        taken = await self.store.write(BEAT, Beat(timedelta(seconds=5), 10, exclusive=True))
        return taken[0] if taken else lease

    async def deliver(self, lease: Lease) -> list[str]:
        while await self.outbox.step(lease) == timedelta(0):
            pass
        return [one.text for one in self.platform.sent]


@pytest.fixture
async def room(store: Store, clock: FakeClock) -> AsyncIterator[Room]:
    room = Room(store, clock)
    yield room
    await room.turns.lanes.close()


def refused(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("connection refused")


def cut(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadError("connection reset")


async def _until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not wanted():  # noqa: ASYNC110 - another task reads it
            await asyncio.sleep(0)


async def state(room: Room) -> tuple[str, int | None]:
    view, *_ = await room.store.read(reader.message_list)
    return view.state, view.attempt


async def test_a_reply_continues_the_same_task(room: Room) -> None:
    await room.turns.step(await room.hear("m1"))
    lease = await room.hear("m2")
    await room.turns.step(lease)
    bodies = [json.loads(request.content) for request in room.asked]
    assert [body.get("id") for body in bodies] == [None, "task-1"]
    assert await room.deliver(lease) == ["done", "done"]


async def test_an_agent_that_is_away_costs_no_attempt_and_is_told_of_once(room: Room, clock: FakeClock) -> None:
    room.answer = refused
    lease = await room.hear("m1")
    for _ in range(12):
        await room.turns.step(lease)
        await clock.advance(timedelta(seconds=40))
    assert await state(room) == ("queued", 0)
    room.answer = task
    assert (await room.deliver(lease))[0].startswith("The agent cannot be reached right now")
    await room.turns.step(lease)
    assert (await room.deliver(lease))[1:] == ["done"]


async def test_while_the_circuit_is_open_nobody_calls(room: Room) -> None:
    room.answer = refused
    leases = [await room.hear(f"m{number}", thread=f"t{number}") for number in range(20)]
    for lease in leases:
        await room.turns.step(lease)
    assert len(room.asked) == 5


async def test_a_call_that_may_have_arrived_is_repeated_under_the_same_key(room: Room, clock: FakeClock) -> None:
    room.answer = cut
    lease = await room.hear("m1")
    for _ in range(3):
        await room.turns.step(lease)
        await clock.advance(timedelta(minutes=6))
        lease = await room.again(lease)
    assert len({request.headers["idempotency-key"] for request in room.asked}) == 1
    assert await state(room) == ("queued", 3)


async def test_tries_that_may_have_arrived_end_and_the_person_is_told_with_a_reference(
    room: Room, clock: FakeClock
) -> None:
    room.answer = cut
    lease = await room.hear("m1")
    for _ in range(8):
        await room.turns.step(lease)
        await clock.advance(timedelta(minutes=6))
        lease = await room.again(lease)
    assert await state(room) == ("dead", 8)
    (view, *_) = await room.store.read(reader.message_list)
    (text,) = await room.deliver(lease)
    assert str(view.turn_id) in text
    assert "reset" not in text


async def test_a_busy_thread_is_waited_out(room: Room, clock: FakeClock) -> None:
    room.answer = lambda _: httpx2.Response(409, json={"detail": "a turn is running"})
    lease = await room.hear("m1")
    for _ in range(20):
        await room.turns.step(lease)
        await clock.advance(timedelta(seconds=5))
    assert await state(room) == ("queued", 0)
    room.answer = task
    await room.turns.step(lease)
    assert await state(room) == ("answered", 1)


@pytest.mark.parametrize("status", [401, 403, 404, 422])
async def test_what_the_agent_will_never_take_is_dead_at_once(room: Room, status: int) -> None:
    room.answer = lambda _: httpx2.Response(status, json={"detail": "secret detail"})
    lease = await room.hear("m1")
    await room.turns.step(lease)
    assert await state(room) == ("dead", 1)
    (text,) = await room.deliver(lease)
    assert "secret detail" not in text


async def test_an_error_in_a_good_answer_is_a_failure_kept_for_the_operator(room: Room) -> None:
    room.answer = lambda request: task(request, status="error", result="Error code: 413 - request_too_large")
    lease = await room.hear("m1")
    await room.turns.step(lease)
    (view, *_) = await room.store.read(reader.message_list)
    assert (view.state, view.error) == ("dead", "Error code: 413 - request_too_large")
    (text,) = await room.deliver(lease)
    assert "413" not in text


async def test_a_login_is_asked_for_once_and_the_turn_goes_on_after_it(room: Room, clock: FakeClock) -> None:
    login = {"connector_name": "Calendar", "auth_url": "https://login.example.com/x"}
    room.answer = lambda request: task(
        request, status="paused", result=None, pending_eca_request=login, payload_extension=room.extension()
    )
    lease = await room.hear("m1")
    for _ in range(3):
        await room.turns.step(lease)
        await clock.advance(timedelta(seconds=6))
    assert (await state(room))[0] == "paused"
    assert len(room.asked) > 1
    (text,) = await room.deliver(lease)
    assert "https://login.example.com/x" in text
    room.answer = lambda request: task(request, payload_extension=room.extension())
    await room.turns.step(lease)
    assert (await room.deliver(lease))[1:] == ["done"]


@dataclass
class Status:
    """A view that would go on by itself."""

    remote_id: str | None = None
    left: bool = False

    async def show(self, kind: str, data: Any) -> None: ...

    async def close(self, final: OutboundMessage | None) -> str | None: ...

    def leave(self) -> None:
        self.left = True


@dataclass
class Showing(Plain):
    status: Status = field(default_factory=Status)

    async def open(self, message: OutboundMessage) -> Status:  # noqa: ARG002 - one view for all
        return self.status


async def test_a_view_is_left_by_a_node_that_loses_the_turn(store: Store, clock: FakeClock) -> None:
    room = Room(store, clock, platform=(platform := Showing()))
    room.hold.clear()
    step = asyncio.create_task(room.turns.step(await room.hear("m1")))
    await _until(lambda: bool(room.asked))
    step.cancel()
    await asyncio.wait((step,))
    assert platform.status.left
    await room.turns.lanes.close()


class Ending(Status):
    """A view that is to become the answer, and takes its time; then it cannot, after all."""

    def __init__(self) -> None:
        super().__init__(remote_id="stream")
        self.closing = asyncio.Event()
        self.may_end = asyncio.Event()

    async def close(self, final: OutboundMessage | None) -> None:
        if final is not None:
            self.closing.set()
            await self.may_end.wait()


async def test_an_answer_that_a_view_is_becoming_is_nobody_elses_to_send(store: Store, clock: FakeClock) -> None:
    """The outbox may come by, as it does after the answer before this one."""
    view = Ending()
    room = Room(store, clock, platform=(platform := Showing(status=view)))
    lease = await room.hear("m1")
    step = asyncio.create_task(room.turns.step(lease))
    await view.closing.wait()
    assert await room.deliver(lease) == []
    view.may_end.set()
    await step
    assert await room.deliver(lease) == ["done"]
    assert [one.repeated for one in platform.sent] == [False]
    await room.turns.lanes.close()


@dataclass
class Changing(Chat):
    """A platform that could turn a view into words."""

    status: Status = field(default_factory=Status)
    opened: int = 0

    async def open(self, message: OutboundMessage) -> Status:  # noqa: ARG002 - one view for all
        self.opened += 1
        return self.status


class Going(Ending):
    """A view that goes away, and takes its time."""

    async def close(self, final: OutboundMessage | None) -> None:  # noqa: ARG002 - whatever comes instead
        self.closing.set()
        await self.may_end.wait()
        self.remote_id = None


async def test_an_apology_does_not_take_the_place_of_a_view_that_is_going(store: Store, clock: FakeClock) -> None:
    """The outbox would say it there, and it would be gone with the view."""
    view = Going()
    room = Room(store, clock, platform=(platform := Changing(status=view)))
    room.answer = lambda request: task(request, status="failed")
    lease = await room.hear("m1")
    step = asyncio.create_task(room.turns.step(lease))
    await view.closing.wait()
    assert (await room.deliver(lease), platform.revised) == ([], [])
    view.may_end.set()
    await step
    (text,) = await room.deliver(lease)
    assert "could not finish" in text
    assert (platform.revised, platform.withdrawn) == ([], [])
    await room.turns.lanes.close()


async def test_after_a_pause_there_is_a_view_again(store: Store, clock: FakeClock) -> None:
    view = Going()
    view.may_end.set()
    room = Room(store, clock, platform=(platform := Changing(status=view)))
    login = {"connector_name": "Calendar", "auth_url": "https://login.example.com/x"}
    room.answer = lambda request: task(request, status="paused", pending_eca_request=login)
    lease = await room.hear("m1")
    await room.turns.step(lease)
    await room.deliver(lease)
    await clock.advance(timedelta(seconds=6))
    view.remote_id = "another"
    room.answer = lambda request: task(request, payload_extension=room.extension())
    await room.turns.step(lease)
    assert platform.opened == 2
    assert (await room.deliver(lease))[1:] == ["done"]
    assert (platform.revised, platform.withdrawn) == ([], [])
    await room.turns.lanes.close()


async def test_a_message_that_waited_too_long_is_given_up_visibly(room: Room, clock: FakeClock) -> None:
    lease = await room.hear("m1")
    await clock.advance(timedelta(hours=25))
    await room.turns.step(lease)
    assert (await state(room))[0] == "dead"
    counts = await room.store.read(ledger)
    assert counts.balanced


async def test_while_the_agent_is_away_one_node_tries_for_all(room: Room, clock: FakeClock) -> None:
    other = Room(room.store, clock)  # another node's view of the same rows
    room.answer = other.answer = refused
    for number in range(5):
        await room.turns.step(await room.hear(f"m{number}", thread=f"t{number}"))
    watching = asyncio.create_task(other.turns.watch())
    await _until(lambda: other.turns.is_away("local"))
    await other.turns.step(await other.hear("m6", thread="t6"))
    assert (len(room.asked), len(other.asked)) == (5, 0)
    await clock.advance(timedelta(seconds=31))
    for number in (7, 8, 9):
        await other.turns.step(await other.hear(f"m{number}", thread=f"t{number}"))
        await room.turns.step(await room.hear(f"n{number}", thread=f"s{number}"))
    assert len(room.asked) + len(other.asked) == 6
    watching.cancel()
    await other.turns.lanes.close()


async def test_one_good_answer_closes_the_circuit_for_all(room: Room, clock: FakeClock) -> None:
    room.answer = refused
    leases = [await room.hear(f"m{number}", thread=f"t{number}") for number in range(7)]
    for lease in leases[:6]:
        await room.turns.step(lease)
    room.answer = task
    await clock.advance(timedelta(seconds=31))
    await room.turns.step(leases[6])
    assert not room.turns.is_away("local")
    later = Room(room.store, clock)  # a node that starts now has nothing to be wary of
    await later.turns.step(leases[0])
    assert len(later.asked) == 1


async def test_a_probe_that_never_came_back_is_another_ones_after_a_while(room: Room, clock: FakeClock) -> None:
    room.answer = refused
    for number in range(5):
        await room.turns.step(await room.hear(f"m{number}", thread=f"t{number}"))
    await clock.advance(timedelta(seconds=31))
    await room.store.write(CHANGE, Change(agent="local", what="probe"))  # whoever it was died right after
    room.answer = task
    lease = await room.hear("m6", thread="t6")
    await room.turns.step(lease)
    assert len(room.asked) == 5
    await clock.advance(timedelta(seconds=31))
    await room.turns.step(lease)
    assert len(room.asked) == 6


@pytest.fixture
async def narrow(store: Store, clock: FakeClock) -> AsyncIterator[Room]:
    room = Room(store, clock, Limits(total=1))
    yield room
    await room.turns.lanes.close()


async def test_a_turn_that_waits_for_a_place_is_as_if_it_had_not_begun(narrow: Room) -> None:
    gate = asyncio.Event()
    narrow.hold = gate
    first, second = [await narrow.hear(f"m{number}", thread=f"t{number}") for number in (1, 2)]
    narrow.turns.lanes.wake(first)
    await _until(lambda: len(narrow.asked) == 1)
    narrow.turns.lanes.wake(second)
    await _until(lambda: len(narrow.shares) == 1)
    assert await state(narrow) == ("queued", 0)
    edited = replace(arrival(narrow.store, "m2", "changed", thread="t2"), delivery_key="edit")
    assert edited.messages
    edit = replace(edited.messages[0], act=Act.EDIT)
    await narrow.store.accept(INGEST, replace(edited, messages=(edit,)))
    gate.set()
    await _until(lambda: len(narrow.asked) == 2)
    assert [json.loads(request.content)["input"]["text"] for request in narrow.asked] == ["hello", "changed"]


@pytest.mark.parametrize("waits", [1, 2])
async def test_what_is_stopped_while_it_waits_for_a_place_ends_at_once(narrow: Room, waits: int) -> None:
    gate = asyncio.Event()
    narrow.hold = gate
    first = await narrow.hear("m0", thread="t0")
    narrow.turns.lanes.wake(first)
    await _until(lambda: len(narrow.asked) == 1)
    for number in range(waits):
        narrow.turns.lanes.wake(await narrow.hear(f"m{number + 1}", thread="t1"))
    await _until(lambda: len(narrow.shares) == 1)
    stop = arrival(narrow.store, "stop", thread="t1")
    assert stop.messages
    stop = replace(stop, messages=(replace(stop.messages[0], act=Act.STOP),))
    stored = await narrow.store.accept(INGEST, stop)
    for conversation_id in stored.stop:
        narrow.turns.stop(conversation_id)
    async with asyncio.timeout(20):
        while (found := await narrow.store.read(ledger)).cancelled < waits:
            continue
    assert (found.in_flight, len(narrow.asked), len(narrow.shares)) == (1, 1, 0)
    gate.set()
    await _until(lambda: len(narrow.turns.lanes) == 0)
    assert len(narrow.asked) == 1


async def test_a_flood_of_one_person_does_not_keep_another_waiting(narrow: Room) -> None:
    gate = asyncio.Event()
    narrow.hold = gate
    flood = [await narrow.hear(f"m{number}", thread=f"t{number}") for number in range(12)]
    for lease in flood:
        narrow.turns.lanes.wake(lease)
    await _until(lambda: len(narrow.asked) == 1)
    zoe = arrival(narrow.store, "z", "zoe", thread="z")
    assert zoe.messages
    zoe = replace(zoe, messages=(replace(zoe.messages[0], author=Author(id="zoe")),))
    (lease,) = (await narrow.store.accept(INGEST, zoe)).wake
    narrow.turns.lanes.wake(lease)
    await _until(lambda: len(narrow.shares) == 12)
    gate.set()
    await _until(lambda: len(narrow.asked) == 13)
    texts = [json.loads(request.content)["input"]["text"] for request in narrow.asked]
    assert texts.index("zoe") <= 2
    assert (await narrow.store.read(ledger)).balanced


async def test_a_thread_that_stays_busy_is_stuck_and_the_conversation_goes_on(room: Room, clock: FakeClock) -> None:
    room.answer = lambda _: httpx2.Response(409, json={"detail": "a turn is running"})
    lease = await room.hear("m1")
    await room.hear("m2")
    for _ in range(7):
        await room.turns.step(lease)
        await clock.advance(timedelta(minutes=10))
    views = await room.store.read(reader.message_list)
    assert [(view.state, (view.error or "").partition(":")[0]) for view in views] == [("queued", ""), ("dead", "stuck")]
    assert "Reference" in (await room.deliver(lease))[0]
    room.answer = task
    await room.turns.step(lease)
    assert await state(room) == ("answered", 1)


async def test_an_agent_that_was_away_for_long_makes_nothing_stuck(room: Room, clock: FakeClock) -> None:
    lease = await room.hear("m1")
    room.answer = cut
    await room.turns.step(lease)
    room.answer = refused
    for _ in range(6):
        await clock.advance(timedelta(minutes=20))
        await room.turns.step(await room.again(lease))
    room.answer = cut
    await clock.advance(timedelta(minutes=1))
    await room.turns.step(await room.again(lease))
    assert await state(room) == ("queued", 2)


async def test_stopping_what_only_waits_is_confirmed_once_though_the_agent_is_away(room: Room) -> None:
    room.answer = refused
    for number in range(5):
        await room.turns.step(await room.hear(f"n{number}", thread=f"t{number}"))
    lease = await room.hear("m1")
    await room.turns.step(lease)
    await room.hear("m2")
    await room.hear("m3")
    said = arrival(room.store, "stop")
    assert said.messages
    await room.store.accept(INGEST, replace(said, messages=(replace(said.messages[0], act=Act.STOP),)))
    await room.turns.step(lease)
    assert [view.state for view in await room.store.read(reader.message_list)][:3] == ["cancelled"] * 3
    assert (await room.deliver(lease))[1:] == ["Stopped."]


async def test_what_fails_in_a_way_nobody_foresaw_ends_and_the_conversation_goes_on(
    room: Room, clock: FakeClock
) -> None:
    def broken(_: httpx2.Request) -> httpx2.Response:
        raise LookupError("a defect")

    room.answer = broken
    lease = await room.hear("m1")
    for _ in range(Patience().attempts):
        await room.turns.step(lease)
        await clock.advance(timedelta(minutes=5))
        lease = await room.again(lease)
    (view,) = await room.store.read(reader.message_list)
    assert (view.state, view.error) == ("dead", "failed: LookupError('a defect')")
    assert len(room.asked) == Patience().attempts
    room.answer = task
    lease = await room.hear("m2")
    await room.turns.step(lease)
    (apology, answer) = await room.deliver(lease)
    assert "Reference" in apology
    assert "Reference" not in answer


async def test_what_came_from_a_source_that_is_gone_ends_all_the_same(room: Room) -> None:
    said = replace(arrival(room.store, "m1"), source="gone")
    (lease,) = (await room.store.accept(INGEST, said)).wake
    await room.turns.step(lease)
    assert await room.deliver(lease) == []
    (view,) = await room.store.read(reader.delivery_list)
    assert (view.state, view.error) == ("dead", "No source named 'gone' is configured.")
    books = await room.store.read(ledger)
    assert (books.dead, books.in_flight) == (1, 0)


async def test_a_stop_that_comes_when_its_turn_is_over_does_not_stop_the_next(room: Room) -> None:
    """Who tells of a stop names the conversation, and what runs there may be another turn by then."""
    room.hold.clear()
    lease = await room.hear("m1")
    step = asyncio.create_task(room.turns.step(lease))
    await _until(lambda: bool(room.asked))
    room.turns.stop(lease.conversation_id)
    room.hold.set()
    assert await step == timedelta(0)
    await room.turns.step(lease)
    assert await room.deliver(lease) == ["done"]
    assert len({request.headers["idempotency-key"] for request in room.asked}) == 1


async def stopped(room: Room) -> None:
    said = arrival(room.store, "stop")
    assert said.messages
    await room.store.accept(INGEST, replace(said, messages=(replace(said.messages[0], act=Act.STOP),)))


async def test_what_is_to_be_stopped_ends_though_its_agent_is_gone(room: Room) -> None:
    (lease,) = (await room.store.accept(INGEST, replace(arrival(room.store, "m1"), agent="gone"))).wake
    await stopped(room)
    await room.turns.step(lease)
    assert (await state(room))[0] == "cancelled"
    assert await room.deliver(lease) == ["Stopped."]


@dataclass
class Broken(Plain):
    async def open(self, message: OutboundMessage) -> Status:  # noqa: ARG002 - it has none
        raise LookupError("a defect")


async def test_what_cannot_be_stopped_as_it_should_ends_all_the_same(store: Store, clock: FakeClock) -> None:
    room = Room(store, clock, platform=Broken())
    lease = await room.hear("m1")
    await stopped(room)
    for _ in range(Patience().attempts + 1):
        with contextlib.suppress(Replaced):
            await room.turns.step(await room.again(lease))
        await clock.advance(timedelta(minutes=5))
    assert (await state(room))[0] == "cancelled"
    await room.turns.lanes.close()
