"""What the durable core costs, each figure beside its goal, the first beside a floor measured in the same run.

    python -m tests.bench.engine [accept turns latency waiting map takeover far] [--kind sqlite] [--seconds 3]

SQLite and PostgreSQL in turn; PostgreSQL is a throw-away server on this machine.
"""

import argparse
import asyncio
import itertools
import os
import queue
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from sqlalchemy.engine import make_url

from bridge.serving import calm_the_collector
from bridge.store.ingest import INGEST
from bridge.sweeper import TTL
from tests.bench.fill import fill
from tests.bench.parts import FILLER, NoAgent, arrival, engine
from tests.bench.table import Table, verdict
from tests.bench.usage import resident_kib
from tests.conftest import postgres_server
from tests.end_to_end.serving import ROOT, free_port, until_listening

CLIENTS = 64
SETTLING = 2.0
"""Seconds in which a node that begins to beat connects its listener and compiles its statements: once, not to wait."""


@dataclass(slots=True)
class Bench:
    """Where it runs, and how long each part may take."""

    folder: Path
    admin: str
    seconds: float
    conversations: int
    report: Table

    def tell(self, kind: str, what: str, figure: str, goal: str, *, met: bool) -> None:
        """One row of the report."""
        self.report.row(kind, what, figure, f"{goal}: {verdict(met=met)}")

    def fresh(self, kind: str) -> str:
        """A new database."""
        name = f"bench_{next(_numbers)}"
        if kind == "sqlite":
            return f"sqlite:///{self.folder}/{name}.db"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        head, _, tail = self.admin.partition("/postgres?")
        return f"{head}/{name}?{tail}"


_numbers = itertools.count(1)


async def closed_loop(work: Callable[[int], Awaitable[object]], seconds: float) -> tuple[float, list[float]]:
    """Keep 64 clients busy; how many a second, and the milliseconds of each."""
    until, times = time.perf_counter() + seconds, list[float]()

    async def client(number: int) -> None:
        for turn in itertools.count():
            if (begun := time.perf_counter()) >= until:
                return
            await work(turn * CLIENTS + number)
            times.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return len(times) / (time.perf_counter() - begun), sorted(times)


async def floor(bench: Bench, kind: str) -> float:
    """Rows a second into one bare table by the bare driver, all that wait in one transaction: the least it can cost."""
    loop, waiting = asyncio.get_running_loop(), queue.SimpleQueue[tuple[str, asyncio.Future[None]] | None]()
    target = f"{bench.folder}/floor.db" if kind == "sqlite" else bench.admin
    thread = threading.Thread(target=_insert, args=(kind, target, waiting, loop))
    thread.start()

    async def insert(_: int) -> None:
        done = loop.create_future()
        waiting.put((f"{next(_numbers):020}", done))
        await done

    rate, _ = await closed_loop(insert, bench.seconds)
    waiting.put(None)
    await asyncio.to_thread(thread.join)
    return rate


def _insert(
    kind: str,
    target: str,
    waiting: "queue.SimpleQueue[tuple[str, asyncio.Future[None]] | None]",
    loop: asyncio.AbstractEventLoop,
) -> None:
    connection: Any = sqlite3.connect(target, isolation_level=None) if kind == "sqlite" else psycopg.connect(target)
    if kind == "sqlite":
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS floor (id TEXT PRIMARY KEY, body TEXT)")
    connection.commit()
    statement = "INSERT INTO floor VALUES (?, ?)"
    if kind == "postgresql":
        statement = "INSERT INTO floor VALUES (%s, %s)"
    while (first := waiting.get()) is not None:
        batch = [first]
        while not waiting.empty() and (more := waiting.get()) is not None:
            batch.append(more)
        if kind == "sqlite":
            connection.execute("BEGIN IMMEDIATE")
        connection.cursor().executemany(statement, [(key, FILLER) for key, _ in batch])
        connection.commit()
        loop.call_soon_threadsafe(_resolve, [done for _, done in batch])
    connection.close()


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for done in futures:
        done.set_result(None)


