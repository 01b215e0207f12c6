"""The killable workers, with real processes."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator

import pytest

from bridge.adapter import Cpu
from bridge.cpu import Workers

PLENTY = 60.0


def double(number: int) -> int:
    return number * 2


def process_id() -> int:
    return os.getpid()


def endless() -> None:
    while True:
        pass


def deaf_and_endless() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    endless()


def bomb() -> int:
    return len(bytearray(8 << 30))


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fail() -> None:
    raise ValueError("the input is nonsense")


class Stubborn(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def fail_stubbornly() -> None:
    raise Stubborn("a", "b")


def unpicklable() -> threading.Lock:
    return threading.Lock()


def echo(data: bytes) -> bytes:
    return data


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(2)
    yield workers
    await workers.aclose()


async def test_a_result_comes_back_and_the_process_is_used_again(workers: Workers) -> None:
    cpu: Cpu = workers
    first = await cpu.run(process_id, seconds=PLENTY)
    assert await workers.run(double, 21, seconds=PLENTY) == 42
    assert await workers.run(process_id, seconds=PLENTY) == first != os.getpid()


@pytest.mark.parametrize("function", [endless, deaf_and_endless])
async def test_an_endless_call_is_killed_and_the_next_one_works(workers: Workers, function: object) -> None:
    assert callable(function)
    with pytest.raises(TimeoutError):
        await workers.run(function, seconds=0.2)
    assert await workers.run(double, 1, seconds=PLENTY) == 2


async def test_the_others_go_on_while_one_is_killed(workers: Workers) -> None:
    endless_call = asyncio.create_task(workers.run(endless, seconds=1))
    assert [await workers.run(double, number, seconds=PLENTY) for number in range(5)] == [0, 2, 4, 6, 8]
    with pytest.raises(TimeoutError):
        await endless_call


async def test_a_memory_bomb_ends_in_a_memory_error(workers: Workers) -> None:
    with pytest.raises(MemoryError, match="bomb needed more memory"):
        await workers.run(bomb, seconds=PLENTY)
    assert await workers.run(double, 1, seconds=PLENTY) == 2


async def test_a_process_that_dies_does_not_take_the_caller_with_it(workers: Workers) -> None:
    with pytest.raises(MemoryError, match="died"):
        await workers.run(crash, seconds=PLENTY)
    assert await workers.run(double, 1, seconds=PLENTY) == 2


async def test_an_idle_process_that_was_killed_is_replaced(workers: Workers) -> None:
    os.kill(await workers.run(process_id, seconds=PLENTY), signal.SIGKILL)
    await asyncio.sleep(0.1)  # until the system has reaped it
    assert await workers.run(double, 1, seconds=PLENTY) == 2


async def test_an_exception_of_the_function_is_raised_here(workers: Workers) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        await workers.run(fail, seconds=PLENTY)
    with pytest.raises(RuntimeError, match="Stubborn: ab"):
        await workers.run(fail_stubbornly, seconds=PLENTY)
    with pytest.raises(TypeError, match="pickle"):
        await workers.run(unpicklable, seconds=PLENTY)


async def test_large_inputs_and_results_pass(workers: Workers) -> None:
    data = os.urandom(5_000_000)
    assert await workers.run(echo, data, seconds=PLENTY) == data


async def test_a_cancelled_call_is_killed(workers: Workers) -> None:
    call = asyncio.create_task(workers.run(endless, seconds=PLENTY))
    await workers.run(double, 1, seconds=PLENTY)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await workers.run(double, 1, seconds=PLENTY) == 2
