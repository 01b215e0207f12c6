"""Mail that comes over a connection of our own (LMTP, SMTP, IMAP): wrapped into envelopes, never taken from HTTP."""

from collections.abc import Sequence
from datetime import datetime

from adapters.email.ingresses.arrived import FROM_HEADER, TO_HEADER, Arrived, bare_address, delivery_key
from bridge.errors import Malformed, Unverified
from bridge.model import Envelope, Received

CUT_HEADER = "x-cut"
"""On a mail that was larger than what is stored of one: how large it was, in bytes."""


REFUSED_HEADER = "x-refused"
"""On what stands for a mail that its server does not give out: what the server says."""


def wrap(
    raw: bytes, *, source: str, ingress: str, mail_from: str | None, recipients: Sequence[str], at: datetime
) -> Envelope:
    """A mail as an envelope: the SMTP envelope and the way it came stand in headers of ours."""
    headers = [("x-ingress", ingress), ("content-type", "message/rfc822")]
    if mail_from is not None:
        headers.append((FROM_HEADER, f"<{mail_from}>"))
    headers += [(TO_HEADER, recipient) for recipient in recipients]
    return Envelope(
        source=source,
        method=ingress.upper(),
        path=f"/in/{source}",
        query="",
        headers=tuple(headers),
        body=raw,
        received_at=at,
    )


def received(key: str = "", *, envelope: Envelope) -> Received:
    """To be read later; without a better key, the same mail to the same recipients is the same delivery."""
    return Received(delivery_key=key or delivery_key(*envelope.header_values(TO_HEADER), envelope.body), messages=None)


class ConnectedIngress:
    """Opens what `wrap` made; refuses everything that arrives by HTTP."""

    async def verify(self, envelope: Envelope) -> Received:
        raise Unverified(f"Source {envelope.source} takes mail over its own connection, not over HTTP.")

    async def open(self, envelope: Envelope) -> Arrived:
        if (size := envelope.header(CUT_HEADER)) is not None:
            raise Malformed(f"The mail is too large ({size} bytes): max_body of the source says how large it may be.")
        if (said := envelope.header(REFUSED_HEADER)) is not None:
            raise Malformed(f"The mail server does not give out {envelope.body.decode()}: {said}")
        sender = envelope.header(FROM_HEADER)
        return Arrived(
            raw=envelope.body,
            mail_from=None if sender is None else bare_address(sender),
            recipients=tuple(filter(None, (bare_address(value) for value in envelope.header_values(TO_HEADER)))),
        )
