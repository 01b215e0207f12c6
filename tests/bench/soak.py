"""Memory over time: messages come at a steady rate to a real process, and a line is laid through its resident memory.

    python -m tests.bench.soak [--minutes 10] [--rate 100] [--agent peer] [--postgres]

Every second message begins a conversation, the others go on with one of a while ago. The line is laid through the
second half: in the first one SQLite's caches fill. Ends by itself, a minute at most after the time is up.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.bench.growth import growth, second_half
from tests.bench.peer import peer
from tests.bench.serve import bridge, message, send, sender
from tests.bench.table import Table, machine, middle, say, verdict
from tests.bench.usage import cpu_seconds, resident_kib
from tests.conftest import postgres_server
from tests.end_to_end.serving import Served

SAMPLES_A_ROW = 6
AN_HOUR_MAY_ADD = 0.05
"""Of the memory it has: less is taken for noise, more for a leak."""
FILLS_CACHES = 10_000
"""Messages until SQLite's page caches, 2 MB for each of five connections, have all they may have."""


@dataclass
class Soak:
    """What was sent, and what was seen."""

    http: aiohttp.ClientSession
    served: Served
    rate: float
    seconds: float
    every: float
    sent: int = 0
    failed: int = 0
    behind: float = 0.0
    samples: list[tuple[float, float]] = field(default_factory=list)
    """(minutes, KiB)"""

    async def run(self) -> None:
        """Send and look until the time is up."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_steadily(group))
            group.create_task(self._look())

    async def _send_steadily(self, group: asyncio.TaskGroup) -> None:
        """Each message at its time, whether or not the ones before it are acknowledged."""
        begun = time.monotonic()
        for number in range(int(self.rate * self.seconds)):
            due = begun + number / self.rate
            self.behind = max(self.behind, time.monotonic() - due)
            await asyncio.sleep(max(due - time.monotonic(), 0))
            group.create_task(self._send(number))

    async def _send(self, number: int) -> None:
        conversation = number if number % 2 == 0 else max(number - 1001, 0)
        try:
            await send(self.http, self.served.url, message(number, conversation=conversation))
            self.sent += 1
        except (AssertionError, aiohttp.ClientError):
            self.failed += 1

    async def _look(self) -> None:
        table = Table("minute", "messages", "resident, MB", "CPU, % of a core")
        begun, used = time.monotonic(), cpu_seconds([self.served.process.pid])
        while (now := time.monotonic() - begun) < self.seconds:
            self.samples.append((now / 60, resident_kib(self.served.process.pid)))
            if len(self.samples) % SAMPLES_A_ROW == 0:
                before, used = used, cpu_seconds([self.served.process.pid])
                share = (used - before) / (SAMPLES_A_ROW * self.every) * 100
                recent = middle([kib for _, kib in self.samples[-SAMPLES_A_ROW:]])
                table.row(f"{now / 60:.1f}", f"{self.sent:,}", f"{recent / 1024:.1f}", f"{share:.0f}")
            await asyncio.sleep(self.every)


async def main(given: argparse.Namespace) -> None:
    """Load one process, print its memory as it goes, and what is to be thought of it."""
    say(f"## Soak: {given.rate:g} messages a second for {given.minutes:g} minutes\n\n{machine()}\n")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        url = f"sqlite:///{folder}/bridge.db"
        if given.postgres:
            url = stack.enter_context(postgres_server()).get_uri()
        other = await stack.enter_async_context(peer())
        served = await stack.enter_async_context(bridge(folder, url, peer=other, embedded=given.agent == "embedded"))
        http = await stack.enter_async_context(sender())
        seconds = given.minutes * 60
        soak = Soak(http, served, given.rate, seconds, every=max(min(5.0, seconds / 60), 0.2))
        await soak.run()
        tell(soak, await _settled(served))


async def _settled(served: Served) -> dict[str, int]:
    """The books once nothing is in flight, or after a minute as they are."""
    for _ in range(20):
        if not (await served.ledger())["in_flight"]:
            break
        await asyncio.sleep(3)
    return await served.ledger()


def tell(soak: Soak, books: dict[str, int]) -> None:
    """The verdict, below the samples."""
    late = second_half(soak.samples)
    line, usual = growth(late), middle([kib for _, kib in late])
    hour = line.slope * 60 / usual
    table = Table("what", "figure", "goal", "", title="What became of it")
    table.row("growth in the second half, KB a minute", str(line), "", "")
    told = verdict(met=hour <= AN_HOUR_MAY_ADD) if soak.sent >= 2 * FILLS_CACHES else "too short: caches still fill"
    table.row("an hour of it, of the memory it has", f"{hour:+.1%}", f"<= {AN_HOUR_MAY_ADD:.0%}", told)
    table.row("resident, median of the second half", f"{usual / 1024:.1f} MB", "", "")
    kept = soak.sent <= books["accepted"] == books["answered"]  # a message may be stored and its sender not told
    table.row("messages accepted, answered", f"{books['accepted']:,}, {books['answered']:,}", "all", verdict(met=kept))
    table.row("not acknowledged", str(soak.failed), "0", verdict(met=not soak.failed))
    table.row("the sender was late by, at most", f"{soak.behind * 1000:.0f} ms", "", "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=100, help="messages a second")
    parser.add_argument(
        "--agent", choices=("peer", "embedded"), default="peer",
        help="peer: another process, that answers at once; embedded: the demo agent, in the process that is looked at",
    )  # fmt: skip
    parser.add_argument("--postgres", action="store_true")
    asyncio.run(main(parser.parse_args()))
