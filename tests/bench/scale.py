"""How fast messages are accepted and answered with few and with many conversations in the map, and with more nodes.

    python -m tests.bench.scale [map nodes] [--kind sqlite] [--rounds 5] [--sizes 1000 100000 1000000]

`map`: the engine in this process, over databases whose conversations all have a past (see fill.py); rounds are
interleaved, and each size is compared with the smallest in its own round. `nodes`: see nodes.py. PostgreSQL is a
throw-away server on this machine. Some five minutes for `map`, most of it for filling, and five for `nodes`.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from bridge.store.ingest import INGEST, Ingested
from tests.bench import nodes
from tests.bench.fill import fill
from tests.bench.parts import Engine, NoAgent, arrival, engine
from tests.bench.table import Table, machine, middle, say, verdict
from tests.bench.usage import cpu_seconds, family
from tests.conftest import postgres_server

KINDS = ("sqlite", "postgresql")
MAY_COST = 1.2
"""Times what it costs with few conversations."""


@dataclass(slots=True)
class Sized:
    """An engine over a map of this size, and what was measured on it, a figure for each round."""

    size: int
    engine: Engine
    accepts: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Milliseconds for a whole turn, the database's included."""
    _step: int = 0

    def conversations(self, count: int) -> list[str]:
        """So many of those in the map, each time others, all over it."""
        self._step += 1
        return [f"c{(number * 7919 + self._step * 104_729) % self.size}" for number in range(count)]


async def in_groups(work: Callable[[str], Any], keys: Sequence[str]) -> list[Any]:
    """64 clients at a time."""
    waiting, done = iter(keys), list[Any]()

    async def client() -> None:
        for key in waiting:
            done.append(await work(key))

    await asyncio.gather(*(client() for _ in range(64)))
    return done


async def one_round(sized: Sized, count: int, cpu: Callable[[], float]) -> None:
    """Accept so many and leave them; answer those untimed; then so many whole turns."""
    one = sized.engine
    begun, sent = time.perf_counter(), one.platform.sent
    stored: list[Ingested] = await in_groups(
        lambda key: one.store.accept(INGEST, arrival(key)), sized.conversations(count)
    )
    sized.accepts.append(count / (time.perf_counter() - begun))
    for lease in (lease for each in stored for lease in each.wake):
        one.turns.lanes.wake(lease)
    await one.until_sent(sent + count)
    begun, used = time.perf_counter(), cpu()
    await in_groups(one.say, sized.conversations(count))
    await one.until_sent(sent + 2 * count)
    sized.turns.append(count / (time.perf_counter() - begun))
    sized.cpu.append((cpu() - used) / count * 1000)


async def measure(given: argparse.Namespace, kind: str, table: Table) -> None:
    """All sizes on one kind of database."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        server = stack.enter_context(postgres_server()) if kind == "postgresql" else None
        sized = []
        for size in given.sizes:
            url = _database(server.get_uri(), size) if server else f"sqlite:///{folder}/{size}.db"
            one = await stack.enter_async_context(engine(url, NoAgent(), node=f"nod_{size}"))
            begun = time.perf_counter()
            await asyncio.to_thread(fill, one.store.engine, size)
            sys.stderr.write(f"{kind}: {size:,} conversations filled in {time.perf_counter() - begun:.0f} s\n")
            sized.append(Sized(size, one))
        own = time.process_time

        def cpu() -> float:
            return own() + (cpu_seconds(family(server.get_pid())) if server else 0.0)

        for number in range(given.rounds + 1):
            for each in sized if number % 2 else reversed(sized):
                await one_round(each, given.messages, cpu)
            if number == 0:  # the first one warms up
                for each in sized:
                    each.accepts, each.turns, each.cpu = [], [], []
        for each in sized:
            tell(table, kind, each, sized[0])


def _database(admin: str, size: int) -> str:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE map_{size}")
    head, _, tail = admin.partition("/postgres?")
    return f"{head}/map_{size}?{tail}"


def tell(table: Table, kind: str, one: Sized, smallest: Sized) -> None:
    """One row: medians, and how many times the smallest map's time it takes, round by round."""
    longer = middle([few / many for few, many in zip(smallest.accepts, one.accepts, strict=True)])
    turns = middle([few / many for few, many in zip(smallest.turns, one.turns, strict=True)])
    cpu = middle([many / few for few, many in zip(smallest.cpu, one.cpu, strict=True)])
    rates = (f"{middle(one.accepts):.0f}", f"{longer:.2f}", f"{middle(one.turns):.0f}", f"{turns:.2f}")
    told = verdict(met=max(longer, turns) <= MAY_COST)
    table.row(kind, f"{one.size:,}", *rates, f"{middle(one.cpu):.2f}", f"{cpu:.2f}", f"<= {MAY_COST}: {told}")


async def main(given: argparse.Namespace) -> None:
    """Print both tables, or the one that is asked for."""
    say(f"## Scale\n\n{machine()}")
    if "map" in given.parts:
        table = Table(
            "database", "conversations", "accepts/s", "time, x", "turns/s", "time, x", "CPU ms a turn", "CPU, x",
            "goal",
            title="Conversations in the map",
        )  # fmt: skip
        for kind in given.kind or KINDS:
            await measure(given, kind, table)
    if "nodes" in given.parts:
        await nodes.main(messages=given.through_nodes, rounds=min(given.rounds, 3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["map", "nodes"])
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=1000, help="of each round at each size, twice")
    parser.add_argument(
        "--through-nodes", type=int, default=3000, help="messages of each round for each number of nodes"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    asyncio.run(main(parser.parse_args()))