async def accept(bench: Bench, kind: str) -> None:
    """Durable accepts at 64 clients, every message a conversation of its own; nothing is done with them."""
    least = await floor(bench, kind)
    async with engine(bench.fresh(kind), NoAgent()) as one:
        rate, times = await closed_loop(lambda n: one.store.accept(INGEST, arrival(f"c{n}")), bench.seconds)
    share, goal = rate / least, 0.25 if kind == "sqlite" else 0.5
    figure = f"{rate:.0f}/s, p50 {_at(times, 0.5)}, p99 {_at(times, 0.99)}; {share:.2f} of {least:.0f}/s"
    bench.tell(kind, "durable accept, 64 clients", figure, f">= {goal} of the floor", met=share >= goal)


async def whole_turns(bench: Bench, kind: str) -> None:
    """Accept, invoke, answer, deliver: from the first message to the last answer sent."""
    async with engine(bench.fresh(kind), NoAgent()) as one:
        begun = time.perf_counter()
        said = 0

        async def say(number: int) -> None:
            nonlocal said
            await one.say(f"c{number}")
            said += 1

        await closed_loop(say, bench.seconds)
        await one.until_sent(said)
        rate = said / (time.perf_counter() - begun)
    goal = 2000 if kind == "sqlite" else 1000
    bench.tell(kind, "whole no-op turns", f"{rate:.0f}/s", f">= {goal}/s", met=rate >= goal)


