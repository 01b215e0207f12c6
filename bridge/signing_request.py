"""Reading single values out of a request that nobody has verified yet.

Everything here may be hostile: what cannot be read raises Unverified and nothing else.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from bridge.errors import Unverified
from bridge.model import Envelope
from bridge.signing_scheme import Location, Part, Scheme, Timestamp

MESSAGE = "The request could not be verified. Check the secret, the signature headers and the sender's clock."
MAX_HEADER_CHARS = 8192
MAX_FORM_FIELDS = 1000

_DIGITS = re.compile(r"[0-9]{1,14}")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def refused(reason: str) -> Unverified:
    """The one answer to everything that does not verify; only `reason` differs, and that stays with us."""
    return Unverified(MESSAGE, reason=reason)


def values_at(envelope: Envelope, location: Location) -> tuple[str, ...]:
    """Every value that stands at a place; a repeated header or parameter gives several."""
    match location.place:
        case "header":
            return envelope.header_values(location.name)
        case "query":
            pairs = parse_qsl(envelope.query, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
            return tuple(value for name, value in pairs if name == location.name)
        case "json":
            value = value_at_path(json_body(envelope), location.name)
            return () if value is None else (value,)
    return ()


def json_body(envelope: Envelope) -> Any:
    """The body as JSON, or a refusal: a scheme that keeps its values in the body needs one it can read."""
    try:
        return json.loads(envelope.body)
    except (ValueError, RecursionError):
        raise refused("body") from None


def value_at_path(document: Any, path: str) -> str | None:
    """The text or whole number at a dotted path, as text; None for everything else."""
    for name in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    if isinstance(document, int) and not isinstance(document, bool):
        return str(document) if abs(document) < 10**15 else None
    return document if isinstance(document, str) else None


def timestamp_text(timestamp: Timestamp, envelope: Envelope, fields: dict[str, str]) -> str:
    """The timestamp exactly as it was sent: these characters were signed, not the number they mean."""
    location = timestamp.location
    if location.place == "field":
        text = fields.get(location.name)
        if text is None:
            raise refused("header")
        return text
    return only_value(values_at(envelope, location))


def only_value(values: tuple[str, ...]) -> str:
    """Exactly one, of a sane length: two signature headers are an attempt to be read differently downstream."""
    if len(values) != 1 or not 0 < len(values[0]) <= MAX_HEADER_CHARS:
        raise refused("header")
    return values[0]


def check_is_fresh(timestamp: Timestamp, text: str, now: datetime) -> None:
    """Refuse a timestamp that is malformed or too far from `now`, in either direction."""
    if abs(_moment(timestamp, text) - now) > timedelta(seconds=timestamp.tolerance):
        raise refused("stale")


def timestamp_from_moment(timestamp: Timestamp, now: datetime) -> str:
    """How this scheme writes `now`."""
    match timestamp.unit:
        case "s":
            return str(int(now.timestamp()))
        case "ms":
            return str(int(now.timestamp() * 1000))
        case "iso":
            return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(timestamp: Timestamp, text: str) -> datetime:
    if timestamp.unit == "iso":
        if not _ISO.fullmatch(text):
            raise refused("stale")
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            raise refused("stale") from None
    # int() would take spaces, underscores, signs and any alphabet's digits; senders write none of them.
    if not _DIGITS.fullmatch(text):
        raise refused("stale")
    try:
        return _EPOCH + timedelta(seconds=int(text) / (1000 if timestamp.unit == "ms" else 1))
    except OverflowError:
        raise refused("stale") from None


def signed_content(scheme: Scheme, envelope: Envelope, stamp: str) -> bytes:
    """The bytes the sender signed. A body that is signed alone is not copied."""
    parts = scheme.parts
    if len(parts) == 1:
        return _READERS[parts[0].kind](parts[0], scheme, envelope, stamp)
    return b"".join([_READERS[part.kind](part, scheme, envelope, stamp) for part in parts])


def wire(text: str) -> bytes:
    """A header's text as the bytes that travelled; HTTP servers hand headers on as Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def public_url(scheme: Scheme, envelope: Envelope) -> str:
    """Our address as the sender knows it: from the configuration, never from Host or X-Forwarded headers."""
    assert scheme.public_url is not None, "resolve_scheme refuses a scheme that signs the URL without public_url"
    return f"{scheme.public_url}?{envelope.query}" if envelope.query else scheme.public_url


def is_form(envelope: Envelope) -> bool:
    """Whether the body is declared as a URL-encoded form."""
    declared = envelope.header("content-type") or ""
    return declared.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"


def _sorted_form(scheme: Scheme, envelope: Envelope) -> bytes:
    """Twilio's rule: every distinct field, sorted, name and value run together.

    A body that is no form is not covered by it; then only its hash in the signed URL can vouch for it.
    """
    if not is_form(envelope):
        if envelope.body and scheme.body_sha256_query is None:
            raise refused("body")
        return b""
    try:
        pairs = parse_qsl(
            envelope.body.decode(),
            keep_blank_values=True,
            max_num_fields=MAX_FORM_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise refused("body") from None
    return "".join(name + value for name, value in sorted(set(pairs))).encode()


_READERS: Mapping[str, Callable[[Part, Scheme, Envelope, str], bytes]] = {
    "lit": lambda part, _scheme, _envelope, _stamp: part.literal,
    "ts": lambda _part, _scheme, _envelope, stamp: wire(stamp),
    "body": lambda _part, _scheme, envelope, _stamp: envelope.body,
    "header": lambda part, _scheme, envelope, _stamp: wire(only_value(envelope.header_values(part.name))),
    "json": lambda part, _scheme, envelope, _stamp: wire(only_value(values_at(envelope, Location("json", part.name)))),
    "method": lambda _part, _scheme, envelope, _stamp: wire(envelope.method),
    "url": lambda _part, scheme, envelope, _stamp: wire(public_url(scheme, envelope)),
    "url_unquoted": lambda _part, scheme, envelope, _stamp: unquote_to_bytes(public_url(scheme, envelope)),
    "form_sorted": lambda _part, scheme, envelope, _stamp: _sorted_form(scheme, envelope),
}
