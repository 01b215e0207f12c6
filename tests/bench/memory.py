"""Memory of a real process for a turn that waits, for one that streams, and for a conversation that nobody talks in.

    python -m tests.bench.memory [--turns 500] [--conversations 1000000]

A turn's memory is what the process has more with twice so many in flight than with so many, by the number of them (the
first ones live in what earlier messages have left free); what so many that are over add, as SQLite's cache fills, is
told beside it. A conversation's is what a process over
a large map has more than one over a small one, by the difference, after the same messages. Some three minutes.
"""

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bridge.store.engine import CACHE_KIB, open_engine
from bridge.store.migrations import migrate
from tests.bench.fill import fill
from tests.bench.peer import Peer, peer
from tests.bench.serve import bridge, message, send_all, sender
from tests.bench.table import Table, machine, say, verdict
from tests.bench.usage import resident_kib
from tests.conftest import postgres_server
from tests.end_to_end.parties import Request
from tests.end_to_end.serving import Served

WARM = 2000
FEW = 1000
CALM_SECONDS = 3
SQLITE_CACHES = 5 * CACHE_KIB // 1024
"""One writes, four read, and each keeps pages of whatever was looked through last."""
PATIENCE_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to be in flight."""

    name: str
    mode: str
    prompt: str
    followed: bool = False
    """A caller reads the events along."""


KINDS = (
    Kind("waits, the result is asked for (`poll`)", "poll", "hold"),
    Kind("waits, on the agent's stream", "stream", "hold"),
    Kind("streams, 2 chunks a second", "stream", "stream"),
    Kind("streams, and a caller reads along", "stream", "stream", followed=True),
)


async def in_flight(kind: Kind, count: int) -> tuple[float, float]:
    """KiB for each turn that is in flight, and for each that is over."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memory-")))
        other = await stack.enter_async_context(peer())
        served = await stack.enter_async_context(
            bridge(folder, f"sqlite:///{folder}/bridge.db", peer=other, mode=kind.mode)
        )
        http = await stack.enter_async_context(sender())
        warm = await _answered(http, served, other, WARM)
        idle = await _answered(http, served, other, count)
        followers = await _begin(http, served, kind, range(1, count + 1))
        half = await _held(served, other, count)
        followers += await _begin(http, served, kind, range(count + 1, 2 * count + 1))
        busy = await _held(served, other, 2 * count)
        for each in followers:
            each.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
    return (busy - half) / count, (idle - warm) / count


async def _held(served: Served, other: Peer, count: int) -> float:
    """KiB of the process while so many are in flight."""
    await other.until("held", count, seconds=PATIENCE_SECONDS)
    await asyncio.sleep(CALM_SECONDS)
    return resident_kib(served.process.pid)


async def _answered(http: aiohttp.ClientSession, served: Served, other: Peer, count: int) -> float:
    """KiB of the process after so many more messages, all answered."""
    before = await other.count("answers")
    messages = (message(before + n, conversation=before + n) for n in range(count))
    await send_all(http, [served.url], messages, at_once=16)
    await other.until("answers", before + count, seconds=PATIENCE_SECONDS)
    await asyncio.sleep(CALM_SECONDS)
    return resident_kib(served.process.pid)


async def _begin(http: aiohttp.ClientSession, served: Served, kind: Kind, numbers: range) -> list[asyncio.Task[None]]:
    messages = [message(n, conversation=-n, text=f"{kind.prompt} {n}") for n in numbers]
    if kind.followed:
        return [asyncio.create_task(_follow(http, served, each)) for each in messages]
    await send_all(http, [served.url], messages, at_once=16)
    return []


async def _follow(http: aiohttp.ClientSession, served: Served, sent: Request) -> None:
    """Read a turn's events until the process is gone."""
    wanted = {**sent.headers, "accept": "text/event-stream"}
    with suppress(aiohttp.ClientError):
        async with http.post(f"{served.url}/in/orders", data=sent.body, headers=wanted) as response:
            assert response.status == 200, await response.text()
            async for _ in response.content:
                pass


async def idle(kind: str, conversations: int) -> tuple[float, float]:
    """MiB of a process over a map of this size, once it is ready and after a thousand messages."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memory-")))
        url = f"sqlite:///{folder}/bridge.db"
        if kind == "postgresql":
            url = stack.enter_context(postgres_server()).get_uri()
        await asyncio.to_thread(_prepare, url, conversations)
        other = await stack.enter_async_context(peer())
        served = await stack.enter_async_context(bridge(folder, url, peer=other))
        http = await stack.enter_async_context(sender())
        await asyncio.sleep(CALM_SECONDS)
        ready = resident_kib(served.process.pid)
        return ready / 1024, await _answered(http, served, other, 1000) / 1024


def _prepare(url: str, conversations: int) -> None:
    engine = open_engine(url)
    migrate(engine)
    fill(engine, conversations)
    engine.dispose()


async def main(given: argparse.Namespace) -> None:
    """Print both tables."""
    say(f"## Memory\n\n{machine()}")
    table = Table(
        "a turn that",
        "KB each in flight",
        "KB each when it is over",
        title=f"{given.turns} turns beside {given.turns} others",
    )
    for kind in KINDS:
        busy, over = await in_flight(kind, given.turns)
        table.row(kind.name, f"{busy:.1f}", f"{over:.1f}")
    table = Table(
        "database", "conversations in the map", "ready, MB", "after 1,000 messages, MB", "", title="Idle conversations"
    )
    for database in ("postgresql", "sqlite"):
        few, many = await idle(database, FEW), await idle(database, given.conversations)
        table.row(database, f"{FEW:,}", f"{few[0]:.1f}", f"{few[1]:.1f}", "")
        each = (many[0] - few[0]) * 1024 * 1024 / (given.conversations - FEW)
        goal = f"{each:.1f} bytes each, <= 10: {verdict(met=each <= 10)}"
        told = goal if database == "postgresql" else f"<= {SQLITE_CACHES} MB of pages in its caches"
        table.row(database, f"{given.conversations:,}", f"{many[0]:.1f}", f"{many[1]:.1f}", told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--conversations", type=int, default=1_000_000)
    asyncio.run(main(parser.parse_args()))
