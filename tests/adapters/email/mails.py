"""Mails as people, machines and attackers write them."""

import base64
from collections.abc import Mapping

from bridge.model import Envelope
from tests.signed_requests import NOW

SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
PASSED = "mx.example.com; dmarc=pass header.from=example.org"
PERSON = "Jane Roe <jane@example.org>"


def mail(body: str | bytes = "Hello agent", **headers: str | None) -> bytes:
    """A mail from an authenticated person; `None` leaves a header out, `_` in a name stands for `-`."""
    fields: dict[str, str | None] = {
        "Authentication-Results": PASSED,
        "From": PERSON,
        "To": "agent@example.com",
        "Subject": "A question",
        "Date": "Sun, 22 Nov 2026 12:00:00 +0000",
        "Message-ID": "<first@example.org>",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return head.encode() + b"\r\n" + (body.encode() if isinstance(body, str) else body)


def posted(raw: bytes, *, query: str = "", headers: Mapping[str, str] | None = None) -> Envelope:
    """A post to the raw ingress, with the secret as bearer token."""
    given = {"authorization": f"Bearer {SECRET}", "content-type": "message/rfc822", **(headers or {})}
    return Envelope(
        source="helpdesk",
        method="POST",
        path="/in/helpdesk",
        query=query,
        headers=tuple(given.items()),
        body=raw,
        received_at=NOW,
    )
