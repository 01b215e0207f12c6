"""Starts the bridge in a process that freezes itself (SIGSTOP) right before or after a write, once.

The product knows nothing of it: here, in the child process alone, the writer is wrapped from outside.
"""

import os
import signal
import sys
from collections import deque
from typing import Any

from sqlalchemy import Connection

from bridge import cli
from bridge.outbox import Outbox
from bridge.store.deliveries import Delivery
from bridge.store.writer import Write, Writer
from tests.crash.launcher import POST, WRITES


def freeze(boundary: str) -> None:
    """Freeze at a boundary like `after:turns.end`: not one line runs between the commit and the freeze.

    `before:` is before the write is handed over, and it is the first thing that happens after the thaw. `within:` is
    in the middle of the transaction, when all has been said but COMMIT.
    """
    if boundary == POST:
        _freeze_before_the_post()
        return
    side, _, name = boundary.partition(":")
    if side == "within":
        _freeze_within(WRITES[name])
        return
    targets, write_through = WRITES[name], Writer._queued
    left: list[Any] = list(targets)

    async def frozen(self: Writer, queue: deque[Any], write: Write[Any, Any], args: Any) -> Any:
        if side == "before" and write in left:
            _stop(left)
        outcome = await write_through(self, queue, write, args)
        if write in left and outcome is not None:
            _stop(left)
        return outcome

    Writer._queued = frozen  # type: ignore[method-assign]  # the point of this file


def _freeze_within(targets: tuple[Write[Any, Any], ...]) -> None:
    state, left = Writer._statements, list(targets)

    def frozen(self: Writer, connection: Connection, batch: list[Any]) -> None:
        state(self, connection, batch)
        if any(waiting.write in left for waiting in batch):
            _stop(left)

    Writer._statements = frozen  # type: ignore[method-assign]  # the point of this file


def _freeze_before_the_post() -> None:
    deliver, left = Outbox._deliver, [POST]

    async def frozen(self: Outbox, delivery: Delivery) -> Any:
        if left:
            _stop(left)
        return await deliver(self, delivery)

    Outbox._deliver = frozen  # type: ignore[method-assign]  # the point of this file


def _stop(left: list[Any]) -> None:
    left.clear()
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    freeze(sys.argv.pop(1))
    cli.main()
