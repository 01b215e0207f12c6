"""Which message a request is: the same for every copy of it, and hard to change for whoever replays one."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.webhook.cloudevents import event_key
from adapters.webhook.document import Document
from bridge.errors import Malformed
from bridge.model import Envelope
from bridge.signing import Location, Scheme, Verified, location_from_text, value_at_path, values_at

MAX_ID_CHARS = 255
EACH_ARRIVAL = "arrival"
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")


@dataclass(frozen=True, slots=True)
class Identity:
    """The key of the message and the key of this transport attempt."""

    message_key: str
    delivery_key: str


class IdentityRule:
    """Where a source's requests carry their id, and whether a copy could carry another.

    An id that the signature covers, or that the operator named himself, is the message's identity. One
    that merely stands beside a signature (X-GitHub-Delivery) tells transport attempts apart, but whoever
    replays a captured request could change it: there the signed bytes are the message's identity. Where those tell
    the time of the try and no id stands beside them, the body is: a sender that tries again signs anew. With
    no signature at all (tokens), the id is taken, else the body's digest: a sender without ids may repeat
    a request, and the same words again are then the same message. The place `arrival` says that this
    sender never repeats itself, so that each arrival without an id is a message of its own.
    """

    def __init__(self, scheme: Scheme, places: Sequence[str], *, is_configured: bool) -> None:
        self._locations = tuple(location_from_text(place) for place in places if place != EACH_ARRIVAL)
        self._never_repeats = EACH_ARRIVAL in places
        self._scheme = scheme
        self._has_signature = scheme.kind not in {"token", "none"}
        dated = scheme.kind == "rfc9421" or any(part.kind == "ts" for part in scheme.parts)
        self._signs_each_try = dated and scheme.covers_body
        self._trusted = tuple(
            (location, is_configured or not self._has_signature or self._is_signed(location))
            for location in self._locations
        )

    def identify(self, envelope: Envelope, content: Any, verified: Verified | None) -> Identity:
        """Raises Malformed where an Idempotency-Key cannot be one."""
        for location, trusted in self._trusted:
            value = _value(envelope, content, location)
            if value:
                key = bounded(value)
                return Identity(key if trusted else self._fallback(envelope, verified), key)
        idempotency_key = idempotency_key_of(envelope)
        if self._never_repeats and idempotency_key is None:
            key = _digest(envelope, envelope.received_at.isoformat())
            return Identity(key, key)
        by_proof = self._has_signature and not (self._signs_each_try and idempotency_key is None)
        fallback = self._fallback(envelope, verified if by_proof else None)
        if idempotency_key is None:
            return Identity(fallback, fallback)
        return Identity(fallback if self._has_signature else idempotency_key, idempotency_key)

    def of_part(self, identity: Identity, document: Document, at: int | None) -> str:
        """The message key of one document: a CloudEvent's own identity where it can be believed, else by position."""
        if document.event and (document.is_signed_event or not self._has_signature):
            return bounded(event_key(document.event))
        return identity.message_key if at is None else f"{identity.message_key}:{at}"

    def _fallback(self, envelope: Envelope, verified: Verified | None) -> str:
        """A digest of what was signed; without a signature, of what was said (the query belongs to it).

        A form with files is read again later, without its proof: its body stands for what was signed then, and a
        query that no signature covers makes no other message of it.
        """
        if verified is not None and verified.content:
            return f"sha256:{hashlib.sha256(verified.content).hexdigest()}"
        if self._scheme.covers_body and not self._scheme.signs_url:
            return f"sha256:{hashlib.sha256(envelope.body).hexdigest()}"
        return _digest(envelope)

    def _is_signed(self, location: Location) -> bool:
        if location.place == "json" and self._scheme.covers_body:
            return True
        return any(part.kind == location.place and part.name == location.name for part in self._scheme.parts)


def idempotency_key_of(envelope: Envelope) -> str | None:
    """The Idempotency-Key, with or without the quotes that the draft standard asks for; None without one."""
    values = envelope.header_values("idempotency-key")
    if not values:
        return None
    value = values[0].strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if len(values) > 1 or not _PLAIN.fullmatch(value) or len(value) > MAX_ID_CHARS:
        raise Malformed(
            f"Idempotency-Key must stand once and hold 1 to {MAX_ID_CHARS} printable ASCII characters, such as a UUID."
        )
    return value


def _value(envelope: Envelope, content: Any, location: Location) -> str | None:
    if location.place == "json":
        return value_at_path(content, location.name)
    values = values_at(envelope, location)
    return values[0] if len(values) == 1 else None


def _digest(envelope: Envelope, *more: str) -> str:
    head = "\n".join((*more, envelope.query, ""))
    return f"sha256:{hashlib.sha256(head.encode('utf-8', 'replace') + envelope.body).hexdigest()}"


def bounded(value: str) -> str:
    """The id itself where it is short and printable, else a digest of it."""
    if len(value) <= MAX_ID_CHARS and _PLAIN.fullmatch(value):
        return value
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"
