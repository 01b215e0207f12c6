"""What a person sets going again, and what is refused."""

import pytest

from bridge.errors import Conflict, Missing
from bridge.model import DeliveryState, Lease, TurnState
from bridge.operations import Operations
from bridge.store import deliveries, reader, tables, tries, turns
from bridge.store.database import Store
from bridge.store.deliveries import Delivery
from bridge.store.ledger import ledger
from bridge.store.replay import WAYS, How
from bridge.store.tries import Outcome
from tests.store.journeys import dead_message, deliver, due, end, rows_of, say, take


class Woken(list[Lease]):
    """The conversations an operation set going on this node."""


def operations(store: Store, woken: Woken | None = None, agents: dict[str, str] | None = None) -> Operations:
    return Operations(store, store._clock, agents=agents or {}, wake=(woken if woken is not None else Woken()).append)


async def test_invoking_again_is_a_new_turn_with_a_new_key_and_the_old_one_keeps_its_cause(store: Store) -> None:
    message_id, woken = await dead_message(store), Woken()
    done = await operations(store, woken).replay(message_id, "invoke")
    turn = await take(store, woken[0])
    old, new = sorted(await rows_of(store, tables.turns), key=lambda row: row.seq)
    assert (turn.id, turn.seq, [said.id for said in turn.said]) == (done.turn_id, 2, [message_id])
    assert (old.state, old.error, new.replay_of) == ("dead", "the agent broke", old.id)
    assert old.idempotency_key != new.idempotency_key
    counts = await store.read(ledger)
    assert (counts.accepted, counts.in_flight, counts.dead, counts.balanced) == (1, 1, 0, True)


async def test_all_messages_of_a_collected_turn_go_along(store: Store) -> None:
    first = await say(store, "m1", busy="collect")
    await say(store, "m2", busy="collect")
    turn = await take(store, first.wake[0])
    await end(store, turn, TurnState.DEAD, kind="error")
    woken = Woken()
    await operations(store, woken).replay(first.messages[0].message_id, "invoke")
    again = await take(store, woken[0])
    assert [said.message.message_key for said in again.said] == ["m1", "m2"]
    (apology,) = await rows_of(store, tables.deliveries)
    assert apology.state == "withdrawn"  # not sent yet, and not true any more


async def test_the_agent_is_the_one_configured_now(store: Store) -> None:
    message_id, woken = await dead_message(store), Woken()
    await operations(store, woken, {"team": "renamed"}).replay(message_id, "invoke")
    assert (await take(store, woken[0])).agent == "renamed"


async def test_reattaching_goes_on_with_the_same_turn_behind_what_came_since(store: Store) -> None:
    message_id, woken = await dead_message(store), Woken()
    later = await say(store, "m2")
    second = await take(store, later.wake[0])
    await store.write(turns.END, turns.End(turn=second, state=TurnState.DEAD))  # it never reached the agent
    await operations(store, woken).replay(message_id, "reattach")
    first = await take(store, woken[0])
    assert (first.task_id, first.seq, first.attempt) == ("task-1", 3, 1)
    assert [said.id for said in first.said] == [message_id]


async def test_what_a_later_turn_of_its_thread_has_overtaken_is_not_reattached_to(store: Store) -> None:
    """A read of the thread's task shows the later turn: it was waited for, and then asked again all the same."""
    message_id = await dead_message(store)
    later = await say(store, "m2")
    for dry_run in (True, False):
        with pytest.raises(Conflict, match="how=invoke"):
            await operations(store).replay(message_id, "reattach", dry_run=dry_run)
    second = await take(store, later.wake[0])
    with pytest.raises(Conflict, match=second.id):
        await operations(store).replay(message_id, "reattach")
    await end(store, second, TurnState.ANSWERED)
    await deliver(store, second.lease, DeliveryState.SENT)
    with pytest.raises(Conflict, match=second.id):
        await operations(store).replay(message_id, "reattach")
    woken = Woken()
    await operations(store, woken).replay(message_id, "invoke")
    assert [said.id for said in (await take(store, woken[0])).said] == [message_id]


async def test_an_agent_that_keeps_keys_is_asked_for_a_turn_that_was_overtaken(store: Store) -> None:
    message_id, woken = await dead_message(store), Woken()
    second = await take(store, (await say(store, "m2")).wake[0])
    await end(store, second, TurnState.ANSWERED)
    await deliver(store, second.lease, DeliveryState.SENT)
    (before, _) = await rows_of(store, tables.turns)
    keyed = Operations(store, store._clock, agents={}, keeps_keys=frozenset({before.agent}), wake=woken.append)
    done = await keyed.replay(message_id, "reattach")
    assert second.id in done.does
    turn = await take(store, woken[0])
    assert (turn.id, turn.idempotency_key, turn.task_id) == (before.id, before.idempotency_key, "task-1")


async def test_a_reattached_turn_may_die_again(store: Store) -> None:
    message_id = await dead_message(store)
    for _ in range(3):
        woken = Woken()
        await operations(store, woken).replay(message_id, "reattach")
        turn = await take(store, woken[0])
        await end(store, turn, TurnState.DEAD, kind="error", error="again")
        await deliver(store, woken[0], DeliveryState.SENT)
    assert sorted(row.copy for row in await rows_of(store, tables.deliveries)) == [0, 1, 2, 3]
    assert (await store.read(ledger)).dead == 1


