"""What arrives becomes a message, a conversation and a turn exactly once."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from bridge.errors import Replaced, Unprocessable
from bridge.model import Addressed, Author, Candidate, InboundMessage, Turn, TurnState
from bridge.store import heads, reader, turns
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.ledger import ledger


def message(
    key: str,
    conversation: str = "thread",
    *,
    text: str = "hello",
    author: str = "u1",
    addressed: Addressed = "direct",
    declined: str | None = None,
    candidates: tuple[Candidate, ...] | None = None,
) -> InboundMessage:
    return InboundMessage(
        message_key=key,
        conversation=candidates or (Candidate(value=conversation, matched_by="thread"),),
        return_address="here",
        author=Author(id=author),
        addressed=addressed,
        text=text,
        declined=declined,
    )


def arrival(
    store: Store, key: str, *messages: InboundMessage, source: str = "team", busy: str = "queue", digest: str = "d"
) -> Arrival:
    return Arrival(
        source=source,
        delivery_key=key,
        digest=digest,
        sealed=b"sealed",
        messages=messages,
        received_at=store.now(),
        keep=timedelta(days=14),
        agent="local",
        busy=busy,
    )


async def turn_ids(store: Store) -> Sequence[str | None]:
    return [view.turn_id for view in await store.read(reader.message_list)]


async def test_a_new_message_gets_a_conversation_a_turn_and_an_owner(store: Store) -> None:
    stored = await store.accept(INGEST, arrival(store, "d1", message("m1")))
    (known,) = stored.messages
    (lease,) = stored.wake
    assert known.conversation_id == lease.conversation_id
    head = await store.write(heads.TAKE, lease)
    assert isinstance(head, Turn)
    assert [said.message.text for said in head.said] == ["hello"]
    assert head.thread_id is None
    assert head.attempt == 1


async def test_twenty_copies_at_the_same_moment_are_one_message(store: Store) -> None:
    copies = [arrival(store, "d1", message("m1")) for _ in range(20)]
    stored = await asyncio.gather(*(store.accept(INGEST, copy) for copy in copies))
    assert len({one.messages for one in stored}) == 1
    assert sum(not one.copy for one in stored) == 1
    assert (await store.read(ledger)).accepted == 1


async def test_copies_at_two_nodes_at_the_same_moment_are_one_message(store: Store, database_url: str) -> None:
    if store.exclusive:
        return  # SQLite admits one node
    other = Store.open(database_url, store._clock, node="nod_two")
    try:
        for number in range(20):
            pair = await asyncio.gather(
                *(
                    s.accept(INGEST, arrival(s, f"d{number}", message(f"m{number}", f"c{number}")))
                    for s in (store, other)
                )
            )
            assert pair[0].messages == pair[1].messages
            assert sum(len(one.wake) for one in pair) == 1
        assert (await store.read(ledger)).accepted == 20
        assert len(await store.read(reader.conversation_list)) == 20
    finally:
        await other.close()


async def test_a_twin_under_another_delivery_is_the_same_message(store: Store) -> None:
    first = await store.accept(INGEST, arrival(store, "d1", message("m1")))
    twin = await store.accept(INGEST, arrival(store, "d2", message("m1")))
    assert twin.messages == first.messages
    assert len(await store.read(reader.message_list)) == 1


async def test_a_copy_with_another_body_is_told_apart(store: Store) -> None:
    await store.accept(INGEST, arrival(store, "d1", message("m1"), digest="one"))
    copy = await store.accept(INGEST, arrival(store, "d1", message("m1"), digest="two"))
    assert copy.copy
    assert not copy.same_body


@pytest.mark.parametrize("together", [True, False])
async def test_an_admitted_twin_upgrades_a_declined_one_under_the_same_id(store: Store, together: bool) -> None:  # noqa: FBT001
    declined = arrival(store, "d1", message("m1", addressed="ambient"))
    mention = arrival(store, "d2", message("m1", addressed="mention"))
    if together:
        first, second = await asyncio.gather(store.accept(INGEST, declined), store.accept(INGEST, mention))
    else:
        first = await store.accept(INGEST, declined)
        assert first.messages[0].admission == "declined:not_engaged"
        second = await store.accept(INGEST, mention)
    assert second.messages[0].message_id == first.messages[0].message_id
    (view,) = await store.read(reader.message_list)
    assert view.state == "queued"
    counts = await store.read(ledger)
    assert (counts.accepted, counts.in_flight, counts.declined, counts.balanced) == (1, 1, 0, True)


async def test_a_declined_twin_after_an_admitted_one_changes_nothing(store: Store) -> None:
    await store.accept(INGEST, arrival(store, "d1", message("m1", addressed="mention")))
    await store.accept(INGEST, arrival(store, "d2", message("m1", declined="bot")))
    (view,) = await store.read(reader.message_list)
    assert view.state == "queued"


async def test_ambient_words_count_where_the_agent_takes_part(store: Store) -> None:
    await store.accept(INGEST, arrival(store, "d1", message("m1", addressed="mention")))
    stored = await store.accept(INGEST, arrival(store, "d2", message("m2", addressed="ambient")))
    assert stored.messages[0].admission == "admitted"


async def test_the_first_candidate_that_is_known_decides(store: Store) -> None:
    old = await store.accept(INGEST, arrival(store, "d1", message("m1", "old")))
    both = (
        Candidate(value="unknown", matched_by="a"),
        Candidate(value="old", matched_by="b"),
        Candidate(value="new", matched_by="c"),
    )
    stored = await store.accept(INGEST, arrival(store, "d2", message("m2", candidates=both)))
    assert stored.messages[0].conversation_id == old.messages[0].conversation_id


async def test_a_candidate_for_participants_leads_nobody_else_in(store: Store) -> None:
    await store.accept(INGEST, arrival(store, "d1", message("m1", "old", author="anna")))
    candidates = (
        Candidate(value="old", matched_by="references", participants_only=True),
        Candidate(value="new", matched_by="message_id"),
    )
    stranger = await store.accept(INGEST, arrival(store, "d2", message("m2", author="eve", candidates=candidates)))
    anna = await store.accept(INGEST, arrival(store, "d3", message("m3", author="anna", candidates=candidates)))
    by_id = {view.conversation_id: view.key for view in await store.read(reader.conversation_list)}
    assert by_id[str(stranger.messages[0].conversation_id)] == "new"
    assert by_id[str(anna.messages[0].conversation_id)] == "old"


@pytest.mark.parametrize("kind", ["conversation_id", "task_id"])
async def test_an_unknown_conversation_that_must_exist_refuses_the_arrival_whole(store: Store, kind: str) -> None:
    wanted = (Candidate(value="nowhere", matched_by="conversation", kind=kind, must_exist=True),)  # type: ignore[arg-type]
    with pytest.raises(Unprocessable):
        await store.accept(INGEST, arrival(store, "d1", message("m1", candidates=wanted)))
    assert (await store.read(ledger)).accepted == 0
    again = await store.accept(INGEST, arrival(store, "d1", message("m1")))
    assert not again.copy


async def test_a_conversation_of_another_source_is_not_found(store: Store) -> None:
    theirs = await store.accept(INGEST, arrival(store, "d1", message("m1"), source="theirs"))
    wanted = Candidate(
        value=str(theirs.messages[0].conversation_id),
        matched_by="conversation",
        kind="conversation_id",
        must_exist=True,
    )
    with pytest.raises(Unprocessable):
        await store.accept(INGEST, arrival(store, "d2", message("m2", candidates=(wanted,)), source="ours"))


async def test_a_foreign_task_id_starts_a_conversation_that_continues_it(store: Store) -> None:
    wanted = (Candidate(value="task-7", matched_by="task_id", kind="task_id"),)
    stored = await store.accept(INGEST, arrival(store, "d1", message("m1", candidates=wanted)))
    head = await store.write(heads.TAKE, stored.wake[0])
    assert isinstance(head, Turn)
    assert head.thread_id == "task-7"


async def test_collecting_folds_what_waits_and_leaves_what_runs_alone(store: Store) -> None:
    first = await store.accept(INGEST, arrival(store, "d1", message("m1"), busy="collect"))
    await store.write(heads.TAKE, first.wake[0])
    for number in range(2, 6):
        await store.accept(INGEST, arrival(store, f"d{number}", message(f"m{number}"), busy="collect"))
    newest, *_ = ids = await turn_ids(store)
    assert ids == [newest] * 4 + [first.messages[0].turn_id]


async def test_collecting_keeps_two_people_apart(store: Store) -> None:
    for number, author in enumerate(["anna", "anna", "ben", "anna"]):
        await store.accept(INGEST, arrival(store, f"d{number}", message(f"m{number}", author=author), busy="collect"))
    assert len(set(await turn_ids(store))) == 3


async def test_queueing_gives_each_message_a_turn_in_order(store: Store) -> None:
    lease = None
    for number in range(5):
        stored = await store.accept(INGEST, arrival(store, f"d{number}", message(f"m{number}", text=str(number))))
        lease = stored.wake[0]
    texts = []
    assert lease is not None
    for _ in range(5):
        head = await store.write(heads.TAKE, lease)
        assert isinstance(head, Turn)
        texts.append(head.said[0].message.text)
        more = await store.write(turns.END, turns.End(turn=head, state=TurnState.ANSWERED))
    assert texts == ["0", "1", "2", "3", "4"]
    assert not more
    with pytest.raises(Replaced):  # nothing was left to do, so the conversation was let go
        await store.write(heads.TAKE, lease)


async def test_a_poisoned_row_fails_alone(store: Store) -> None:
    broken = arrival(store, "d0", message("m0"), digest=None)  # type: ignore[arg-type]  # violates NOT NULL
    good = [arrival(store, f"d{number}", message(f"m{number}")) for number in range(1, 10)]
    outcomes = await asyncio.gather(*(store.accept(INGEST, row) for row in (broken, *good)), return_exceptions=True)
    assert isinstance(outcomes[0], Exception)
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1:])
    assert (await store.read(ledger)).accepted == 9


async def test_a_copy_that_would_be_read_as_another_message_key_is_still_the_first(store: Store) -> None:
    first = await store.accept(INGEST, arrival(store, "d1", message("m1")))
    copy = await store.accept(INGEST, arrival(store, "d1", message("m2")))
    assert copy.messages == first.messages
    assert (await store.read(ledger)).accepted == 1


async def test_a_foreign_task_id_beside_a_key_names_the_thread_of_the_new_conversation(store: Store) -> None:
    both = (Candidate(value="task-7", matched_by="task_id", kind="task_id"), Candidate(value="k", matched_by="key"))
    stored = await store.accept(INGEST, arrival(store, "d1", message("m1", candidates=both)))
    head = await store.write(heads.TAKE, stored.wake[0])
    assert isinstance(head, Turn)
    assert (head.conversation, head.thread_id) == ("k", "task-7")


async def test_a_conversation_that_was_named_by_a_task_is_found_by_that_name_when_it_goes_on_with_another(
    store: Store,
) -> None:
    by_task = (Candidate(value="task-7", matched_by="task_id", kind="task_id"),)
    first = await store.accept(INGEST, arrival(store, "d1", message("m1", candidates=by_task)))
    turn = await store.write(heads.TAKE, first.wake[0])
    assert isinstance(turn, Turn)
    await store.write(turns.NOTE_TASK, turns.Tasked(turn.lease, turn.id, "task-8"))
    second = await store.accept(INGEST, arrival(store, "d2", message("m2", candidates=by_task)))
    assert second.messages[0].conversation_id == first.messages[0].conversation_id
