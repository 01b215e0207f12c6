"""Prints how long each hostile mail takes and whether others are served meanwhile. Run by `make hostile`.

Each goes through the source's own reading, with the bridge's real workers; the loop's longest pause is what anybody
else would have waited. Exit 1 where one takes a second.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from adapters.email import build
from adapters.email.adapter import Email
from bridge.cpu import Workers
from tests.adapters.email.bombs import MAILS, SAMPLE
from tests.adapters.email.mails import mail, posted
from tests.adapters.email.rooms import settings
from tests.adapters.kits import open_kit

GOAL_SECONDS = 1.0
TICK_SECONDS = 0.005


@dataclass
class Pulse:
    """The longest time between two turns of the event loop."""

    longest: float = 0.0

    async def beat(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last - TICK_SECONDS), now


@asynccontextmanager
async def source() -> AsyncIterator[Email]:
    workers = Workers(2)
    try:
        async with open_kit("helpdesk", max_body=25 << 20) as kit:
            adapter = build(settings(require_auth="none"), replace(kit, cpu=workers))
            assert isinstance(adapter, Email)
            for _ in range(2):
                await adapter.read(posted(mail()))  # a process starts, which is not what is measured
            yield adapter
    finally:
        await workers.aclose()


async def measured(adapter: Email, raw: bytes) -> tuple[float, float, str]:
    """Seconds, the loop's longest pause, and what the mail became."""
    pulse = Pulse()
    beating = asyncio.create_task(pulse.beat())
    await asyncio.sleep(0)
    started = time.perf_counter()
    (message,) = await adapter.read(posted(raw))
    took = time.perf_counter() - started
    beating.cancel()
    admission = (message.parked and f"parked:{message.parked}") or (message.declined and f"declined:{message.declined}")
    return took, pulse.longest, admission or "admitted"


async def main() -> int:
    worst = 0.0
    async with source() as adapter:
        for name, raw in MAILS.items():
            if not raw.strip():
                continue  # an empty post is refused before it is stored
            took, pause, became = await measured(adapter, raw)
            worst = max(worst, took)
            print(f"{name:24} {len(raw):9} bytes {1e3 * took:8.1f} ms   pause {1e3 * pause:6.1f} ms   {became}")  # noqa: T201
        cuts = [await measured(adapter, SAMPLE[:end]) for end in range(1, len(SAMPLE))]
    longest = max(took for took, _, _ in cuts)
    print(f"{'cut at every byte':24} {len(cuts):9} mails {1e3 * longest:8.1f} ms at most")  # noqa: T201
    print(f"longest: {max(worst, longest):.3f} s (goal: under {GOAL_SECONDS:g} s)")  # noqa: T201
    return 0 if max(worst, longest) < GOAL_SECONDS else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
