"""An erased conversation says nothing any more, and the books still balance."""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import String, Text, select, text

from bridge.errors import Conflict, Missing, Replaced, Unprocessable
from bridge.model import Act, Author, Candidate, DeliveryState, InboundMessage, Lease, StoredFile, TurnState, new_id
from bridge.operations import Operations
from bridge.retention import Retention
from bridge.sealing import Sealer
from bridge.store import reader, tables, turns
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.erasure import ERASE, Erase, files_of
from bridge.store.files import NOTE_USES, StoredFileRows, Uses
from bridge.store.ingest import INGEST
from bridge.store.leases import Locks
from bridge.store.ledger import ledger
from bridge.store.retention import Ages
from bridge.store.vault import StoredVault
from bridge.store.writer import Tx, Write
from tests.conftest import FakeClock, fresh_database
from tests.store.journeys import arriving, deliver, end, parts_of, rows_of, say, take


def operations(store: Store) -> Operations:
    return Operations(store, store._clock, agents={}, wake=lambda _: None)


async def everything(store: Store) -> str:
    """Every text of every table."""
    found = []
    for table in tables.metadata.tables.values():
        columns = [column for column in table.c if isinstance(column.type, String | Text)]
        if columns:
            found += await store.read(lambda c, columns=columns: [tuple(row) for row in c.execute(select(*columns))])  # type: ignore[misc]
    return json.dumps(found)


async def answered(store: Store, key: str, conversation: str, text: str, *fetched: str) -> tuple[str, Lease]:
    stored = await say(store, key, conversation, text=text)
    turn = await take(store, stored.wake[0])
    for _ in range(2):  # a crash before the call is made
        await store.write(NOTE_USES, Uses(turn.lease, fetched))
    await end(store, turn, TurnState.ANSWERED)
    await deliver(store, turn.lease, DeliveryState.SENT)
    return str(stored.messages[0].conversation_id), turn.lease


async def test_nothing_that_was_said_or_answered_is_left(store: Store) -> None:
    erased, _ = await answered(store, "m1", "secret-room", "the secret")
    await answered(store, "m2", "other-room", "something else")
    done = await operations(store).erase(erased)
    assert (done.messages, done.deliveries) == (1, 1)
    left = await everything(store)
    assert "secret" not in left
    assert "something else" in left
    assert len(await rows_of(store, tables.envelopes)) == 1
    counts = await store.read(ledger)
    assert (counts.accepted, counts.answered, counts.balanced) == (2, 2, True)
    (view,) = await store.read(reader.message_list, conversation_id=erased)
    assert (view.text, view.author, view.result, view.task_id) == ("", "", None, None)


async def test_a_later_message_begins_anew_and_a_late_copy_is_still_a_copy(store: Store) -> None:
    erased, _ = await answered(store, "m1", "room", "the secret")
    await operations(store).erase(erased)
    assert (await say(store, "m1", "room")).wake == ()
    again = await say(store, "m2", "room")
    assert again.messages[0].conversation_id != erased
    assert (await take(store, again.wake[0])).thread_id is None


async def test_whoever_works_on_it_finds_the_lease_lost(store: Store) -> None:
    stored = await say(store, "m1")
    turn = await take(store, stored.wake[0])
    waiting = await say(store, "m2")
    erased = str(stored.messages[0].conversation_id)
    await Operations(store, store._clock, agents={}).erase(erased)
    with pytest.raises(Replaced):
        await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, result="late"))
    counts = await store.read(ledger)
    assert (counts.cancelled, counts.in_flight, counts.balanced) == (2, 0, True)
    for said in (stored, waiting):
        with pytest.raises(Conflict, match="forgotten"):
            await operations(store).replay(said.messages[0].message_id, "invoke")


async def test_an_answer_that_was_not_sent_yet_is_not_sent(store: Store) -> None:
    stored = await say(store, "m1")
    turn = await take(store, stored.wake[0])
    (delivery_id,) = await end(store, turn, TurnState.ANSWERED)
    await operations(store).erase(str(stored.messages[0].conversation_id))
    (row,) = await rows_of(store, tables.deliveries)
    assert row.state == "withdrawn"
    with pytest.raises(Conflict):
        await operations(store).retry(delivery_id)


async def test_twice_is_once_and_a_dry_run_is_none(store: Store) -> None:
    erased, _ = await answered(store, "m1", "room", "the secret")
    would = await operations(store).erase(erased, dry_run=True)
    assert would.messages == 1
    assert "the secret" in await everything(store)
    await operations(store).erase(erased)
    left = await everything(store)
    await operations(store).erase(erased)
    assert await everything(store) == left
    with pytest.raises(Missing):
        await operations(store).erase("cnv_unknown")


