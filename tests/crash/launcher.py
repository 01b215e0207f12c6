"""Starts the bridge in a process of its own that stands still at one boundary, so that SIGKILL hits exactly there.

The product knows nothing of it: here, in the child process alone, the writer is wrapped from outside.
"""

import asyncio
import sys
from collections import deque
from pathlib import Path
from typing import Any

from bridge import cli
from bridge.store import deliveries, ingest, turns
from bridge.store.writer import Write, Writer

WRITES: dict[str, Write[Any, Any]] = {
    "ingest": ingest.INGEST,
    "turns.take": turns.TAKE,
    "turns.note_task": turns.NOTE_TASK,
    "turns.end": turns.END,
    "deliveries.begin": deliveries.BEGIN,
    "deliveries.end": deliveries.END,
}


def hold(boundary: str, journal: Path) -> None:
    """Whoever comes to the boundary (`before:turns.end`, `after:ingest`) says so in the journal and stays there."""
    side, _, name = boundary.partition(":")
    target, write_through = WRITES[name], Writer._queued

    async def held(self: Writer, queue: deque[Any], write: Write[Any, Any], args: Any) -> Any:
        if write is not target:
            return await write_through(self, queue, write, args)
        if side == "after":
            await write_through(self, queue, write, args)
        with journal.open("a") as lines:
            lines.write(f"{boundary}\n")
        return await asyncio.Event().wait()

    Writer._queued = held  # type: ignore[method-assign]  # the point of this file


if __name__ == "__main__":
    hold(sys.argv.pop(1), Path(sys.argv.pop(1)))
    cli.main()
