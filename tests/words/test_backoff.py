from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.backoff import LONGEST_WISH, STANDARD_WEBHOOKS, delay, scheduled

BASE, CAP = timedelta(seconds=2), timedelta(minutes=5)


def latest() -> float:
    return 0.999_999


def earliest() -> float:
    return 0.0


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (1000, 300)])
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, seconds: float) -> None:
    assert delay(attempt, base=BASE, cap=CAP, random=latest).total_seconds() == pytest.approx(seconds, rel=1e-4)
    assert delay(attempt, base=BASE, cap=CAP, random=earliest) == timedelta()


@given(
    attempt=st.integers(-5, 10**9),
    base=st.timedeltas(timedelta(), timedelta(days=400)),
    cap=st.timedeltas(timedelta(), timedelta(days=400)),
    after=st.none() | st.floats(),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_never_negative_nor_past_both_limits(
    attempt: int, base: timedelta, cap: timedelta, after: float | None, chance: float
) -> None:
    assert (
        timedelta() <= delay(attempt, base=base, cap=cap, after=after, random=lambda: chance) <= max(cap, LONGEST_WISH)
    )


@given(attempt=st.integers(1, 20), after=st.floats(0, 86_400))
def test_the_longer_of_wish_and_back_off_counts(attempt: int, after: float) -> None:
    assert delay(attempt, base=BASE, cap=CAP, after=after) >= timedelta(seconds=after)
    wait = scheduled(attempt, STANDARD_WEBHOOKS, after=after)
    assert wait is None or wait >= timedelta(seconds=after)


def test_a_wish_of_a_year_is_cut_to_a_day() -> None:
    assert delay(1, base=BASE, cap=CAP, after=3e7) == timedelta(days=1)


def test_the_schedule_gives_every_try_its_gap_and_then_ends() -> None:
    waits = [scheduled(attempt, STANDARD_WEBHOOKS, random=lambda: 0.5) for attempt in range(1, 11)]
    assert waits[:9] == [timedelta(seconds=seconds) for seconds in STANDARD_WEBHOOKS[1:]]
    assert waits[9] is None
    assert scheduled(10, STANDARD_WEBHOOKS, after=60) is None


@given(attempt=st.integers(1, 9), chance=st.floats(0, 1, exclude_max=True))
def test_scheduled_tries_are_spread_as_widely_as_they_are_apart(attempt: int, chance: float) -> None:
    wait = scheduled(attempt, STANDARD_WEBHOOKS, random=lambda: chance)
    assert wait is not None
    assert wait.total_seconds() == pytest.approx(STANDARD_WEBHOOKS[attempt] * (0.5 + chance), abs=1e-5)