async def test_stopping_cancels_what_waits_and_marks_what_runs(store: Store) -> None:
    stored = await say(store, "m1")
    await take(store, stored.wake[0])
    await say(store, "m2")
    interrupted: list[str] = []
    one = Operations(store, store._clock, agents={}, wake=lambda _: None, interrupt=interrupted.append)
    conversation_id = str(stored.messages[0].conversation_id)
    would = await one.stop(conversation_id, dry_run=True)
    assert (would.cancelled, would.stopping, interrupted) == (1, 1, [])
    await one.stop(conversation_id)
    assert interrupted == [conversation_id]
    running, waiting = sorted(await rows_of(store, tables.turns), key=lambda row: row.seq)
    assert (running.state, running.stop_at is not None, waiting.state) == ("running", True, "cancelled")
    with pytest.raises(Missing):
        await one.stop("cnv_unknown")


async def test_what_was_shown_decided_and_thought_goes_along(store: Store) -> None:
    erased, _ = await answered(store, "m1", "room", "the secret")
    (delivery,) = await rows_of(store, tables.deliveries)
    await store.write(Write(_opine), (erased, delivery.turn_id, delivery.id))
    await operations(store).erase(erased)
    assert await rows_of(store, tables.feedback) == []
    assert await rows_of(store, tables.decisions) == []
    assert await rows_of(store, tables.events) == []


async def a_file(store: Store, digest: str, name: str = "report.txt") -> str:
    row = StoredFile(
        id=new_id("fil"), digest=digest, name=name, media_type="text/plain", size=1, origin="o", created_at=store.now()
    )
    return (await StoredFileRows(store).add(row)).id


async def test_files_that_were_fetched_for_it_go_along_unless_another_one_uses_them(store: Store) -> None:
    mine, shared, ours = await a_file(store, "aa"), await a_file(store, "bb"), await a_file(store, "aa", "copy.txt")
    erased, _ = await answered(store, "m1", "room", "look at https://example.com/report.txt", mine, shared)
    other, _ = await answered(store, "m2", "next door", "and I", shared, ours)
    assert (await operations(store).erase(erased, dry_run=True)).files == 1
    assert (await operations(store).erase(erased)).files == 1
    assert {row.id for row in await rows_of(store, tables.files)} == {shared, ours}
    assert await rows_of(store, tables.discards) == []  # the bytes have another name still
    assert {row.file_id for row in await rows_of(store, tables.file_uses)} == {shared, ours}
    assert (await operations(store).erase(other)).files == 2
    assert {row.digest for row in await rows_of(store, tables.discards)} == {"aa", "bb"}
    assert await rows_of(store, tables.file_uses) == []


async def test_a_conversation_that_retention_emptied_keeps_no_file(store: Store, clock: FakeClock) -> None:
    async def never(_digest: str) -> bool:
        return False

    day = timedelta(days=1)
    await answered(store, "m1", "long ago", "look", await a_file(store, "aa"))
    await clock.advance(3 * day)
    file_id = await a_file(store, "aa")  # once more, so it is as new
    erased, _ = await answered(store, "m2", "room", "look", file_id)
    await Retention(store, clock, Ages(payloads=day, rows=day, dedupe=day), forget_bytes=never).once()
    assert len(await rows_of(store, tables.turns)) == 1
    assert (await operations(store).erase(erased)).files == 1


async def test_a_file_that_came_again_meanwhile_is_kept(store: Store, clock: FakeClock) -> None:
    file_id = await a_file(store, "aa")
    erased, _ = await answered(store, "m1", "room", "look", file_id)
    looked_at = store.now()
    found = await store.read(files_of, erased)
    await clock.advance(timedelta(seconds=1))
    await a_file(store, "aa")  # for somebody whose message is not stored yet
    await store.write(ERASE, Erase(conversation_id=erased, file_ids=found, looked_at=looked_at))
    assert [row.id for row in await rows_of(store, tables.files)] == [file_id]


async def test_nothing_is_noted_for_who_has_lost_the_conversation(store: Store) -> None:
    stored = await say(store, "m1")
    turn = await take(store, stored.wake[0])
    await Operations(store, store._clock, agents={}).erase(turn.lease.conversation_id)
    with pytest.raises(Replaced):
        await store.write(NOTE_USES, Uses(turn.lease, (await a_file(store, "aa"),)))


def _opine(tx: Tx, rows: Sequence[tuple[str, str, str]]) -> list[None]:
    for conversation_id, turn_id, delivery_id in rows:
        of = {"conversation_id": conversation_id}
        opinion = of | {"delivery_id": delivery_id, "author_id": "ada", "value": 1, "given_at": tx.now}
        tx.connection.execute(tables.feedback.insert(), opinion)
        shown = {"turn_id": turn_id, "seq": 1, "type": "chunk", "data": '"the secret"', "created_at": tx.now}
        tx.connection.execute(tables.events.insert(), shown)
        asked = of | {"id": "dec_1", "turn_id": turn_id, "kind": "question", "choices": "[]", "people": '["ada"]'}
        tx.connection.execute(tables.decisions.insert(), asked | {"expires_at": tx.now})
    return [None] * len(rows)


