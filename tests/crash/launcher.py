"""Starts the bridge in a process of its own that stands still at one boundary, so that SIGKILL hits exactly there.

The product knows nothing of it: here, in the child process alone, the writer is wrapped from outside.
"""

import asyncio
import sys
from collections import deque
from pathlib import Path
from typing import Any

from bridge import cli
from bridge.outbox import Outbox
from bridge.store import heads, ingest, tries, turns
from bridge.store.handover import HAND_OVER
from bridge.store.writer import Write, Writer

WRITES: dict[str, tuple[Write[Any, Any], ...]] = {
    "ingest": (ingest.INGEST,),
    "heads.take": (heads.TAKE,),
    "turns.note_task": (turns.NOTE_TASK,),
    "turns.end": (turns.END, HAND_OVER),
    "deliveries.end": (tries.END,),
}


POST = "before:deliveries.post"
"""Not at a write: a delivery may have begun with the end of its turn, or in a write of its own."""


def hold(boundary: str, journal: Path) -> None:
    """Whoever comes to the boundary (`before:turns.end`, `after:ingest`) says so in the journal and stays there."""

    async def stay() -> Any:
        with journal.open("a") as lines:
            lines.write(f"{boundary}\n")
        await asyncio.Event().wait()

    if boundary == POST:
        Outbox._deliver = lambda *_: stay()  # type: ignore[method-assign]  # the point of this file
        return
    side, _, name = boundary.partition(":")
    targets, write_through = WRITES[name], Writer._queued

    async def held(self: Writer, queue: deque[Any], write: Write[Any, Any], args: Any) -> Any:
        if write not in targets:
            return await write_through(self, queue, write, args)
        if side == "after":
            await write_through(self, queue, write, args)
        return await stay()

    Writer._queued = held  # type: ignore[method-assign]  # the point of this file


if __name__ == "__main__":
    hold(sys.argv.pop(1), Path(sys.argv.pop(1)))
    cli.main()
