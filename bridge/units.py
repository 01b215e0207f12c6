"""Times and sizes as people write them: "30m", "1 MiB"."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator

_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_BYTES: Final = {
    "": 1,
    "B": 1,
    "kB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1_024,
    "MiB": 1_048_576,
    "GiB": 1_073_741_824,
}
LONGEST: Final = timedelta(days=36_500)
"""A century: there are dates for so long before now, and for so long after it."""
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d|w)\s*", re.ASCII)
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]*)", re.ASCII)


def duration_from_text(text: object) -> timedelta:
    """A time with its units, from the largest: "30m", "1h 30m", "7d". Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    # A bare number is refused: nobody can tell later whether it meant seconds or minutes.
    if not isinstance(text, str) or not re.fullmatch(rf"(?:{_PART.pattern})+", text.strip(), re.ASCII):
        raise ValueError('write a time with its unit (ms, s, m, h, d, w), such as "30m" or "1h 30m"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if seconds > LONGEST.total_seconds():
        raise ValueError(f'should be {LONGEST.days} days at most: "{LONGEST.days}d"')
    return timedelta(seconds=seconds)


def bytes_from_text(text: object) -> int:
    """A size in bytes, or with its unit: 65536, "64 KiB", "25 MB". Raises ValueError."""
    match = _SIZE.fullmatch(str(text).strip()) if isinstance(text, str | int) and not isinstance(text, bool) else None
    factor = {name.lower(): value for name, value in _BYTES.items()}.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError('write a size in bytes or with its unit (kB, KiB, MB, MiB, GB, GiB), such as "1 MiB"')
    return int(float(match[1]) * factor)


Duration = Annotated[timedelta, BeforeValidator(duration_from_text)]
Size = Annotated[int, BeforeValidator(bytes_from_text)]
