"""Two nodes on one database: they tell each other what to do, and none works on what may be another's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import psycopg
import pytest

from bridge.errors import Replaced
from bridge.lanes import Lanes
from bridge.model import Lease, TurnState
from bridge.store import deliveries, tables
from bridge.store.database import Store
from bridge.store.nodes import NUDGED, RECLAIM
from bridge.store.notices import CHANNEL
from bridge.store.pulse import Pulse
from bridge.store.settling import NEAR
from bridge.store.writer import Write
from bridge.sweeper import OVERDUE, SEARCH_EVERY, TTL, Sweeper
from tests.conftest import FakeClock, fresh_database
from tests.store.journeys import due, end, rows_of, say, take

SECOND = timedelta(seconds=1)
PATIENCE_SECONDS = 20


class Node:
    """One node: its store, its sweeper, and lanes that note what they are woken for and then wait."""

    def __init__(self, database_url: str, clock: FakeClock, name: str) -> None:
        self.clock = clock
        self.store = Store.open(database_url, clock, node=name, pulse=Pulse(lambda: clock.now().timestamp()))
        self.woken: asyncio.Queue[Lease] = asyncio.Queue()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.lanes = Lanes(self.step, clock, now=self.store.now, name="turns", near=NEAR)
        self.sweeper = Sweeper(self.store, clock, self.lanes.wake, lanes=[self.lanes])

    async def step(self, lease: Lease) -> timedelta | datetime | None:
        self.woken.put_nowait(lease)
        await self.may_end.wait()
        return None

    async def next(self) -> Lease:
        return await asyncio.wait_for(self.woken.get(), PATIENCE_SECONDS)

    async def close(self) -> None:
        await self.lanes.close()
        await self.store.close()


@pytest.fixture
def database_url(postgres: str) -> str:
    return fresh_database(postgres)


@pytest.fixture
async def nodes(database_url: str, clock: FakeClock) -> AsyncIterator[tuple[Node, Node]]:
    both = Node(database_url, clock, "nod_one"), Node(database_url, clock, "nod_two")
    for node in both:
        await node.sweeper.beat()
    yield both
    for node in both:
        await node.close()


@asynccontextmanager
async def sweeping(*some: Node) -> AsyncIterator[None]:
    """Run the sweepers. Time stands still, so whatever happens is not the beat's doing."""
    tasks = [asyncio.create_task(node.sweeper.run()) for node in some]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until_listening(database_url: str, number: int) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = %s"
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await _count(connection, query) < number:  # noqa: ASYNC110 - the server does not tell who listens
                await asyncio.sleep(0.01)


async def _count(connection: "psycopg.AsyncConnection[tuple[int]]", query: str) -> int:
    cursor = await connection.execute(query, (f"LISTEN {CHANNEL}",))
    row = await cursor.fetchone()
    return row[0] if row else 0


async def owned(node: Node) -> tuple[str | None, int]:
    (row,) = await rows_of(node.store, tables.conversations)
    return row.owner, row.epoch


async def test_what_another_node_stores_is_found_by_a_hint(nodes: tuple[Node, Node], database_url: str) -> None:
    one, two = nodes
    first = await say(one.store, "m1")
    async with sweeping(one):
        await until_listening(database_url, 1)
        stored = await say(two.store, "m2")
        assert stored.wake == ()
        assert await one.next() == first.wake[0]


async def test_without_any_hint_the_beat_finds_it(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    first = await say(one.store, "m1")
    await say(two.store, "m2")
    assert await one.sweeper.beat() == 1
    assert await one.next() == first.wake[0]
    assert await one.sweeper.beat() == 0  # once is enough


async def test_what_another_node_left_to_do_is_not_forgotten_over_what_is_said_here(nodes: tuple[Node, Node]) -> None:
    """That wakes whoever runs turns; what the other one has left may be for whoever delivers."""
    one, two = nodes
    await say(one.store, "m1")
    await say(two.store, "m2")
    lease = (await say(one.store, "m3")).wake[0]
    assert await one.store.write(NUDGED, 10) == [lease]


async def test_a_lost_connection_for_hints_is_opened_again(nodes: tuple[Node, Node], database_url: str) -> None:
    one, two = nodes
    await say(one.store, "m1")
    async with sweeping(one):
        await until_listening(database_url, 1)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s", (f"LISTEN {CHANNEL}",)
            )
        await say(two.store, "m2")
        await one.clock.advance(2 * SECOND)
        await one.next()
        await until_listening(database_url, 1)


async def test_a_node_that_leaves_hands_over_at_once(nodes: tuple[Node, Node], database_url: str) -> None:
    one, two = nodes
    await say(one.store, "m1")
    async with sweeping(two):
        await until_listening(database_url, 1)
        await one.sweeper.leave()
        lease = await two.next()
    assert await owned(two) == ("nod_two", lease.epoch)