async def test_dead_parts_are_owed_again_under_the_same_ids(store: Store) -> None:
    stored = await say(store, "m1")
    turn = await take(store, stored.wake[0])
    ids = await end(store, turn, TurnState.ANSWERED, parts=2)
    await deliver(store, turn.lease, DeliveryState.SENT)
    await deliver(store, turn.lease, DeliveryState.PENDING)
    await deliver(store, turn.lease, DeliveryState.DEAD, error="no such channel")
    assert (await store.read(ledger)).dead == 1
    for number in (2, 3):
        woken = Woken()
        await operations(store, woken).replay(stored.messages[0].message_id, "repost")
        assert await deliver(store, woken[0], DeliveryState.DEAD) == ids[1]
        assert len(await rows_of(store, tables.attempts)) == number + 2
    woken = Woken()
    await operations(store, woken).replay(stored.messages[0].message_id, "repost")
    await deliver(store, woken[0], DeliveryState.SENT)
    assert (await store.read(ledger)).answered == 1


async def test_an_answer_that_arrived_is_sent_once_more_as_a_fresh_copy(store: Store) -> None:
    stored, woken = await say(store, "m1"), Woken()
    turn = await take(store, stored.wake[0])
    ids = await end(store, turn, TurnState.ANSWERED, parts=2)
    for _ in ids:
        await deliver(store, turn.lease, DeliveryState.SENT)
    await operations(store, woken).replay(stored.messages[0].message_id, "repost")
    assert (await store.read(ledger)).in_flight == 1
    fresh = [await deliver(store, woken[0], DeliveryState.SENT) for _ in ids]
    assert not set(fresh) & set(ids)
    assert (await store.read(ledger)).answered == 1
    view = await store.read(reader.message, stored.messages[0].message_id)
    assert view is not None
    assert {d.state for d in view.deliveries} == {"sent"}


async def test_what_may_have_got_through_is_looked_up_before_it_is_repeated(store: Store) -> None:
    stored, woken = await say(store, "m1"), Woken()
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.ANSWERED)
    await deliver(store, turn.lease, DeliveryState.UNKNOWN)
    dead = await deliver(store, turn.lease, DeliveryState.DEAD)
    await operations(store, woken).retry(dead)
    (row,) = await rows_of(store, tables.deliveries)
    assert row.state == "unknown"


async def test_a_try_whose_node_died_may_have_got_through_as_well(store: Store) -> None:
    stored, woken = await say(store, "m1"), Woken()
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.ANSWERED)
    begun = await store.write(deliveries.BEGIN, due(turn.lease))
    assert isinstance(begun, Delivery)  # and then the process dies
    dead = await deliver(store, turn.lease, DeliveryState.DEAD, error="too late")
    await operations(store, woken).retry(dead)
    for _ in range(2):  # what a later try comes to disproves nothing
        again = await store.write(deliveries.BEGIN, due(woken[-1]))
        assert isinstance(again, Delivery)
        assert (again.id, again.uncertain) == (dead, True)
        await store.write(tries.END, Outcome(delivery=again, state=DeliveryState.DEAD, error="refused"))
        await operations(store, woken).retry(dead)


async def test_a_try_that_was_refused_did_surely_not_get_through(store: Store) -> None:
    stored, woken = await say(store, "m1"), Woken()
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.ANSWERED)
    dead = await deliver(store, turn.lease, DeliveryState.DEAD)
    for _ in range(2):
        await operations(store, woken).retry(dead)
        again = await store.write(deliveries.BEGIN, due(woken[-1]))
        assert isinstance(again, Delivery)
        assert not again.uncertain
        await store.write(tries.END, Outcome(delivery=again, state=DeliveryState.DEAD, error="refused"))


@pytest.mark.parametrize("answered", [True, False])
async def test_done_sends_nothing_more(store: Store, answered: bool) -> None:  # noqa: FBT001
    stored, woken = await say(store, "m1"), Woken()
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.ANSWERED if answered else TurnState.DEAD, kind="answer" if answered else "error")
    await deliver(store, turn.lease, DeliveryState.DEAD)
    await operations(store, woken).replay(stored.messages[0].message_id, "done")
    counts = await store.read(ledger)
    assert (counts.answered, counts.dead, counts.balanced) == (1, 0, True)
    assert not woken
    with pytest.raises(Conflict, match="answered already"):
        await operations(store).replay(stored.messages[0].message_id, "done")


@pytest.mark.parametrize("how", WAYS)
async def test_a_dry_run_says_what_it_would_do_and_changes_nothing(store: Store, how: How) -> None:
    message_id, woken = await dead_message(store), Woken()
    before = [await rows_of(store, table) for table in (tables.turns, tables.deliveries, tables.conversations)]
    said = await operations(store, woken).replay(message_id, how, dry_run=True)
    after = [await rows_of(store, table) for table in (tables.turns, tables.deliveries, tables.conversations)]
    assert said.does.endswith(".")
    assert said.dry_run
    assert before == after
    assert not woken


