"""SendGrid's Inbound Parse with "POST the raw, full MIME message", under a security policy that signs it."""

import json
from collections.abc import Sequence

from adapters.email.identity import Verdict
from adapters.email.ingresses.arrived import (
    Arrived,
    as_text,
    bare_address,
    delivery_key,
    form_fields,
    passing_dkim_domains,
)
from adapters.email.ingresses.events import sendgrid_reports
from adapters.email.reports import Report
from bridge.clock import Clock
from bridge.errors import Malformed
from bridge.model import Envelope, Received, Reply
from bridge.signing import Scheme, Timestamp, secret_from_text, verify

SCHEME = Scheme(
    kind="ecdsa-p256",
    algorithm="ecdsa-p256",
    signature=("header:x-twilio-email-event-webhook-signature",),
    encoding="base64",
    timestamp=Timestamp(place="header:x-twilio-email-event-webhook-timestamp"),
    sign=("ts", "body"),
    key="base64",
)
"""ECDSA over the timestamp and the exact bytes of the form."""


class SendGridIngress:
    """Its SPF and DKIM results say nothing of alignment, so that is judged here.

    The event webhook, which tells what became of our mails, is signed alike, with a key of its own.
    """

    def __init__(self, public_keys: Sequence[str], clock: Clock) -> None:
        self._keys = [secret_from_text(SCHEME, key) for key in public_keys if key]
        self._clock = clock

    async def verify(self, envelope: Envelope) -> Received:
        verify(SCHEME, self._keys, envelope, self._clock.now())
        if (reports := _reports(envelope)) is not None:
            return Received(
                delivery_key=delivery_key(envelope.body), messages=None if reports else (), reply=Reply(status=200)
            )
        fields = form_fields(envelope)
        if "email" not in fields:
            raise Malformed('No raw mail: check "POST the raw, full MIME message" for this host.')
        return Received(
            delivery_key=delivery_key(fields["email"], fields.get("envelope", b"")), messages=None, reply=Reply()
        )

    async def open(self, envelope: Envelope) -> Arrived | Sequence[Report]:
        if (reports := _reports(envelope)) is not None:
            return reports
        fields = form_fields(envelope)
        try:
            sent = json.loads(fields.get("envelope", b"{}"))
        except (ValueError, RecursionError):
            sent = {}
        sent = sent if isinstance(sent, dict) else {}
        mail_from = bare_address(str(sent.get("from", "")))
        to = sent.get("to")
        spf = mail_from.rpartition("@")[2] if as_text(fields.get("SPF")).strip().lower() == "pass" else ""
        return Arrived(
            raw=fields.get("email", b""),
            mail_from=mail_from if "from" in sent else None,
            recipients=tuple(filter(None, (bare_address(str(each)) for each in to[:100])))
            if isinstance(to, list)
            else (),
            verdict=Verdict(
                by="provider", dkim_domains=passing_dkim_domains(as_text(fields.get("dkim"))), spf_domain=spf
            ),
        )


def _reports(envelope: Envelope) -> tuple[Report, ...] | None:
    """What a batch of events tells, or None where it is a form with a mail."""
    kind = (envelope.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return None
    try:
        events = json.loads(envelope.body)
    except (ValueError, RecursionError) as error:
        raise Malformed("The body is no JSON.") from error
    if not isinstance(events, list):
        raise Malformed("The body is no JSON list.")
    return sendgrid_reports(events)