async def test_a_node_that_is_gone_is_replaced_once_its_lease_has_run_out(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    await say(one.store, "m1")
    await two.clock.advance(TTL - SECOND)
    assert await two.sweeper.beat() == 0
    await two.clock.advance(2 * SECOND)
    assert await two.sweeper.beat() == 1
    assert (await owned(two))[0] == "nod_two"


async def test_a_late_node_stops_before_another_may_take_over(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    lease = (await say(one.store, "m1")).wake[0]
    await one.clock.advance(TTL - SECOND / 2)
    assert await two.sweeper.beat() == 0
    one.sweeper.look()
    one.lanes.wake(lease)
    await asyncio.sleep(0)
    assert one.woken.empty()
    with pytest.raises(Replaced):  # the write stands, what would follow from it does not happen
        await take(one.store, lease)


async def test_what_runs_when_the_node_is_late_is_cancelled(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    ended = asyncio.Event()

    async def endless(_: Lease) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lanes = Lanes(endless, one.clock, now=one.store.now, name="endless", near=NEAR)
    sweeper = Sweeper(one.store, one.clock, lanes.wake, lanes=[lanes])
    lanes.wake((await say(one.store, "m1")).wake[0])
    await asyncio.sleep(0)
    await one.clock.advance(TTL)
    sweeper.look()
    await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    await lanes.close()


async def test_back_in_time_it_goes_on_under_new_epochs(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    lease = (await say(one.store, "m1")).wake[0]
    await one.clock.advance(TTL)
    one.sweeper.look()
    await one.sweeper.beat()
    again = await one.next()
    assert (again.conversation_id, again.epoch) == (lease.conversation_id, lease.epoch + 1)
    with pytest.raises(Replaced):
        await take(one.store, lease)
    await take(one.store, again)


async def test_what_it_is_woken_for_before_it_goes_on_again_is_not_forgotten(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    await say(one.store, "m1")
    await one.clock.advance(TTL)
    one.sweeper.look()

    def arrived(write: Write[object, object], *_: object) -> None:
        """As between the commit that claims all anew, and the moment in which this node hears of it."""
        if write is RECLAIM:
            one.lanes.wake(Lease("cnv_new", 1))

    one.store.observe(arrived)
    await one.sweeper.beat()
    woken = {(await one.next()).conversation_id for _ in range(2)}
    assert "cnv_new" in woken


async def test_back_too_late_it_finds_the_other_at_work(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    lease = (await say(one.store, "m1")).wake[0]
    turn = await take(one.store, lease)
    await one.clock.advance(TTL + SECOND)
    await two.sweeper.beat()
    theirs = await two.next()
    await one.sweeper.beat()
    assert one.woken.empty()
    with pytest.raises(Replaced):
        await end(one.store, turn, TurnState.ANSWERED)
    assert (await take(two.store, theirs)).id == turn.id


async def test_a_wake_up_that_never_came_is_made_up_for(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    lease = (await say(one.store, "m1")).wake[0]  # committed, and whoever was to pass it on was cancelled
    await one.clock.advance(SECOND)
    for _ in range(SEARCH_EVERY):
        await one.sweeper.beat()
    assert one.woken.empty()  # not overdue yet
    found = 0
    for _ in range(SEARCH_EVERY):
        await one.clock.advance(OVERDUE / SEARCH_EVERY + SECOND / 10)
        found += await one.sweeper.beat()
    assert found == 1
    assert await one.next() == lease


async def test_a_delivery_is_not_at_work_because_a_turn_is(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    turn = await take(one.store, (await say(one.store, "m1")).wake[0])
    await end(one.store, turn, TurnState.ANSWERED)
    await one.store.write(deliveries.BEGIN, due(turn.lease))  # and nobody heard of the commit
    await take(one.store, (await say(one.store, "m2")).wake[0])
    one.may_end.clear()
    one.lanes.wake(turn.lease)
    await one.next()
    outbox = Lanes(one.step, one.clock, now=one.store.now, name="outbox", near=NEAR)
    sweeper = Sweeper(one.store, one.clock, outbox.wake, lanes=[one.lanes, outbox])
    found = 0
    for _ in range(2 * SEARCH_EVERY):
        await one.clock.advance(SECOND)
        found += await sweeper.beat()
    assert found == 1
    assert await one.next() == turn.lease
    one.may_end.set()
    await outbox.close()


async def test_what_is_at_work_is_not_taken_for_overlooked(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    turn = await take(one.store, (await say(one.store, "m1")).wake[0])
    one.may_end.clear()
    one.lanes.wake(turn.lease)
    await one.next()
    await say(one.store, "m2")
    found = 0
    for _ in range(3 * SEARCH_EVERY):
        await one.clock.advance(SECOND)
        found += await one.sweeper.beat()
    assert found == 0
    await end(one.store, turn, TurnState.ANSWERED)