@pytest.mark.parametrize("how", WAYS)
async def test_what_is_still_going_on_is_not_replayed(store: Store, how: How) -> None:
    stored = await say(store, "m1")
    message_id = stored.messages[0].message_id
    with pytest.raises(Conflict, match="queued"):
        await operations(store).replay(message_id, how)
    turn = await take(store, stored.wake[0])
    with pytest.raises(Conflict, match="running"):
        await operations(store).replay(message_id, how)
    await end(store, turn, TurnState.ANSWERED)
    await store.write(deliveries.BEGIN, due(turn.lease))
    with pytest.raises(Conflict, match="being sent right now"):
        await operations(store).replay(message_id, how)


async def test_what_never_had_a_turn_or_a_task_is_refused(store: Store) -> None:
    with pytest.raises(Missing):
        await operations(store).replay("msg_unknown", "invoke")
    parked = await say(store, "m0", parked="unverified")
    with pytest.raises(Conflict, match="parked:unverified"):
        await operations(store).replay(parked.messages[0].message_id, "repost")
    stored = await say(store, "m1")
    turn = await take(store, stored.wake[0])
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.DEAD))
    with pytest.raises(Conflict, match="never got a task id"):
        await operations(store).replay(stored.messages[0].message_id, "reattach")
    with pytest.raises(Conflict, match="never owed"):
        await operations(store).replay(stored.messages[0].message_id, "repost")


async def test_a_delivery_is_retried_when_it_is_dead_or_waits(store: Store) -> None:
    stored, woken = await say(store, "m1"), Woken()
    turn = await take(store, stored.wake[0])
    (delivery_id,) = await end(store, turn, TurnState.ANSWERED)
    with pytest.raises(Conflict, match="due already"):
        await operations(store).retry(delivery_id)
    await deliver(store, turn.lease, DeliveryState.DEAD, error="gone")
    said = await operations(store, woken).retry(delivery_id, dry_run=True)
    assert "gone" in said.does
    await operations(store, woken).retry(delivery_id)
    assert await deliver(store, woken[0], DeliveryState.SENT) == delivery_id
    with pytest.raises(Conflict, match="sent already"):
        await operations(store).retry(delivery_id)
    with pytest.raises(Missing):
        await operations(store).retry("dlv_unknown")


async def test_a_command_beside_the_servers_claims_nothing(store: Store) -> None:
    message_id = await dead_message(store)
    await Operations(store, store._clock, agents={}).replay(message_id, "invoke")
    (row,) = await rows_of(store, tables.conversations)
    assert (row.owner, row.open, row.wake_at) == (None, True, None)


async def test_the_node_that_owns_the_conversation_is_nudged(store: Store, database_url: str) -> None:
    message_id, woken = await dead_message(store), Woken()
    await say(store, "m2")  # owned by this node from here on
    if store.exclusive:
        return
    other = Store.open(database_url, store._clock, node="nod_two")
    try:
        await operations(other, woken).replay(message_id, "invoke")
    finally:
        await other.close()
    (row,) = await rows_of(store, tables.conversations)
    assert (row.owner, row.nudged, woken) == ("nod_one", True, [])


async def test_messages_are_listed_by_what_the_ledger_counts(store: Store) -> None:
    dead = await dead_message(store)
    stored = await say(store, "m2", "elsewhere")
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.ANSWERED)
    await deliver(store, turn.lease, DeliveryState.DEAD)
    found = await store.read(reader.message_list, state="dead")
    assert {view.message_id for view in found} == {dead, stored.messages[0].message_id}
    assert not await store.read(reader.message_list, state="answered")
    assert not await store.read(reader.message_list, state="dead", since=store.now().replace(year=2027))


async def test_what_was_parked_is_let_in_by_a_person(store: Store) -> None:
    parked, woken = await say(store, "m1", parked="unverified"), Woken()
    message_id = parked.messages[0].message_id
    one = operations(store, woken, {"team": "local"})
    assert "parked:unverified" in (await one.replay(message_id, "invoke", dry_run=True)).does
    assert (await store.read(ledger)).parked == 1
    await one.replay(message_id, "invoke")
    turn = await take(store, woken[0])
    assert [(said.id, said.message.text, said.message.parked) for said in turn.said] == [(message_id, "hello", None)]
    counts = await store.read(ledger)
    assert (counts.parked, counts.in_flight, counts.balanced) == (0, 1, True)
    with pytest.raises(Conflict):
        await one.replay(message_id, "invoke")
    await end(store, turn, TurnState.ANSWERED)
    assert (await say(store, "m1")).messages[0].message_id == message_id


async def test_what_was_parked_joins_the_conversation_it_belongs_to(store: Store) -> None:
    known, woken = await say(store, "m1"), Woken()
    parked = await say(store, "m2", parked="unverified")
    one = operations(store, woken, {"team": "local"})
    await one.replay(parked.messages[0].message_id, "invoke")
    assert woken == [known.wake[0]]
    assert {row.seq for row in await rows_of(store, tables.turns)} == {1, 2}
