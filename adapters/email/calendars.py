"""What an invitation says, as text (RFC 5545): nothing in it is accepted or answered."""

import re
from collections.abc import Sequence

from adapters.email.mime import Part

MAX_BYTES = 256 * 1024
MAX_EVENTS = 5
_SHOWN = {
    "SUMMARY": "Title",
    "DTSTART": "Begins",
    "DTEND": "Ends",
    "DURATION": "Lasts",
    "LOCATION": "Place",
    "ORGANIZER": "Organizer",
    "DESCRIPTION": "Description",
    "COMMENT": "Comment",
}
_METHODS = {"REQUEST": "Invitation", "CANCEL": "Cancelled", "REPLY": "Reply to an invitation", "PUBLISH": "Event"}
_TELLS = re.compile(
    r".{1,150}\b(?:accepted|declined|replied \W?maybe\W? to) (?:this|your|the)(?: event)? invitation\W{0,3}",
    re.IGNORECASE,
)
"""What calendar programs write themselves where a person has answered by a click."""
_TIME = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})\d{0,2}(Z?))?")


def calendar_text(part: Part) -> str:
    """The events of a `text/calendar` part, one paragraph each; empty where it holds none. Never raises."""
    method, events = "", list[dict[str, str]]()
    for name, parameters, value in _lines(part.text()[:MAX_BYTES]):
        if name == "BEGIN" and value.upper() == "VEVENT":
            events.append({})
        elif name == "METHOD":
            method = value.upper()
        elif events and name in _SHOWN:
            events[-1].setdefault(name, _value(name, parameters, value))
    title = _METHODS.get(method, "Event")
    return "\n\n".join(_paragraph(title, event) for event in events[:MAX_EVENTS] if event)


def is_bare_reply(parts: Sequence[Part], written: str) -> bool:
    """Whether a calendar program answers an invitation (RFC 5546, 3.2.3) and nobody has added a word to it."""
    calendars = [part for part in parts if part.media_type == "text/calendar"]
    if not calendars or not all(map(_is_reply, calendars)):
        return False
    first, _, rest = written.strip().partition("\n")
    return not first or (
        bool(_TELLS.fullmatch(first.strip()[:300])) and (not rest.strip() or "calendar.google.com" in rest)
    )


def _is_reply(part: Part) -> bool:
    lines = _lines(part.text()[:MAX_BYTES])
    methods = [value.upper() for name, _, value in lines if name == "METHOD"]
    declared = part.parameters.get("method", "").strip().upper()
    commented = any(value for name, _, value in lines if name == "COMMENT")
    return (methods or [declared])[0] == "REPLY" and not commented


def _lines(text: str) -> list[tuple[str, str, str]]:
    """Name, parameters and value of each line, folded ones joined; what is inside an alarm is left out."""
    found, inside_alarm = [], False
    for line in re.sub(r"\r?\n[ \t]", "", text).splitlines():
        head, _, value = line.partition(":")
        name, _, parameters = head.partition(";")
        name = name.strip().upper()
        if name in {"BEGIN", "END"} and value.strip().upper() == "VALARM":
            inside_alarm = name == "BEGIN"
        elif not inside_alarm:
            found.append((name, parameters, value.strip()))
    return found


def _value(name: str, parameters: str, value: str) -> str:
    if name in {"DTSTART", "DTEND"}:
        return _time(parameters, value)
    if name == "ORGANIZER":
        return value.removeprefix("mailto:").removeprefix("MAILTO:")[:300]
    return re.sub(r"\\([,;\\])", r"\1", value.replace("\\n", "\n").replace("\\N", "\n"))[:4000].strip()


def _time(parameters: str, value: str) -> str:
    """`2026-11-24 09:00 (Europe/Berlin)`, or the value as it is."""
    match = _TIME.match(value)
    if match is None:
        return value[:100]
    year, month, day, hour, minute, utc = match.groups()
    zone = re.search(r"TZID=\"?([^;:\"]{1,60})", parameters, re.IGNORECASE)
    where = " UTC" if utc else f" ({zone.group(1)})" if zone and hour else ""
    return f"{year}-{month}-{day}" + (f" {hour}:{minute}{where}" if hour else "")


def _paragraph(title: str, event: dict[str, str]) -> str:
    shown = [f"{label}: {event[name]}" for name, label in _SHOWN.items() if event.get(name)]
    return "\n".join([f"[{title}]", *shown])
