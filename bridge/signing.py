"""Verify and make signatures of requests, for any scheme that can be written as data.

What holds for every scheme: each security header stands exactly once, at most 16 signatures are
looked at, encodings are strict, every secret is compared with every signature in constant time and
without an early exit, and nothing but Unverified is raised, whatever the bytes are.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import parse_qsl, urlencode

from bridge.errors import Unverified
from bridge.model import Envelope, new_id
from bridge.signature_base import signed_by_message_signature, verify_message_signature
from bridge.signing_keys import Secret, decode, encode, make_signature, matches, secret_from_text
from bridge.signing_request import (
    MAX_FORM_FIELDS,
    check_is_fresh,
    is_form,
    only_value,
    refused,
    signed_content,
    timestamp_from_moment,
    timestamp_text,
    value_at_path,
    values_at,
)
from bridge.signing_scheme import Location, Scheme, Timestamp, location_from_text

__all__ = [
    "Location",
    "Scheme",
    "Secret",
    "Timestamp",
    "Verified",
    "location_from_text",
    "secret_from_text",
    "sign",
    "value_at_path",
    "values_at",
    "verify",
]

MAX_SIGNATURES = 16
MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class Verified:
    """Proof that a request is authentic: who signed, and the very bytes that were signed."""

    secret: Secret | None
    """None only where the scheme is `none`."""
    content: bytes


def verify(scheme: Scheme, secrets: Sequence[Secret], envelope: Envelope, now: datetime) -> Verified:
    """Prove that one of `secrets` made the request's signature. Raises Unverified and nothing else.

    No secret, or none that is active now, verifies nothing.
    """
    try:
        if scheme.kind == "none":
            return Verified(None, b"")
        active = [secret for secret in secrets if secret.is_active(now)]
        if scheme.kind == "rfc9421":
            return Verified(*verify_message_signature(scheme, active, envelope, now))
        return _verify(scheme, active, envelope, now)
    except Unverified:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        # A parser met bytes it does not know. They come from a stranger, so this is a refusal, not a fault.
        raise refused("encoding") from error


def sign(scheme: Scheme, secrets: Sequence[Secret], envelope: Envelope, now: datetime) -> Envelope:
    """The same request with everything on it that `verify` asks for. ValueError where a secret cannot sign.

    Where the scheme can carry several signatures, every active secret signs; else the first. A signed
    header that is missing is made up (a new id). Repeating it gives a fresh timestamp and nothing else.
    """
    active = [secret for secret in secrets if secret.is_active(now)]
    if scheme.kind == "none":
        return envelope
    if not active:
        raise ValueError("no secret is active now, so nothing can be signed")
    if scheme.kind == "rfc9421":
        return signed_by_message_signature(scheme, active[0], envelope, now)
    stamp = timestamp_from_moment(scheme.timestamp, now) if scheme.timestamp else ""
    envelope = _prepared(scheme, envelope, stamp)
    content = signed_content(scheme, envelope, stamp) if scheme.kind != "token" else b""
    several = active if scheme.parse in {"pairs", "versions"} else active[:1]
    signatures = [
        encode(scheme.encoding, make_signature(scheme.kind, scheme.algorithm, secret, content)) for secret in several
    ]
    return _placed(envelope, scheme.locations[0], _written(scheme, stamp, signatures))


def _verify(scheme: Scheme, active: Sequence[Secret], envelope: Envelope, now: datetime) -> Verified:
    text = only_value(tuple(value for place in scheme.locations for value in values_at(envelope, place)))
    candidates, fields = _candidates(scheme, text)
    signatures = [raw for candidate in candidates if (raw := decode(scheme.encoding, candidate)) is not None]
    if not signatures:
        raise refused("encoding")
    stamp = timestamp_text(scheme.timestamp, envelope, fields) if scheme.timestamp else ""
    content = signed_content(scheme, envelope, stamp) if scheme.kind != "token" else b""
    found = None
    for secret in active:
        if matches(scheme.kind, scheme.algorithm, secret, content, signatures):
            found = secret
    if found is None:
        raise refused("mismatch")
    if scheme.timestamp:
        check_is_fresh(scheme.timestamp, stamp, now)
    if scheme.body_sha256_query and not is_form(envelope):
        _check_body_hash(scheme.body_sha256_query, envelope)
    return Verified(found, content)


def _candidates(scheme: Scheme, text: str) -> tuple[list[str], dict[str, str]]:
    """The signatures in a header, still encoded, and what else a header of pairs says."""
    fields: dict[str, str] = {}
    match scheme.parse:
        case "whole":
            found = [text]
        case "prefix":
            found = [text[len(scheme.prefix) :]] if _has_prefix(scheme.prefix, text) else []
        case "pairs":
            found, fields = _pairs(scheme, text)
        case "versions":
            entries = text.split(" ", MAX_FIELDS)
            found = [rest for version, comma, rest in (e.partition(",") for e in entries) if version == scheme.version]
    if not 0 < len(found) <= MAX_SIGNATURES:
        raise refused("header")
    return found, fields


def _has_prefix(prefix: str, text: str) -> bool:
    # An authentication scheme such as "Bearer " is case-insensitive (RFC 9110, 11.1); "sha256=" is not.
    start = text[: len(prefix)]
    return start == prefix or (prefix.endswith(" ") and start.lower() == prefix.lower())


def _pairs(scheme: Scheme, text: str) -> tuple[list[str], dict[str, str]]:
    """The signatures and the timestamp in a header such as `t=…,v1=…,v0=…`; fields nobody asked for are skipped."""
    entries = text.split(scheme.separator, MAX_FIELDS)
    found: list[str] = []
    fields: dict[str, str] = {}
    wanted = scheme.timestamp.location.name if scheme.timestamp else ""
    for entry in entries:
        name, _, value = entry.partition("=")
        name = name.strip(" ")
        if name == scheme.signature_key:
            found.append(value)
        elif name == wanted:
            if name in fields:
                raise refused("header")  # which of two timestamps was signed must not be a question
            fields[name] = value
    if len(entries) > MAX_FIELDS:
        raise refused("header")
    return found, fields


def _check_body_hash(parameter: str, envelope: Envelope) -> None:
    hashes = values_at(envelope, Location("query", parameter))
    if not hashes and not envelope.body:
        return
    expected = hashlib.sha256(envelope.body).hexdigest()
    if not hmac.compare_digest(expected.encode(), only_value(hashes).lower().encode()):
        raise refused("body")


def _prepared(scheme: Scheme, envelope: Envelope, stamp: str) -> Envelope:
    """The request with all that is signed in place: the timestamp, ids, the hash of the body."""
    if scheme.timestamp and scheme.timestamp.location.place != "field":
        envelope = _placed(envelope, scheme.timestamp.location, stamp)
    if scheme.body_sha256_query and envelope.body and not is_form(envelope):
        digest = hashlib.sha256(envelope.body).hexdigest()
        envelope = _placed(envelope, Location("query", scheme.body_sha256_query), digest)
    for part in scheme.parts:
        if part.kind in {"header", "json"}:
            location = Location("header" if part.kind == "header" else "json", part.name)
            if not values_at(envelope, location):
                envelope = _placed(envelope, location, new_id("msg"))
    return envelope


def _written(scheme: Scheme, stamp: str, signatures: Sequence[str]) -> str:
    match scheme.parse:
        case "whole":
            return signatures[0]
        case "prefix":
            return scheme.prefix + signatures[0]
        case "versions":
            return " ".join(f"{scheme.version},{signature}" for signature in signatures)
        case "pairs":
            fields = [f"{scheme.signature_key}={signature}" for signature in signatures]
            if scheme.timestamp and scheme.timestamp.location.place == "field":
                fields.insert(0, f"{scheme.timestamp.location.name}={stamp}")
            return scheme.separator.join(fields)


def _placed(envelope: Envelope, location: Location, value: str) -> Envelope:
    """The request with one value set, in place of any that stood there."""
    match location.place:
        case "header":
            others = tuple(pair for pair in envelope.headers if pair[0] != location.name)
            return replace(envelope, headers=(*others, (location.name, value)))
        case "query":
            pairs = parse_qsl(envelope.query, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
            others_in_query = [pair for pair in pairs if pair[0] != location.name]
            return replace(envelope, query=urlencode([*others_in_query, (location.name, value)]))
        case _:
            return replace(envelope, body=_with_value(envelope.body, location.name.split("."), value))


def _with_value(body: bytes, path: Sequence[str], value: str) -> bytes:
    document = json.loads(body or b"{}")
    *parents, last = path
    here = document
    for name in parents:
        here = here.setdefault(name, {}) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        raise ValueError(f"the body must be a JSON object that can hold {'.'.join(path)!r}")  # noqa: TRY004 - sign's contract
    here[last] = int(value) if value.isdecimal() else value
    return json.dumps(document).encode()
