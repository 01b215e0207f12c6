from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.units import bytes_from_text, duration_from_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("24h", 86400), ("7d", 604800), ("1h 30m", 5400), ("250ms", 0.25), (" 1.5 h ", 5400)],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert duration_from_text(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "m", "30 minutes", "-5m", 30, 1.5, None, True, "1h-", "٣m", "nan s", "1e9d"]
)
def test_times_without_a_clear_meaning_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="30m"):
        duration_from_text(text)


@pytest.mark.parametrize("text", ["36501d", "5300w", "999999999w", "876000h 1ms"])
def test_a_time_for_which_there_are_no_dates_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="36500 days at most"):
        duration_from_text(text)


@pytest.mark.parametrize(
    ("text", "size"), [(5, 5), ("5", 5), ("1 MiB", 1 << 20), ("1.5kB", 1500), ("25 mb", 25_000_000), ("1GiB", 1 << 30)]
)
def test_sizes_are_read(text: object, size: int) -> None:
    assert bytes_from_text(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1 XB", "-1", -1, 1.5, None, True, "1 MiB 2", "1e6"])
def test_sizes_without_a_clear_meaning_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="1 MiB"):
        bytes_from_text(text)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    for read in (duration_from_text, bytes_from_text):
        try:
            read(text)
        except ValueError:
            continue
