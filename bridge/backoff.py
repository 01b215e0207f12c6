"""When to try again. Pure: the caller owns the clock and the count."""

import random as _random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

LONGEST_WISH: Final = timedelta(hours=24)
"""A Retry-After beyond this is a mistake or a trap."""

STANDARD_WEBHOOKS: Final[tuple[float, ...]] = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before each attempt, counted from the failure of the one before (Standard Webhooks 1.0):
at once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h; some three days and four hours in all."""

Random = Callable[[], float]
"""A number from 0 up to, not including, 1."""


def delay(
    attempt: int,
    *,
    base: timedelta,
    cap: timedelta,
    after: float | None = None,
    random: Random = _random.random,
) -> timedelta:
    """How long to wait after the failure of try number `attempt`, the first being 1.

    Exponential with full jitter: anything up to `base * 2 ** (attempt - 1)`, at most `cap`. The
    platform's own wish (`after`, the seconds of a Retry-After) counts where it is longer.
    """
    doubled = base.total_seconds() * 2.0 ** min(max(attempt - 1, 0), 1000)
    ceiling = min(cap.total_seconds(), doubled)
    return max(timedelta(seconds=ceiling * random()), _wish(after))


def scheduled(
    attempt: int,
    schedule: Sequence[float],
    *,
    after: float | None = None,
    random: Random = _random.random,
) -> timedelta | None:
    """How long to wait after the failure of try number `attempt`, or None once the schedule has ended.

    `schedule` holds the seconds before each try, the first included. Full jitter, laid around the plan instead
    of below it: between half and one and a half of it, so that what failed together does not return together, and
    the whole still lasts as long as the schedule promises. A wish (`after`) can delay a try; it never grants
    one more than the schedule has.
    """
    if attempt >= len(schedule):
        return None
    planned = timedelta(seconds=schedule[max(attempt, 0)])
    return max(planned * (0.5 + random()), _wish(after))


def _wish(after: float | None) -> timedelta:
    # The comparison is false for NaN too.
    if after is None or not after > 0:
        return timedelta()
    return timedelta(seconds=min(after, LONGEST_WISH.total_seconds()))
