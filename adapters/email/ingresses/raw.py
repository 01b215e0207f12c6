"""A raw mail, posted by our own relay command, a Cloudflare worker or anything that can sign a request."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from urllib.parse import parse_qs

from adapters.email.ingresses.arrived import FROM_HEADER, TO_HEADER, Arrived, address_list, bare_address, delivery_key
from bridge.clock import Clock
from bridge.errors import Malformed, Unsupported, Unverified
from bridge.model import Envelope, Received
from bridge.signing import Scheme, Secret, Timestamp, secret_from_text, verify

STANDARD = Scheme(
    kind="hmac",
    signature=("header:webhook-signature",),
    parse="versions",
    encoding="base64",
    timestamp=Timestamp(place="header:webhook-timestamp"),
    sign=("header:webhook-id", "lit:.", "ts", "lit:.", "body"),
    key="base64",
    prefixes=("whsec_",),
    min_key_bytes=16,
)
"""Standard Webhooks 1.0."""

_TYPES = {"message/rfc822", "application/octet-stream", "text/plain", "message/global"}


def usable_secrets(scheme: Scheme, texts: Sequence[str]) -> list[Secret]:
    """Those of the configured secrets that can be a key of the scheme; any other serves as a bearer token only."""
    found = []
    for text in texts:
        try:
            found.append(secret_from_text(scheme, text))
        except ValueError:
            continue
    return found


def check_authorization(envelope: Envelope, secrets: Sequence[str]) -> None:
    """Accept one of the secrets as `Bearer secret` or, `user:password`, as basic authentication. Raises Unverified."""
    values = envelope.header_values("authorization")
    kind, _, given = (values[0] if len(values) == 1 else "").partition(" ")
    presented = given.strip().encode("utf-8", "surrogatepass")
    if kind.lower() == "basic":
        try:
            presented = base64.b64decode(presented, validate=True)
        except (binascii.Error, ValueError):
            presented = b""
    elif kind.lower() != "bearer":
        presented = b""
    matches = [hmac.compare_digest(presented, secret.encode()) for secret in secrets]
    if not any(matches):
        raise Unverified("The credentials are not those of this source.")


class RawIngress:
    """`message/rfc822` in the body; the envelope in `X-Envelope-From` and `-To`, or `from` and `to` of the query."""

    def __init__(self, secrets: Sequence[str], clock: Clock) -> None:
        self._texts = tuple(secrets)
        self._secrets = usable_secrets(STANDARD, secrets)
        self._clock = clock

    async def verify(self, envelope: Envelope) -> Received:
        """The signature covers the body; the envelope beside it routes replies but vouches for nothing."""
        if envelope.header_values("authorization"):
            check_authorization(envelope, self._texts)
        else:
            verify(STANDARD, self._secrets, envelope, self._clock.now())
        media_type = (envelope.header("content-type") or "message/rfc822").partition(";")[0].strip().lower()
        if media_type not in _TYPES:
            raise Unsupported(f"Post the mail as message/rfc822, not {media_type[:60]!r}.")
        if not envelope.body.strip():
            raise Malformed("The mail is empty. Post it as it came, headers first.")
        sender, recipients = _envelope(envelope)
        return Received(delivery_key=delivery_key(sender or "", *recipients, envelope.body), messages=None)

    async def open(self, envelope: Envelope) -> Arrived:
        sender, recipients = _envelope(envelope)
        return Arrived(raw=envelope.body, mail_from=sender, recipients=recipients)


def _envelope(envelope: Envelope) -> tuple[str | None, tuple[str, ...]]:
    query = parse_qs(envelope.query, keep_blank_values=True, max_num_fields=None)
    given_from = [*envelope.header_values(FROM_HEADER), *query.get("from", [])]
    given_to = [*envelope.header_values(TO_HEADER), *query.get("to", [])]
    recipients = tuple(address for value in given_to[:100] for address in address_list(value))
    return (bare_address(given_from[0]) if given_from else None), recipients
