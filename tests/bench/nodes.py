"""One node on SQLite; one, two and four on one PostgreSQL: what they do together, and who uses the machine for it.

Real `agent-bridge serve` processes, signed webhooks in, an agent that answers at once, signed callbacks out. Accepts
and turns are of the same run: the messages come as fast as they are taken, and turns give way to them. Everything
shares the cores of this machine, so the rates say where it is full, and the CPU of each part says what would fill
a larger one.
"""

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import psycopg

from tests.bench import plan
from tests.bench.peer import Peer, peer
from tests.bench.plan import Message
from tests.bench.serve import bridge
from tests.bench.table import Table, middle
from tests.bench.usage import cpu_seconds, family
from tests.conftest import postgres_server
from tests.end_to_end.serving import ROOT

CONNECTIONS = 64
PATIENCE_SECONDS = 240
WARM = 200


@dataclass(frozen=True, slots=True)
class Work:
    """What the messages of one run took: rates, and per message milliseconds of CPU and what the database counts."""

    accepts: float
    turns: float
    bridge_ms: float
    database_ms: float
    others_ms: float
    """The sender, the agent and the receiver: what is not there in production, or elsewhere."""
    busy: float
    """Of the machine, while turns were worked on."""
    commits: float
    inserted: float
    updated: float
    wal_bytes: float
    fsyncs: float
    disk_bytes: float


@dataclass(frozen=True, slots=True)
class Books:
    """What PostgreSQL has counted so far; all zero on SQLite."""

    commits: float = 0
    inserted: float = 0
    updated: float = 0
    wal_bytes: float = 0
    fsyncs: float = 0
    disk_bytes: float = 0


async def counted(url: str) -> Books:
    """Its books; it brings them up to date within a second of the work."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        return Books(disk_bytes=os.stat(path).st_size + os.stat(f"{path}-wal").st_size)  # noqa: PTH116
    await asyncio.sleep(1.5)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await connection.execute(
            "SELECT xact_commit, tup_inserted, tup_updated, (SELECT wal_bytes FROM pg_stat_wal),"
            " (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'), pg_database_size(current_database())"
            " FROM pg_stat_database WHERE datname = current_database()"
        )
        row: Sequence[Any] = await found.fetchone() or ()
    return Books(*(float(figure or 0) for figure in row))


async def load(urls: Sequence[str], messages: int) -> tuple[float, float]:
    """Send so many, a generator for each node; accepts a second, and when the first one left."""
    share = str(messages // len(urls))
    senders = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.load", url.rpartition(":")[2], "/in/orders", "--connections",
            str(CONNECTIONS // len(urls)), "--seconds", str(PATIENCE_SECONDS),
            "--most", share, "--conversations", share, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )
        for url in urls
    ]  # fmt: skip
    tallies = [json.loads(output) for output, _ in await asyncio.gather(*(each.communicate() for each in senders))]
    assert not any(tally["failures"] for tally in tallies), "a message was refused"
    longest = max(tally["seconds"] for tally in tallies)
    return messages / longest, time.perf_counter() - longest


async def run(url: str, server: Any, *, count: int, messages: int) -> Work:
    """One measurement, with processes and a database of its own."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nodes-")))
        other = await stack.enter_async_context(peer())
        served = [await stack.enter_async_context(bridge(folder, url, peer=other)) for _ in range(count)]
        urls = [one.url for one in served]
        await load(urls, WARM)
        await other.until("answers", WARM // count * count, seconds=PATIENCE_SECONDS)
        books, ours, theirs, rest = await counted(url), _cpu(served), _database_cpu(server), _rest(other)
        done = await other.count("answers") + messages // count * count
        accepts, begun = await load(urls, messages)
        await other.until("answers", done, seconds=PATIENCE_SECONDS)
        took = time.perf_counter() - begun
        spent = [_cpu(served) - ours, _database_cpu(server) - theirs, _rest(other) - rest]
        now = await counted(url)
    each = [(after - before) / messages for after, before in zip(astuple(now), astuple(books), strict=True)]
    cores = os.cpu_count() or 1
    costs = [seconds / messages * 1000 for seconds in spent]
    return Work(*(accepts, messages / took, *costs, sum(spent) / took / cores, *each))


def _cpu(served: Sequence[Any]) -> float:
    return cpu_seconds(one.process.pid for one in served)


def _database_cpu(server: Any) -> float:
    return cpu_seconds(family(server.get_pid())) if server else 0.0


def _rest(other: Peer) -> float:
    """The senders are children that have ended, unlike the nodes."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu_seconds([other.pid]) + ended.ru_utime + ended.ru_stime


async def main(*, messages: int, rounds: int) -> None:
    """Interleaved rounds, medians, and what follows from them."""
    names = {"SQLite": 1, "PostgreSQL": 1, "PostgreSQL, 2 nodes": 2, "PostgreSQL, 4 nodes": 4}
    found: dict[str, list[Work]] = {name: [] for name in names}
    with postgres_server() as server, tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        for number in range(rounds):
            for name, count in names.items():
                if name == "SQLite":
                    work = await run(f"sqlite:///{folder}/{number}.db", None, count=count, messages=messages)
                else:
                    url = _database(server.get_uri(), f"nodes_{count}_{number}")
                    work = await run(url, server, count=count, messages=messages)
                found[name].append(work)
    medians = {name: _medians(works) for name, works in found.items()}
    tell(medians)
    planned = medians["PostgreSQL, 2 nodes"]
    message = Message(**{field.name: getattr(planned, field.name) for field in fields(Message)})
    plan.tell(message, rate=10_000, agent_seconds=5, cells=5)


def _database(admin: str, name: str) -> str:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    head, _, tail = admin.partition("/postgres?")
    return f"{head}/{name}?{tail}"


def _medians(works: Sequence[Work]) -> Work:
    return Work(*(middle([getattr(work, field.name) for work in works]) for field in fields(Work)))


def tell(found: dict[str, Work]) -> None:
    """Rates and CPU, then what a message costs the database."""
    table = Table(
        "nodes", "accepts/s", "turns/s", "bridge, CPU ms", "database, CPU ms", "sender and agent, CPU ms", "busy",
        title="Nodes that share a database (CPU for each message)",
    )  # fmt: skip
    for name, work in found.items():
        costs = (work.bridge_ms, work.database_ms, work.others_ms)
        told = [f"{cost:.2f}" if cost else "in the bridge's" for cost in costs]
        table.row(name, f"{work.accepts:.0f}", f"{work.turns:.0f}", *told, f"{work.busy:.0%}")
    table = Table(
        "nodes", "commits", "rows inserted", "rows updated", "WAL, KB", "WAL fsyncs", "database grows, KB",
        title="What a message costs the database, from arrival to callback",
    )  # fmt: skip
    for name, work in found.items():
        figures = (work.commits, work.inserted, work.updated, work.wal_bytes / 1024, work.fsyncs)
        counts = [f"{figure:.2f}" for figure in figures]
        kept = counts if work.database_ms else ["not counted"] * len(counts)
        table.row(name, *kept, f"{work.disk_bytes / 1024:.1f}")
