"""Work that hostile input could make endless or huge, in processes that can be killed."""

import asyncio
import multiprocessing
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, TypeVar

R = TypeVar("R")

_SPAWN: Final = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang for ever
_GRACE_SECONDS: Final = 10
_NICE: Final = 10


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection


class Workers:
    """A pool of processes, started when needed, each doing one call at a time."""

    def __init__(self, count: int = 2, *, memory_bytes: int = 1 << 30, start_seconds: float = 30.0) -> None:
        """`memory_bytes` bounds the address space of each process."""
        self._memory_bytes = memory_bytes
        self._start_seconds = start_seconds
        self._idle: list[_Worker] = []
        self._slots = asyncio.Semaphore(count)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="cpu")  # pipes block
        self._closed = False

    async def run(self, function: Callable[..., R], *args: object, seconds: float) -> R:
        """Run a module-level function in another process and return its result, both picklable.

        Raises what the function raises, MemoryError where its process needed too much or died of it,
        TimeoutError after `seconds`: the process is killed then, and whatever else runs goes on. The
        time spent waiting for a free process does not count.
        """
        async with self._slots:
            worker = await self._take()
            outcome = await self._call(worker, (function, args, seconds), seconds=seconds)
            self._put_back(worker)
        if isinstance(outcome, BaseException):
            raise outcome
        result: R = outcome[0]
        return result

    async def aclose(self) -> None:
        """Kill every idle process. What runs now ends with its call."""
        self._closed = True
        while self._idle:
            _end(self._idle.pop())
        self._threads.shutdown(wait=False)

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():  # the system may have killed it for memory
                return worker
            _end(worker)
        ours, theirs = _SPAWN.Pipe()
        worker = _Worker(_SPAWN.Process(target=_work, args=(theirs, self._memory_bytes), daemon=True), ours)
        await asyncio.get_running_loop().run_in_executor(self._threads, worker.process.start)
        theirs.close()
        await self._call(worker, None, seconds=self._start_seconds)
        return worker

    def _put_back(self, worker: _Worker) -> None:
        if self._closed:
            _end(worker)
        else:
            self._idle.append(worker)

    async def _call(self, worker: _Worker, call: object, *, seconds: float) -> Any:
        """One exchange; whatever cuts it short ends the worker, since nobody knows what it is still doing."""
        exchange = asyncio.get_running_loop().run_in_executor(self._threads, _exchange, worker.pipe, call)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(exchange)
        except (EOFError, ConnectionError) as error:
            _end(worker)
            raise MemoryError("The worker process died in the middle of its work.") from error
        except BaseException:
            worker.process.kill()  # first, so that the thread at the pipe comes free
            await asyncio.wait([exchange])
            exchange.exception()
            _end(worker)
            raise


def _exchange(pipe: Connection, call: object) -> Any:
    pipe.send(call)
    return pipe.recv()


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.pipe.close()
    worker.process.join()  # a killed process is gone in a moment
    worker.process.close()


def _work(pipe: Connection, memory_bytes: int) -> None:
    """The life of a worker."""
    os.nice(_NICE)  # what answers platforms goes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the bridge; it ends its workers itself
    if sys.platform == "linux":  # elsewhere address space says nothing about memory
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with suppress(EOFError, ConnectionError):  # the bridge is gone
        while True:
            call = pipe.recv()
            pipe.send_bytes(_outcome(*call) if call else pickle.dumps(None))


def _outcome(function: Callable[..., Any], args: tuple[object, ...], seconds: float) -> bytes:
    """The pickled result, in a tuple, or the pickled exception."""
    signal.alarm(int(seconds) + _GRACE_SECONDS)  # nobody else ends this if the bridge is killed meanwhile
    try:
        return pickle.dumps((function(*args),))
    except MemoryError:
        return pickle.dumps(MemoryError(f"{function.__qualname__} needed more memory than it may have."))
    except Exception as error:  # noqa: BLE001 - it is raised again, at the caller's
        return _pickled(error)
    finally:
        signal.alarm(0)


def _pickled(error: Exception) -> bytes:
    try:
        text = pickle.dumps(error)
        pickle.loads(text)  # noqa: S301 - our own; some exceptions can be written but not read
    except Exception:  # noqa: BLE001 - whatever its own methods raise
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return text
