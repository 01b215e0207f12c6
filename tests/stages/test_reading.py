"""What is read after its acknowledgement stands in line in the order in which it arrived."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import select

from bridge.entrance import Entrance
from bridge.errors import Retryable
from bridge.model import Author, Candidate, Envelope, InboundMessage
from bridge.reading import ATTEMPTS, PATIENCE, Readings
from bridge.sealing import Sealer
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.envelopes import pack
from bridge.store.ingest import INGEST
from bridge.store.tables import arrivals, messages, turns
from tests.conftest import FakeClock
from tests.stages.platform import Plain

SEALER = Sealer(["a-secret-key-for-these-tests-only-0123456789"])


@dataclass
class Slow(Plain):
    """Reads an arrival when a test lets it."""

    doors: dict[str, asyncio.Event] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    finished: list[str] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)

    async def read(self, envelope: Envelope) -> Sequence[InboundMessage]:
        name = envelope.body.decode()
        await self.doors.setdefault(name, asyncio.Event()).wait()
        if name in self.failing:
            raise Retryable("not now")
        self.finished.append(name)
        conversation = (Candidate(value="thread", matched_by="thread"),)
        return [
            InboundMessage(
                message_key=name,
                conversation=conversation,
                return_address="here",
                author=Author(id="anna"),
                text=name,
                metadata=self.metadata,
            )
        ]


@dataclass
class Desk:
    readings: Readings
    adapter: Slow
    store: Store

    async def arrive(self, *names: str, source: str = "mail") -> None:
        for name in names:
            self.adapter.doors.setdefault(name, asyncio.Event())
            envelope = Envelope(
                source=source, method="POST", path="/", query="", headers=(), body=name.encode(),
                received_at=self.store.now(),
            )  # fmt: skip
            arrival = Arrival(
                source=source,
                delivery_key=name,
                digest=name,
                sealed=SEALER.seal(pack(envelope), purpose="envelope"),
                messages=None,
                received_at=self.store.now(),
                keep=timedelta(days=14),
                agent="local",
                busy="queue",
            )
            stored = await self.store.accept(INGEST, arrival)
            assert stored.unread is not None
            self.readings.begin(stored.unread)

    async def let(self, *names: str) -> None:
        for name in names:
            self.adapter.doors[name].set()
            async with asyncio.timeout(30):
                while name not in {*self.adapter.finished, *self.adapter.failing}:  # noqa: ASYNC110 - another task
                    await asyncio.sleep(0.005)

    async def placed(self, count: int) -> list[str]:
        """What was said, in its order of turns, as soon as there is so much."""
        query = select(messages.c.text).join(turns, turns.c.id == messages.c.turn_id).order_by(turns.c.seq)
        async with asyncio.timeout(30):
            while len(found := await self.store.read(lambda connection: list(connection.scalars(query)))) < count:  # noqa: ASYNC110 - rows do not tell
                await asyncio.sleep(0.005)
        return found


@pytest.fixture
def desk(store: Store, clock: FakeClock) -> Desk:
    adapter = Slow()
    entrances = {
        name: Entrance(name=name, adapter=adapter, agent="local", busy="queue", max_body=1000, keep=timedelta(days=14))
        for name in ("mail", "other")
    }

    def nothing(_: object) -> None:
        return

    readings = Readings(store, clock, SEALER, entrances=entrances, wake=nothing, stop=nothing, deliver=nothing)
    return Desk(readings, adapter, store)


async def test_what_takes_longer_is_not_overtaken(desk: Desk) -> None:
    await desk.arrive("one", "two", "three")
    await desk.let("three", "two")
    assert await desk.placed(0) == []
    await desk.let("one")
    assert await desk.placed(3) == ["one", "two", "three"]


async def test_another_source_does_not_wait(desk: Desk) -> None:
    await desk.arrive("one")
    await desk.arrive("elsewhere", source="other")
    await desk.let("elsewhere")
    assert await desk.placed(1) == ["elsewhere"]


async def test_what_has_to_be_tried_again_holds_up_nobody(desk: Desk) -> None:
    desk.adapter.failing = {"one"}
    await desk.arrive("one", "two")
    await desk.let("two", "one")
    assert await desk.placed(1) == ["two"]


async def test_what_no_row_can_hold_is_put_off_and_not_read_over_and_over(desk: Desk) -> None:
    desk.adapter.metadata = {"when": object()}
    await desk.arrive("one")
    await desk.let("one")
    query = select(arrivals).where(arrivals.c.attempt > 0)
    async with asyncio.timeout(30):
        while not (found := await desk.store.read(lambda c: c.execute(query).all())):  # noqa: ASYNC110 - rows do not tell
            await asyncio.sleep(0.005)
    assert (found[0].state, found[0].error) == ("unread", "PydanticSerializationError")
    assert found[0].not_before > desk.store.now()


async def tried(desk: Desk, clock: FakeClock) -> tuple[int, timedelta]:
    """Let every try of the one arrival fail until it is parked: how many there were, and in what time."""
    began = clock.now()
    async with asyncio.timeout(60):
        while (
            row := await desk.store.read(lambda connection: connection.execute(select(arrivals)).one())
        ).state == "unread":
            if row.not_before is not None and row.not_before > clock.now():
                await clock.advance(row.not_before - clock.now())
            await desk.readings.sweep()
            await asyncio.sleep(0.005)
    return row.attempt, clock.now() - began


async def test_while_a_name_server_is_away_it_is_tried_for_most_of_a_day(desk: Desk, clock: FakeClock) -> None:
    desk.adapter.failing = {"one"}
    await desk.arrive("one")
    await desk.let("one")
    tries, lasted = await tried(desk, clock)
    assert tries == ATTEMPTS + len(PATIENCE) - 1
    assert timedelta(hours=11) < lasted < timedelta(hours=37)


async def test_what_nobody_can_read_is_parked_soon(desk: Desk, clock: FakeClock) -> None:
    desk.adapter.metadata = {"when": object()}
    await desk.arrive("one")
    await desk.let("one")
    tries, lasted = await tried(desk, clock)
    assert (tries, lasted < timedelta(minutes=15)) == (ATTEMPTS, True)
