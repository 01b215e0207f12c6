"""How far the database's clock is from this machine's, however that is set meanwhile."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, text

from bridge.store.pulse import uptime

_UNSURE: Final = timedelta(milliseconds=20)
"""A difference below this may as well be the time the question took."""


@dataclass(frozen=True, slots=True)
class Skew:
    """What was measured, and when this machine had started by its own clock: setting that moves its start."""

    ahead: timedelta
    """So far the database was ahead."""
    started: float

    @property
    def now(self) -> timedelta:
        """How far the database is ahead of this machine's clock, which may have been set since it was measured."""
        return self.ahead - _certain(timedelta(seconds=_started() - self.started))


def skew(connection: Connection) -> Skew:
    """Ask the database for the time."""
    before = time.time()
    database = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    ahead = timedelta(seconds=database - (before + time.time()) / 2)
    return Skew(_certain(ahead), _started())


def _started() -> float:
    return time.time() - uptime()


def _certain(difference: timedelta) -> timedelta:
    return difference if abs(difference) > _UNSURE else timedelta(0)
