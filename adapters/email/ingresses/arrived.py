"""What every ingress makes of what it got: raw mail, its envelope, and what the provider vouches for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl

from adapters.email.headers import addresses
from adapters.email.identity import Verdict
from adapters.email.mime import Limits, TooComplex, leaves, parameters
from adapters.email.reports import Report
from bridge.digests import sha256
from bridge.errors import Malformed
from bridge.model import Envelope, Received

FROM_HEADER = "x-envelope-from"
TO_HEADER = "x-envelope-to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A mail as it reached us, and nothing that depends on the way it took."""

    raw: bytes
    mail_from: str | None = None
    """The envelope sender; empty for a bounce, None where the ingress does not tell."""
    recipients: tuple[str, ...] = ()
    verdict: Verdict | None = None


class Ingress(Protocol):
    """One way in."""

    async def verify(self, envelope: Envelope) -> Received:
        """Prove that the arrival is genuine. Raises ReceiveError only; no network but for a published key."""
        ...

    async def open(self, envelope: Envelope) -> Arrived | Sequence[Report]:
        """The mail in a verified arrival, or what it tells of mails we sent; empty if it holds neither.

        Raises Malformed, or Retryable where it must fetch.
        """
        ...


def delivery_key(*parts: str | bytes) -> str:
    """A name for a transport attempt that is the same for the same content."""
    pieces = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    return sha256(*(each for piece in pieces for each in (len(piece).to_bytes(8, "big"), piece)))


def bare_address(value: str) -> str:
    """The address in `<a@b>`, `a@b` or `Name <a@b>`, lower case; empty for the null sender or nonsense."""
    return next((found.address for found in addresses(value)), "")


def address_list(value: str) -> tuple[str, ...]:
    """All addresses in a comma-separated list."""
    return tuple(found.address for found in addresses(value))


def form_fields(envelope: Envelope) -> dict[str, bytes]:
    """The fields of a URL-encoded or multipart form, the last of a name. Raises Malformed."""
    declared = envelope.header("content-type") or ""
    kind = declared.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(
                envelope.body.decode("latin-1"), keep_blank_values=True, max_num_fields=500, encoding="latin-1"
            )
        except ValueError as error:
            raise Malformed("The form has too many fields.") from error
        return {name: value.encode("latin-1") for name, value in pairs}
    if kind != "multipart/form-data" or "boundary" not in parameters(declared):
        raise Malformed("Expected a form: application/x-www-form-urlencoded or multipart/form-data.")
    try:
        parts = leaves(f"Content-Type: {declared}\r\n\r\n".encode("latin-1", "replace") + envelope.body, Limits())
    except TooComplex as error:
        raise Malformed("The form has too many parts.") from error
    named = ((parameters(part.headers.first("content-disposition")).get("name", ""), part.body) for part in parts)
    return {name: body for name, body in named if name}


def as_text(raw: bytes | None) -> str:
    """A form field as text."""
    return (raw or b"").decode("utf-8", "replace")


def passing_dkim_domains(text: str) -> tuple[str, ...]:
    """The domains in SendGrid's `{@example.com : pass}`."""
    return tuple(domain.lower() for domain in re.findall(r"@([\w.-]{1,255})\s{0,5}:\s{0,5}pass", text))