async def latency(bench: Bench, kind: str) -> None:
    """From the commit to the start of the call, at 100 messages a second."""
    started: dict[str, float] = {}
    committed: dict[str, float] = {}

    def note(prompt: str) -> None:
        started[prompt] = time.perf_counter()

    async with engine(bench.fresh(kind), NoAgent(note)) as one:

        async def say(number: int) -> None:
            await one.say(f"c{number}", str(number))
            committed[str(number)] = time.perf_counter()

        saying, count = [], int(bench.seconds * 100)
        for number in range(count):
            saying.append(asyncio.create_task(say(number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*saying)
        await one.until_sent(count)
    times = sorted((started[key] - at) * 1000 for key, at in committed.items())
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    figure = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    bench.tell(kind, "commit -> start of the call, 100/s", figure, "<= 5, <= 50 ms", met=p50 <= 5 and p99 <= 50)


async def waiting(bench: Bench, kind: str) -> None:
    """Ten thousand turns whose agent takes its time; in a process of its own, or what others freed would hide them."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        work = asyncio.get_running_loop().run_in_executor(process, _wait, bench.fresh(kind), bench.seconds)
        each, share = await work
    figure = f"{each / 1024:.1f} KB each, {share * 100:.1f} % of a core"
    bench.tell(kind, "10,000 waiting turns", figure, "<= 4 KB, < 1 %", met=each <= 4096 and share < 0.01)


def _wait(url: str, seconds: float) -> tuple[float, float]:
    calm_the_collector()
    return uvloop.run(_waiting(url, seconds))


async def _waiting(url: str, seconds: float) -> tuple[float, float]:
    """The bytes each of them holds, and what share of a core they take together."""
    count, let_go, calls = 10_000, asyncio.Event(), list[str]()
    async with engine(url, NoAgent(calls.append, let_go)) as one:
        before = resident_kib(os.getpid())
        for first in range(0, count, 500):
            await asyncio.gather(*(one.say(f"c{number}", "wait") for number in range(first, first + 500)))
        while len(calls) < count:  # noqa: ASYNC110 - a list does not tell
            await asyncio.sleep(0.05)
        each = (resident_kib(os.getpid()) - before) / count * 1024
        beating = asyncio.create_task(one.sweeper.run())
        await asyncio.sleep(SETTLING)
        used, at = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        share = (time.process_time() - used) / (time.perf_counter() - at)
        let_go.set()
        await one.until_sent(count)
        beating.cancel()  # not before: a node that is late for its own lease lets go of its turns
    return each, share


async def large_map(bench: Bench, kind: str) -> None:
    """Accepts with many conversations in the map against few, in turn."""
    few, many = bench.fresh(kind), bench.fresh(kind)
    async with engine(few, NoAgent(), node="nod_few") as small, engine(many, NoAgent(), node="nod_many") as big:
        await asyncio.to_thread(fill, small.store.engine, 1000)
        await asyncio.to_thread(fill, big.store.engine, bench.conversations)
        rounds: list[tuple[float, float]] = []
        for _ in range(5):
            pair = []
            for one, size in ((small, 1000), (big, bench.conversations)):
                begun = time.perf_counter()
                step = max(size // 1000, 1)
                for first in range(0, 1000, CLIENTS):
                    group = range(first, min(first + CLIENTS, 1000))
                    await asyncio.gather(*(one.store.accept(INGEST, arrival(f"c{number * step}")) for number in group))
                pair.append(time.perf_counter() - begun)
            rounds.append((pair[0], pair[1]))
    ratio = statistics.median(big for _, big in rounds) / statistics.median(small for small, _ in rounds)
    what = f"{bench.conversations:,} conversations against 1,000"
    bench.tell(kind, what, f"{ratio:.2f} times the time", "<= 1.2 times", met=ratio <= 1.2)


async def takeover(bench: Bench, kind: str) -> None:
    """A thousand conversations of a node that is gone without a word."""
    if kind == "sqlite":
        return  # one process owns the file: its successor takes everything at its first beat
    url, count = bench.fresh(kind), 1000
    async with engine(url, NoAgent(), node="nod_gone") as gone:
        await gone.sweeper.beat()
        for first in range(0, count, 250):
            numbers = range(first, first + 250)
            await asyncio.gather(*(gone.store.accept(INGEST, arrival(f"c{number}")) for number in numbers))
        await gone.sweeper.beat()
        died = time.perf_counter()
    async with engine(url, NoAgent(), node="nod_next") as successor:
        beating = asyncio.create_task(successor.sweeper.run())
        await successor.until_sent(count)
        took = time.perf_counter() - died
        beating.cancel()
    goal = TTL.total_seconds() + 2
    bench.tell(kind, "takeover of 1,000 conversations, answered", f"{took:.1f} s", f"<= {goal:.0f} s", met=took <= goal)


async def far(bench: Bench, kind: str) -> None:
    """Durable accepts where every round trip takes a millisecond more, as to a database in a cloud."""
    if kind == "sqlite":
        return
    url, port = bench.fresh(kind), free_port()
    given = make_url(url)
    socket = f"{given.query['host']}/.s.PGSQL.5432"
    distant = given.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
    proxy = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.proxy", str(port), socket, cwd=ROOT)
    await until_listening(proxy, port)
    try:
        async with engine(distant, NoAgent()) as one:
            rate, times = await closed_loop(lambda n: one.store.accept(INGEST, arrival(f"c{n}")), bench.seconds)
    finally:
        proxy.terminate()
        await proxy.wait()
    figure = f"{rate:.0f}/s, p50 {_at(times, 0.5)}, p99 {_at(times, 0.99)}"
    met = rate >= 1500 and times[int(len(times) * 0.99)] <= 100
    bench.tell(kind, "durable accept, 1 ms farther away", figure, ">= 1500/s, p99 <= 100 ms", met=met)


def _at(times: list[float], share: float) -> str:
    return f"{times[int(len(times) * share)]:.1f} ms"


KINDS = ("sqlite", "postgresql")
PARTS = {
    "accept": accept,
    "turns": whole_turns,
    "latency": latency,
    "waiting": waiting,
    "map": large_map,
    "takeover": takeover,
    "far": far,
}


async def main(given: argparse.Namespace) -> None:
    """Run the parts, on each database in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(postgres_server())
        report = Table("database", "what", "figure", "goal")
        bench = Bench(folder, server.get_uri(), given.seconds, given.conversations, report)
        for name in given.parts or PARTS:
            for kind in given.kind or KINDS:
                await PARTS[name](bench, kind)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--conversations", type=int, default=1_000_000)
    calm_the_collector()  # as `serve` does, and the same loop
    uvloop.run(main(parser.parse_args()))
