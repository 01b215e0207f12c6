"""Words that no database takes as they are."""

import secrets
from dataclasses import replace

import pytest

from bridge.model import Author, Candidate, DeliveryState, FileRef, InboundMessage, RequestOptions, TurnState
from bridge.store import reader, tables, waiting
from bridge.store.arrivals import Arrival
from bridge.store.bodies import storable_message
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.unread import PUT_OFF, READ, Read, Unreadable, unread
from tests.store.journeys import deliver, end, rows_of, say, take


@pytest.mark.parametrize("odd", ["nul \0", "half \ud83d"])
async def test_why_it_failed_is_kept_whatever_was_told(store: Store, odd: str) -> None:
    turn = await take(store, (await say(store, "m1")).wake[0])
    await store.write(waiting.POSTPONE, waiting.Postponement(turn=turn, until=store.now(), error=odd))
    turn = await take(store, turn.lease)
    await end(store, turn, TurnState.DEAD, kind="error", error=odd)
    await deliver(store, turn.lease, DeliveryState.PENDING, error=odd)
    await deliver(store, turn.lease, DeliveryState.DEAD, error=odd)
    (view,) = await store.read(reader.message_list)
    assert view.error == f"{odd[:-1]}\ufffd"


@pytest.mark.parametrize("odd", ["nul \0", "half \ud83d"])
async def test_what_was_said_is_kept_whatever_it_was(store: Store, odd: str) -> None:
    turn = await take(store, (await say(store, "m1", text=odd)).wake[0])
    assert turn.said[0].message.text == f"{odd[:-1]}\ufffd"


async def test_everything_else_is_kept_as_it_is(store: Store) -> None:
    turn = await take(store, (await say(store, "m1", text="\U0001f600 \u2028 \\u0000")).wake[0])
    assert turn.said[0].message.text == "\U0001f600 \u2028 \\u0000"


def odd_arrival(store: Store, odd: str, *, read: bool = True) -> Arrival:
    message = InboundMessage(
        message_key=f"m {odd}",
        conversation=(Candidate(value=f"thread {odd}", matched_by="thread"),),
        return_address=f"here {odd}",
        author=Author(id=f"ada {odd}", name=odd, attributes={odd: odd}),
        text=odd,
        quoted=odd,
        context=odd,
        files=(FileRef(url=f"https://files.example.com/{odd}", name=f"{odd}.txt"),),
        options=RequestOptions(title=odd, output_schema={odd: [odd]}),
        metadata={odd: {"in": [odd, 1, None]}},
    )
    return Arrival(
        source="team",
        delivery_key=f"d {odd}",
        digest="d",
        sealed=b"sealed",
        messages=(message,) if read else None,
        received_at=store.now(),
        agent="local",
        busy="queue",
    )


@pytest.mark.parametrize("odd", ["nul \0", "half \ud83d"])
async def test_whatever_arrives_is_kept_wherever_the_odd_words_are(store: Store, odd: str) -> None:
    kept = f"{odd[:-1]}\ufffd"
    stored = await store.accept(INGEST, odd_arrival(store, odd))
    assert (await store.accept(INGEST, odd_arrival(store, odd))).copy
    (said,) = (await take(store, stored.wake[0])).said
    assert (said.message.message_key, said.message.author.attributes) == (f"m {kept}", {kept: kept})
    assert said.message.files[0].name == f"{kept}.txt"
    assert said.message.options == RequestOptions(title=kept, output_schema={kept: [kept]})
    assert said.message.metadata == {kept: {"in": [kept, 1, None]}}


@pytest.mark.parametrize("odd", ["nul \0", "half \ud83d"])
async def test_what_is_read_later_is_kept_as_well_and_so_is_why_it_could_not_be(store: Store, odd: str) -> None:
    arrived = await store.accept(INGEST, odd_arrival(store, odd, read=False))
    (waiting,) = await store.read(unread, [str(arrived.unread)])
    failed = Unreadable(envelope_id=waiting.envelope_id, error=odd, until=store.now())
    await store.write(PUT_OFF, failed)
    assert [row.error for row in await rows_of(store, tables.arrivals)] == [f"{odd[:-1]}\ufffd"]
    messages = odd_arrival(store, odd).messages or ()
    placed = await store.accept(READ, Read(unread=waiting, messages=messages, agent="local", busy="queue"))
    assert (await take(store, placed.wake[0])).said[0].message.quoted == f"{odd[:-1]}\ufffd"


async def test_a_name_that_no_index_takes_is_known_by_its_digest(store: Store) -> None:
    long = secrets.token_hex(50_000)  # such as no database can compress
    stored = await store.accept(INGEST, odd_arrival(store, long))
    assert (await store.accept(INGEST, odd_arrival(store, long))).copy
    (said,) = (await take(store, stored.wake[0])).said
    assert said.message.text == long


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("addressed", "nobody"),
        ("author", "U1"),
        ("author", Author(id=5)),  # type: ignore[arg-type]  # as an adapter that nobody checked may write it
        ("text", None),
        ("files", ("a.txt",)),
        ("metadata|serialize", {"at": object()}),
    ],
)
def test_a_message_that_could_not_be_read_again_is_refused_before_it_is_stored(field: str, value: object) -> None:
    message = InboundMessage(
        message_key="m",
        conversation=(Candidate(value="c", matched_by="thread"),),
        return_address="",
        author=Author(id="u"),
    )
    assert storable_message(message) is message
    with pytest.raises(ValueError, match=field):
        storable_message(replace(message, **{field.partition("|")[0]: value}))  # type: ignore[arg-type]
