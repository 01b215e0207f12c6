import asyncio
import time

import pytest

from bridge.store.pace import MANY, Pace


async def test_whoever_comes_alone_begins_at_once() -> None:
    pace = Pace(asyncio.get_running_loop())
    waiting = asyncio.create_task(pace.turn())
    await asyncio.sleep(0)
    assert waiting.done()


async def test_all_begin_in_the_order_of_asking_and_one_that_gave_up_holds_nobody_up() -> None:
    pace = Pace(asyncio.get_running_loop())
    begun: list[int] = []

    async def begin(number: int) -> None:
        await pace.turn()
        begun.append(number)

    tasks = [asyncio.create_task(begin(number)) for number in range(200)]
    await asyncio.sleep(0)
    tasks[150].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert begun == [number for number in range(200) if number != 150]


async def late_rounds(number: int) -> None:
    for _ in range(number):
        time.sleep(0.02)  # noqa: ASYNC251 - work that holds the loop up
        await asyncio.sleep(0)


async def test_a_loop_that_is_late_lets_none_begin_until_it_is_at_ease() -> None:
    pace = Pace(asyncio.get_running_loop())
    await pace.turn()
    waiting = asyncio.create_task(pace.turn())
    await late_rounds(5)
    assert not waiting.done()
    await waiting


async def test_none_begins_while_many_arrivals_are_stored() -> None:
    pace = Pace(asyncio.get_running_loop())
    await pace.turn()
    pace.arriving = MANY + 1
    waiting = asyncio.create_task(pace.turn())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    pace.arriving = MANY
    await waiting


async def test_nobody_waits_for_ever_for_a_loop_that_is_never_at_ease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.store.pace.MOST_SECONDS", 0.05)
    pace = Pace(asyncio.get_running_loop())
    await pace.turn()
    waiting = [asyncio.create_task(pace.turn()) for _ in range(2)]
    await late_rounds(10)
    assert all(task.done() for task in waiting)