async def test_the_lease_is_lost_for_whoever_writes_in_the_same_batch(store: Store) -> None:
    stored = await say(store, "m1")
    turn = await take(store, stored.wake[0])
    erased = str(stored.messages[0].conversation_id)
    ending = turns.End(
        turn=turn, state=TurnState.ANSWERED, task_id="task-1", result="secret", deliveries=parts_of(store, turn)
    )
    erasing = store.write(ERASE, Erase(conversation_id=erased, looked_at=store.now()))
    noting = store.write(turns.NOTE_TASK, turns.Tasked(turn.lease, turn.id, "secret-task"))
    over = store.write(turns.END, ending)
    writes: list[Awaitable[object]] = [erasing, over, noting]
    _, ended, noted = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(ended), type(noted)] == [Replaced, Replaced]
    assert "secret" not in await everything(store)
    assert await rows_of(store, tables.deliveries) == []
    counts = await store.read(ledger)
    assert (counts.cancelled, counts.in_flight, counts.balanced) == (1, 0, True)


@pytest.mark.parametrize("act", [Act.EDIT, Act.DELETE, Act.RATE])
async def test_what_is_done_to_what_was_erased_is_done_to_nothing(store: Store, act: Act) -> None:
    erased, _ = await answered(store, "m1", "room", "the secret")
    (delivery,) = await rows_of(store, tables.deliveries)
    await operations(store).erase(erased)
    message = InboundMessage(
        message_key="m1" if act is not Act.RATE else "r1",
        conversation=(Candidate(value="room", matched_by="thread"),),
        return_address="here",
        author=Author(id="ada"),
        text="another secret",
        act=act,
        metadata={"delivery_id": delivery.id, "value": "1"},
    )
    arrival = arriving(store, message, key="late")
    stored = await store.accept(INGEST, arrival)
    assert (stored.wake, stored.deliver) == ((), ())
    assert "another secret" not in await everything(store)
    assert await rows_of(store, tables.feedback) == []
    assert [row.state for row in await rows_of(store, tables.deliveries)] == ["sent"]


def named(store: Store, *candidates: Candidate) -> Arrival:
    message = InboundMessage(
        message_key="late", conversation=candidates, return_address="here", author=Author(id="ada"), text="and now?"
    )
    return arriving(store, message, key="late")


async def test_who_still_names_what_was_erased_is_told_that_it_is_not_known(store: Store) -> None:
    erased, _ = await answered(store, "m1", "room", "the secret")
    await operations(store).erase(erased)
    ours = Candidate(value=erased, kind="conversation_id", matched_by="conversation_id", must_exist=True)
    with pytest.raises(Unprocessable, match="conversation_id"):
        await store.accept(INGEST, named(store, ours))
    assert len(await rows_of(store, tables.turns)) == 1


async def test_what_may_lead_there_leads_elsewhere(store: Store) -> None:
    erased, _ = await answered(store, "m1", "room", "the secret")
    await operations(store).erase(erased)
    report = Candidate(value=erased, kind="conversation_id", matched_by="report")
    stored = await store.accept(INGEST, named(store, report, Candidate(value="room", matched_by="thread")))
    assert stored.messages[0].conversation_id not in {None, erased}


class TestTwoTransactions:
    @pytest.fixture
    def database_url(self, postgres: str) -> str:
        return fresh_database(postgres)

    async def test_what_is_erased_while_a_message_waits_for_it_is_not_gone_on_with(self, store: Store) -> None:
        erased, _ = await answered(store, "m1", "room", "the secret")
        (alias,) = await rows_of(store, tables.aliases)
        with store.engine.connect() as connection:
            tx = Tx(connection, store.now(), "nod_two")
            tx.held = Locks(connection, {erased}).held()
            arriving = asyncio.create_task(
                store.accept(INGEST, named(store, Candidate(value=alias.key, matched_by="thread")))
            )
            while not await store.read(lambda c: c.execute(text(_SOMEBODY_WAITS)).scalar_one()):
                continue
            ERASE.run(tx, [Erase(conversation_id=erased, looked_at=store.now())])
            connection.commit()
        stored = await arriving
        assert stored.messages[0].conversation_id not in {None, erased}

    async def test_what_an_adapter_notes_of_it_at_this_moment_goes_along(self, store: Store) -> None:
        erased, _ = await answered(store, "m1", "room", "the secret")
        memory = StoredVault(store, Sealer(["a-secret-key-for-these-tests-only-0123456789"]), "team")
        with store.engine.connect() as connection:
            tx = Tx(connection, store.now(), "nod_two")
            tx.held = Locks(connection, {erased}).held()
            ERASE.run(tx, [Erase(conversation_id=erased, looked_at=store.now())])
            noting = asyncio.create_task(memory.put("token", b"x", version=None, conversation_id=erased))
            while not (noting.done() or await store.read(lambda c: c.execute(text(_SOMEBODY_WAITS)).scalar_one())):
                continue
            connection.commit()
        assert await noting
        assert await rows_of(store, tables.vault) == []


_SOMEBODY_WAITS = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"
