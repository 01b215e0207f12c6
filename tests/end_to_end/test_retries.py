"""A callback that fails is repeated by the schedule of Standard Webhooks, under the same id, each time signed anew."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bridge.backoff import STANDARD_WEBHOOKS
from bridge.store import reader
from bridge.store.reader import DeliveryView
from tests.conftest import FakeClock
from tests.end_to_end.conftest import OpenBridge, Opened
from tests.end_to_end.parties import PATIENCE_SECONDS, Sink, post, request

SECOND = timedelta(seconds=1)


@pytest.fixture
async def opened(open_bridge: OpenBridge, clock: FakeClock) -> AsyncIterator[Opened]:
    async with open_bridge(clock) as one:
        yield one


async def _tried(opened: Opened, times: int) -> DeliveryView:
    """The only delivery, once the outcome of so many tries is stored."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await opened.bridge.store.read(reader.delivery_list)
            if found and found[0].attempt == times and found[0].state != "sending":
                return found[0]
            await asyncio.sleep(0.005)


async def _until_called(clock: FakeClock, sink: Sink, *, times: int) -> None:
    """Let the seconds pass, one by one, until so many callbacks have come."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(sink.received) < times:
            await clock.advance(SECOND)
            await asyncio.sleep(0.005)


async def test_failures_are_repeated_by_the_schedule_until_it_ends(
    opened: Opened, clock: FakeClock, sink: Sink
) -> None:
    sink.answers.extend([(500, {})] * len(STANDARD_WEBHOOKS))
    await post(opened.http, request("hello", at=clock.now()))
    for number, planned in enumerate(STANDARD_WEBHOOKS[1:], 1):
        await sink.callbacks(number)
        delivery = await _tried(opened, number)
        assert delivery.state == "pending"
        assert delivery.not_before is not None
        wait = (delivery.not_before - clock.now()).total_seconds()
        assert planned * 0.5 - 1 <= wait <= planned * 1.5 + 1
        await clock.leap(delivery.not_before - clock.now() - SECOND)
        assert len(sink.received) == number
        await _until_called(clock, sink, times=number + 1)
    last = await _tried(opened, len(STANDARD_WEBHOOKS))
    assert (last.state, last.not_before) == ("dead", None)
    assert len({callback.id for callback in sink.received}) == 1
    assert len({callback.body for callback in sink.received}) == 1
    times = [callback.signed_at for callback in sink.received]
    assert times == sorted(set(times))
    books = await opened.settled()
    assert (books.accepted, books.dead) == (1, 1)


async def test_a_callback_that_gets_through_at_last_ends_the_tries(
    opened: Opened, clock: FakeClock, sink: Sink
) -> None:
    sink.answers.extend([(500, {}), (503, {})])
    await post(opened.http, request("hello", at=clock.now()))
    await sink.callbacks(1)
    await _tried(opened, 1)
    await _until_called(clock, sink, times=3)
    assert (await _tried(opened, 3)).state == "sent"
    assert (await opened.settled()).answered == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_the_receivers_own_wish_is_waited_for(opened: Opened, clock: FakeClock, sink: Sink, status: int) -> None:
    sink.answers.append((status, {"retry-after": "120"}))
    await post(opened.http, request("hello", at=clock.now()))
    await sink.callbacks(1)
    delivery = await _tried(opened, 1)
    assert delivery.not_before is not None
    assert abs(delivery.not_before - clock.now() - timedelta(seconds=120)) < SECOND  # PostgreSQL's clock is its own
    await _until_called(clock, sink, times=2)
    assert sink.received[1].signed_at - sink.received[0].signed_at >= timedelta(seconds=120)


@pytest.mark.parametrize("status", [404, 301])
async def test_a_final_no_stops_the_tries(opened: Opened, clock: FakeClock, sink: Sink, status: int) -> None:
    sink.answers.append((status, {"location": "http://127.0.0.1:9/elsewhere"}))
    await post(opened.http, request("hello", at=clock.now()))
    await sink.callbacks(1)
    assert (await _tried(opened, 1)).state == "dead"
    await clock.advance(timedelta(minutes=10))  # two more tries would be due by the schedule
    await post(opened.http, request("another", at=clock.now()))
    assert (await sink.callbacks(2))[1].data["result"] == "You said: another"
    books = await opened.settled()
    assert (books.accepted, books.dead, books.answered) == (2, 1, 1)
    assert len(sink.received) == 2


async def test_a_callback_that_waits_for_hours_does_not_hold_up_the_conversation(
    opened: Opened, clock: FakeClock, sink: Sink
) -> None:
    sink.answers.append((503, {"retry-after": "7200"}))
    await post(opened.http, request("first", at=clock.now(), conversation="order-7"))
    await sink.callbacks(1)
    await _tried(opened, 1)
    await post(opened.http, request("second", at=clock.now(), conversation="order-7"))
    assert (await sink.callbacks(2))[1].data["result"] == "You said: second"
    await clock.advance(timedelta(hours=2))
    await _until_called(clock, sink, times=3)
    assert sink.received[2].id == sink.received[0].id
    assert (await opened.settled()).answered == 2


async def test_a_short_wait_keeps_the_order_of_a_conversation(opened: Opened, clock: FakeClock, sink: Sink) -> None:
    sink.answers.append((500, {}))
    for text in ("first", "second"):
        await post(opened.http, request(text, at=clock.now(), conversation="order-7"))
    await sink.callbacks(1)
    await opened.books(lambda books: books.in_flight == 2)
    await _until_called(clock, sink, times=3)
    results = [callback.data["result"] for callback in sink.received]
    assert results == ["You said: first", "You said: first", "You said: second"]
