"""Starts the bridge in a process whose clock is wrong by so many seconds, as a machine's clock can be."""

import sys
import time
from datetime import UTC, datetime, timedelta

from bridge import cli
from bridge.clock import SystemClock


def skew(seconds: float) -> None:
    """Both clocks of the process: the one the bridge reads, and the one it compares with the database's."""
    true_time = time.time

    def now(self: SystemClock) -> datetime:  # noqa: ARG001 - a method in the making
        return datetime.now(UTC) + timedelta(seconds=seconds)

    SystemClock.now = now  # type: ignore[method-assign]  # the point of this file
    time.time = lambda: true_time() + seconds


if __name__ == "__main__":
    skew(float(sys.argv.pop(1)))
    cli.main()
