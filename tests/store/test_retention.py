"""What is forgotten, when, and what is never forgotten before it is over."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from bridge.errors import Conflict, Replaced
from bridge.model import DeliveryState, StoredFile, TurnState
from bridge.operations import Operations
from bridge.retention import Retention
from bridge.store import tables
from bridge.store.admitting import ADMIT
from bridge.store.blanks import BLANK_DELIVERY
from bridge.store.claims import HOLD, Claim
from bridge.store.database import Store
from bridge.store.files import StoredFileRows
from bridge.store.leases import Locks
from bridge.store.ledger import ledger
from bridge.store.replay import REPLAY, WAYS, How, Replay, Replayed, place_of
from bridge.store.retention import FORGET, NAME, Ages, Slice
from bridge.store.writer import Tx, Write
from tests.conftest import FakeClock, fresh_database
from tests.store.journeys import dead_message, deliver, end, rows_of, say, take

DAY = timedelta(days=1)
AGES = Ages(payloads=30 * DAY, rows=90 * DAY, dedupe=14 * DAY)


class Bytes(list[str]):
    """Where bytes lie; `kept` ones are too young to be deleted."""

    kept: bool = False

    async def forget(self, digest: str) -> bool:
        if not self.kept:
            self.append(digest)
        return not self.kept


def retention(store: Store, clock: FakeClock, ages: Ages = AGES, forget: Bytes | None = None) -> Retention:
    return Retention(store, clock, ages, forget_bytes=(forget if forget is not None else Bytes()).forget)


async def counts(store: Store) -> dict[str, int]:
    names = ("envelopes", "messages", "turns", "deliveries", "attempts", "arrivals")
    return {name: len(await rows_of(store, tables.metadata.tables[name])) for name in names}


async def test_raw_arrivals_go_first_then_keys_then_everything(store: Store, clock: FakeClock) -> None:
    await dead_message(store)
    everything = dict.fromkeys(("envelopes", "messages", "turns", "deliveries", "attempts", "arrivals"), 1)
    one = retention(store, clock)
    await clock.advance(13 * DAY)
    await one.once()
    assert await counts(store) == everything
    await clock.advance(2 * DAY)
    await one.once()
    assert await counts(store) == everything | {"arrivals": 0}
    await clock.advance(16 * DAY)
    await one.once()
    assert await counts(store) == everything | {"arrivals": 0, "envelopes": 0}
    await clock.advance(60 * DAY)
    await one.once()
    assert await counts(store) == dict.fromkeys(everything, 0)
    assert (await store.read(ledger)).balanced


async def test_the_map_from_conversations_to_tasks_outlives_what_was_said(store: Store, clock: FakeClock) -> None:
    await dead_message(store)
    await clock.advance(400 * DAY)
    await retention(store, clock).once()
    stored = await say(store, "m9")
    assert (await take(store, stored.wake[0])).thread_id == "task-1"


async def test_a_copy_is_recognised_although_its_words_are_forgotten(store: Store, clock: FakeClock) -> None:
    message_id = await dead_message(store)
    ages = Ages(payloads=DAY, rows=DAY, dedupe=14 * DAY)
    await clock.advance(2 * DAY)
    await retention(store, clock, ages).once()
    (row,) = await rows_of(store, tables.messages)
    assert (row.text, row.author_id, row.blanked, "ada" in row.body) == ("", "", True, False)
    assert await rows_of(store, tables.envelopes) == []
    copy = await say(store, "m1")
    assert (copy.messages[0].message_id, copy.wake) == (message_id, ())
    assert (await store.read(ledger)).dead == 1


async def test_a_copy_of_what_went_by_ages_that_were_shortened_since_is_still_a_copy(
    store: Store, clock: FakeClock
) -> None:
    await dead_message(store)
    await clock.advance(2 * DAY)
    await retention(store, clock, Ages(payloads=DAY, rows=DAY, dedupe=DAY)).once()
    assert await rows_of(store, tables.messages) == []
    copy = await say(store, "m1")
    assert (copy.copy, copy.messages) == (True, ())
    assert await rows_of(store, tables.turns) == []


async def test_what_is_not_over_is_kept_whatever_its_age(store: Store, clock: FakeClock) -> None:
    running = await say(store, "m1")
    await take(store, running.wake[0])
    owing = await say(store, "m2", "elsewhere")
    turn = await take(store, owing.wake[0])
    await end(store, turn, TurnState.ANSWERED)
    await deliver(store, turn.lease, DeliveryState.UNKNOWN)
    before = await counts(store)
    await clock.advance(400 * DAY)
    await retention(store, clock).once()
    kept = await counts(store)
    assert {name: kept[name] for name in ("messages", "turns", "deliveries")} == {
        name: before[name] for name in ("messages", "turns", "deliveries")
    }
    assert (await store.read(ledger)).in_flight == 2


async def test_more_than_a_slice_goes_in_one_run(store: Store, clock: FakeClock) -> None:
    for number in range(1_200):
        await say(store, f"m{number}", parked="broken")
    await clock.advance(100 * DAY)
    forgotten = await retention(store, clock).once()
    assert (forgotten["messages"], forgotten["envelopes"]) == (1_200, 1_200)
    assert await rows_of(store, tables.messages) == []


async def test_one_node_does_it_and_a_late_one_is_refused(store: Store, clock: FakeClock, database_url: str) -> None:
    if store.exclusive:
        return
    other = Store.open(database_url, clock, node="nod_two")
    try:
        epoch = await store.write(HOLD, Claim(NAME, timedelta(minutes=5)))
        assert epoch is not None
        assert await retention(other, clock).once() == {}
        await clock.advance(timedelta(minutes=6))
        assert await retention(other, clock).once() != {}
        with pytest.raises(Replaced):
            await store.write(FORGET, Slice(what="nodes", before=store.now(), epoch=epoch))
    finally:
        await other.close()


async def test_a_sqlite_file_gives_its_pages_back(store: Store, clock: FakeClock) -> None:
    if not store.exclusive:
        return
    for number in range(300):
        await say(store, f"m{number}", text="x" * 4_000, parked="broken")
    await clock.advance(100 * DAY)

    def pages(connection: object) -> int:
        return int(connection.execute(text("PRAGMA page_count")).scalar_one())  # type: ignore[attr-defined]

    before = await store.read(pages)
    await retention(store, clock).once()
    assert await store.read(pages) < before / 2


async def test_the_bytes_of_a_file_go_with_the_last_row_that_names_them(store: Store, clock: FakeClock) -> None:
    for number, name in enumerate(("a.txt", "b.txt")):
        await _add_file(store, f"fil_{number}", name)
        await clock.advance(50 * DAY)
    there = Bytes()
    await retention(store, clock, forget=there).once()
    assert (len(await rows_of(store, tables.files)), there) == (1, [])
    await clock.advance(50 * DAY)
    there.kept = True
    await retention(store, clock, forget=there).once()
    assert (len(await rows_of(store, tables.files)), len(await rows_of(store, tables.discards))) == (0, 1)
    there.kept = False
    await retention(store, clock, forget=there).once()
    assert (there, await rows_of(store, tables.discards)) == (["digest"], [])


async def _add_file(store: Store, file_id: str, name: str) -> None:
    file = StoredFile(
        id=file_id,
        digest="digest",
        name=name,
        media_type="text/plain",
        size=1,
        origin="team",
        created_at=store.now(),
    )
    await StoredFileRows(store).add(file)


async def test_a_file_that_is_stored_again_is_as_new_again(store: Store, clock: FakeClock) -> None:
    await _add_file(store, "fil_1", "a.txt")
    await clock.advance(80 * DAY)
    await _add_file(store, "fil_2", "a.txt")
    await clock.advance(80 * DAY)
    await retention(store, clock).once()
    assert [row.id for row in await rows_of(store, tables.files)] == ["fil_1"]


async def test_a_budget_that_is_whole_again_is_forgotten_and_a_frozen_one_is_not(
    store: Store, clock: FakeClock
) -> None:
    def spent(connection: Connection) -> None:
        rows = [
            {"key": "whole", "full_at": store.now()},
            {"key": "frozen", "full_at": store.now(), "frozen_until": store.now() + timedelta(days=9)},
        ]
        for row in rows:
            connection.execute(tables.budgets.insert(), row)
        connection.commit()

    await store.read(spent)
    await clock.advance(timedelta(days=2))
    await retention(store, clock).once()
    assert [row.key for row in await rows_of(store, tables.budgets)] == ["frozen"]


class TestTwoTransactions:
    @pytest.fixture
    def database_url(self, postgres: str) -> str:
        return fresh_database(postgres)

    @pytest.mark.parametrize("ages", [AGES, Ages(payloads=DAY, rows=DAY, dedupe=400 * DAY)])
    @pytest.mark.parametrize("how", ["reattach", "invoke", "repost"])
    async def test_what_is_set_going_again_at_this_moment_is_not_forgotten(
        self, store: Store, clock: FakeClock, how: How, ages: Ages
    ) -> None:
        message_id = await dead_message(store)
        await clock.advance(100 * DAY)
        place = await store.read(place_of, message_id)
        wish = Replay(message_id=message_id, how=how, conversation_id=place)
        await self.forget_during(store, clock, ages, REPLAY, wish)
        assert [(row.text, row.blanked) for row in await rows_of(store, tables.messages)] == [("hello", False)]
        live = {row.state for table in (tables.turns, tables.deliveries) for row in await rows_of(store, table)}
        assert live & {"queued", "pending"}
        assert all(row.body != BLANK_DELIVERY for row in await rows_of(store, tables.deliveries))

    @pytest.mark.parametrize("ages", [AGES, Ages(payloads=DAY, rows=DAY, dedupe=400 * DAY)])
    async def test_what_is_let_in_at_this_moment_is_not_forgotten(
        self, store: Store, clock: FakeClock, ages: Ages
    ) -> None:
        message_id = (await say(store, "m1", parked="unverified")).messages[0].message_id
        await clock.advance(100 * DAY)
        wish = Replay(message_id=message_id, how="invoke", agents={"team": "local"})
        await self.forget_during(store, clock, ages, ADMIT, wish)
        assert [(row.text, row.blanked) for row in await rows_of(store, tables.messages)] == [("hello", False)]

    async def forget_during(
        self, store: Store, clock: FakeClock, ages: Ages, write: Write[Replay, Replayed], wish: Replay
    ) -> None:
        """Another node does what was wished, and commits once retention has looked at it, or waits for it."""
        with store.engine.connect() as connection:
            tx = Tx(connection, store.now(), "nod_two")
            tx.held = Locks(connection, {wish.conversation_id}).held()
            (done,) = write.run(tx, [wish])
            assert isinstance(done, Replayed), done
            forgetting = asyncio.create_task(retention(store, clock, ages).once())
            while not (forgetting.done() or await store.read(somebody_waits)):
                continue
            connection.commit()
        await forgetting


def somebody_waits(connection: Connection) -> bool:
    return bool(connection.execute(text("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")).scalar_one())


async def test_what_is_forgotten_in_part_is_not_asked_or_told_again(store: Store, clock: FakeClock) -> None:
    """The answer to a question came days after what was said first; all that the turn told is gone with that."""
    stored = await say(store, "m1", busy="collect")
    await clock.advance(2 * DAY)
    later = await say(store, "m2", busy="collect")
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.DEAD, kind="error")
    await deliver(store, turn.lease, DeliveryState.SENT)
    await retention(store, clock, Ages(payloads=DAY, rows=DAY, dedupe=14 * DAY)).once()
    for how in WAYS:
        with pytest.raises(Conflict, match="forgotten"):
            await Operations(store, clock, agents={}).replay(later.messages[0].message_id, how)
