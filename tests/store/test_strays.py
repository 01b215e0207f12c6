"""What overtakes the beginning of its conversation belongs to it all the same, whoever stores which of the two."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from bridge.model import Act, Author, Candidate, InboundMessage
from bridge.store import reader
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from tests.conftest import FakeClock, fresh_database
from tests.store.journeys import arriving

Addressed = Literal["mention", "ambient"]


def said(store: Store, key: str, *conversations: str, addressed: Addressed) -> Arrival:
    """One arrival that says the same in each of these conversations."""
    messages = tuple(
        InboundMessage(
            message_key=f"{key} {conversation}",
            conversation=(Candidate(value=conversation, matched_by="thread"),),
            return_address="here",
            author=Author(id="ada"),
            text=key,
            addressed=addressed,
            begins=addressed == "mention",
        )
        for conversation in conversations
    )
    return arriving(store, *messages, key=f"{key} {conversations}")


def batched(arrivals: list[Arrival], size: int) -> list[list[Arrival]]:
    return [arrivals[at : at + size] for at in range(0, len(arrivals), size)]


async def heard(store: Store) -> dict[str, list[str]]:
    """What was said in each conversation and is to be answered."""
    found: dict[str, list[str]] = {}
    for message in await store.read(reader.message_list, limit=10_000):
        assert message.state == "queued", message
        found.setdefault(str(message.conversation_id), []).append(message.text)
    return found


@pytest.mark.parametrize("at_once", [1, 2])
async def test_a_reply_that_overtook_its_beginning_is_heard_behind_it(store: Store, at_once: int) -> None:
    arrivals = [
        said(store, "reply", "thread", addressed="ambient"),
        said(store, "beginning", "thread", addressed="mention"),
    ]
    for batch in batched(arrivals, at_once):
        await asyncio.gather(*(store.accept(INGEST, arrival) for arrival in batch))
    assert list((await heard(store)).values()) == [["reply", "beginning"]]  # the newest first


async def test_it_is_heard_although_something_was_done_between_the_two(store: Store) -> None:
    stopping = said(store, "stop", "elsewhere", addressed="mention")
    assert stopping.messages
    await asyncio.gather(
        store.accept(INGEST, said(store, "reply", "thread", addressed="ambient")),
        store.accept(INGEST, replace(stopping, messages=(replace(stopping.messages[0], act=Act.STOP),))),
        store.accept(INGEST, said(store, "beginning", "thread", addressed="mention")),
    )
    assert list((await heard(store)).values()) == [["reply", "beginning"]]


async def test_what_came_too_long_before_is_left_alone(store: Store, clock: FakeClock) -> None:
    await store.accept(INGEST, said(store, "reply", "thread", addressed="ambient"))
    await clock.advance(timedelta(hours=2))
    await store.accept(INGEST, said(store, "beginning", "thread", addressed="mention"))
    found = await store.read(reader.message_list)
    assert {one.text: one.state for one in found} == {"reply": "declined", "beginning": "queued"}


class TestTwoNodes:
    @pytest.fixture
    def database_url(self, postgres: str) -> str:
        return fresh_database(postgres)

    async def test_a_reply_is_heard_that_is_stored_at_the_same_moment_elsewhere(
        self, store: Store, other: Store
    ) -> None:
        threads = [f"thread-{number}" for number in range(30)]
        for round_ in range(20):
            names = [f"{thread}-{round_}" for thread in threads]
            await asyncio.gather(
                other.accept(INGEST, said(other, "reply", *names, addressed="ambient")),
                store.accept(INGEST, said(store, "beginning", *names, addressed="mention")),
            )
        assert {tuple(sorted(texts)) for texts in (await heard(store)).values()} == {("beginning", "reply")}
