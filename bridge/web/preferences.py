"""`Prefer` (RFC 7240): how long a caller would wait for the result."""

from collections.abc import Iterable


def wanted_wait(values: Iterable[str]) -> int | None:
    """The seconds of `wait`, or None where no such preference can be read. The first one counts (section 2)."""
    for value in values:
        for preference in value.split(","):
            name, _, given = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "wait":
                seconds = given.strip().strip('"').strip()
                # Bounded before it becomes a number; whatever is larger is capped anyway.
                return int(seconds[:6]) if seconds.isascii() and seconds.isdecimal() else None
    return None


def wants_stream(values: Iterable[str]) -> bool:
    """Whether `Accept` names the media type of server-sent events."""
    names = (part.partition(";")[0].strip().lower() for value in values for part in value.split(","))
    return "text/event-stream" in names
