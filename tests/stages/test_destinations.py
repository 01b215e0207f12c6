"""Addresses that fail: left alone after a few failures, disabled after days of nothing else, and never forgotten."""

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import timedelta

import pytest

from bridge.destinations import SPREAD, Destinations, Held
from bridge.errors import Gone, Permanent, Retryable
from bridge.model import OutboundMessage
from bridge.outbox import Outbox
from bridge.store import reader
from bridge.store.database import Store
from bridge.store.destinations import FAIL, FAILING, RECOVER, Failure, destination_id, destination_list
from tests.conftest import FakeClock
from tests.stages.platform import Plain
from tests.stages.test_outbox import answered

SITE = "https://receiver.example/in"
ID = destination_id("team", SITE)


@dataclass
class Posts(Plain):
    """Posts to one address."""

    concurrency: int = 2
    schedule: tuple[float, ...] = (0.0,) * 20

    def destination(self, message: OutboundMessage) -> str | None:  # noqa: ARG002 - one for all
        return SITE


async def outcome_of(destinations: Destinations, error: Exception | None = None) -> None:
    """One try with this outcome."""
    async with destinations.calling("team", SITE, concurrency=2):
        if error:
            raise error


async def failing(store: Store) -> tuple[str, int]:
    (row,) = await store.read(destination_list)
    return row.state, row.failures


async def test_after_five_failures_nobody_tries_and_then_one_does(store: Store, clock: FakeClock) -> None:
    destinations = Destinations(store, clock)
    for _ in range(5):
        with pytest.raises(Retryable):
            await outcome_of(destinations, Retryable("down"))
    with pytest.raises(Held) as held:
        await outcome_of(destinations)
    await clock.advance(held.value.wait)
    async with destinations.calling("team", SITE, concurrency=2):  # the probe
        with pytest.raises(Held):
            await outcome_of(destinations)
    await outcome_of(destinations)
    assert await store.read(destination_list) == [], "a success ends the row of failures"


async def test_what_is_held_back_is_as_it_was_and_comes_later(store: Store, clock: FakeClock) -> None:
    platform = Posts(outcomes=deque([Retryable("down")] * 5))
    box = Outbox(store, clock, adapters={"team": platform}, age=timedelta(hours=24))
    leases = [await answered(store, f"m{number}", thread=f"t{number}") for number in range(7)]
    for lease in leases:
        await box.step(lease)
    assert len(platform.sent) == 5
    found = {one.turn_id: one for one in await store.read(reader.delivery_list)}
    held = [one for one in found.values() if one.attempt == 0]
    assert len(held) == 2
    for one in held:
        assert one.state == "pending"
        assert one.not_before is not None
        assert timedelta() < one.not_before - store.now() <= timedelta(seconds=30) + SPREAD
    await clock.advance(timedelta(minutes=1))
    for lease in leases:
        await box.step(lease)
    assert {one.state for one in await store.read(reader.delivery_list)} == {"sent"}


async def test_five_days_of_failures_disable_and_one_success_begins_anew(store: Store, clock: FakeClock) -> None:
    failure = Failure(source="team", address=SITE, error="down", final=False)
    assert not (await store.write(FAIL, failure)).is_disabled
    await clock.advance(FAILING - timedelta(minutes=1))
    assert not (await store.write(FAIL, failure)).is_disabled
    await store.write(RECOVER, ID)
    assert not (await store.write(FAIL, failure)).is_disabled
    await clock.advance(FAILING - timedelta(minutes=1))
    assert not (await store.write(FAIL, failure)).is_disabled
    await clock.advance(timedelta(minutes=1))
    assert (await store.write(FAIL, failure)).is_disabled
    assert await failing(store) == ("disabled", 3)
    await store.write(RECOVER, ID)  # of a try that was on its way
    assert await failing(store) == ("disabled", 3)


async def test_failures_at_the_same_moment_are_one_row(store: Store) -> None:
    failures = [Failure(source="team", address=SITE, error="down", final=n == 3) for n in range(6)]
    noted = await asyncio.gather(*(store.write(FAIL, failure) for failure in failures))
    assert any(one.is_disabled for one in noted)
    assert await failing(store) == ("disabled", 6)


async def test_what_another_node_disabled_is_known_here_at_the_next_look(store: Store, clock: FakeClock) -> None:
    destinations = Destinations(store, clock)
    await outcome_of(destinations)
    await store.write(FAIL, Failure(source="team", address=SITE, error="410", final=True))
    await destinations.look()
    with pytest.raises(Permanent, match=f"destinations enable {ID}"):
        await outcome_of(destinations)


async def test_what_fails_for_one_node_is_left_alone_by_all_and_one_of_them_tries(
    store: Store, clock: FakeClock
) -> None:
    here, there = Destinations(store, clock), Destinations(store, clock)
    for destinations in (here, there, here, there, here):
        await destinations.look()
        with pytest.raises(Retryable):
            await outcome_of(destinations, Retryable("down"))
    await there.look()
    with pytest.raises(Held) as held:
        await outcome_of(there)
    await clock.advance(held.value.wait)
    async with here.calling("team", SITE, concurrency=2):  # the probe
        for _ in range(2):
            with pytest.raises(Held):
                await outcome_of(there)
    await outcome_of(here)
    await clock.advance(timedelta(seconds=30))
    await outcome_of(there)  # it has not looked since, and asks
    assert await store.read(destination_list) == []


async def test_a_try_that_dies_is_followed_by_another(store: Store, clock: FakeClock) -> None:
    destinations = Destinations(store, clock)
    for _ in range(5):
        with pytest.raises(Retryable):
            await outcome_of(destinations, Retryable("down"))
    await clock.advance(timedelta(seconds=30))
    with pytest.raises(asyncio.CancelledError):
        async with destinations.calling("team", SITE, concurrency=2):
            raise asyncio.CancelledError
    with pytest.raises(Held):
        await outcome_of(destinations)
    await clock.advance(timedelta(seconds=30))
    await outcome_of(destinations)


async def test_a_refusal_for_good_opens_no_circuit(store: Store, clock: FakeClock) -> None:
    destinations = Destinations(store, clock)
    for _ in range(6):
        with pytest.raises(Permanent):
            await outcome_of(destinations, Permanent("404"))
    with pytest.raises(Gone):
        await outcome_of(destinations, Gone("410"))
    with pytest.raises(Permanent, match="disabled"):
        await outcome_of(destinations)


async def test_a_try_that_is_cancelled_leaves_the_way_free(store: Store, clock: FakeClock) -> None:
    destinations = Destinations(store, clock)
    entered = asyncio.Event()

    async def hang() -> None:
        async with destinations.calling("team", SITE, concurrency=1):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(30):
        await outcome_of(destinations)
