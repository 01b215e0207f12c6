"""Mailgun's route action `forward("…/mime")`: the raw mail in a form, signed by a token that does not cover it."""

from collections.abc import Sequence
from dataclasses import replace

from adapters.email.ingresses.arrived import Arrived, as_text, bare_address, form_fields
from adapters.email.ingresses.events import Fields, mailgun_reports
from adapters.email.ingresses.postmark import json_object
from adapters.email.ingresses.raw import usable_secrets
from adapters.email.reports import Report
from bridge.clock import Clock
from bridge.errors import Malformed
from bridge.model import Envelope, Received, Reply
from bridge.signing import Scheme, Timestamp, verify

SCHEME = Scheme(
    kind="hmac",
    signature=("header:x-signature",),
    timestamp=Timestamp(place="header:x-timestamp", tolerance=300),
    sign=("ts", "header:x-token"),
)
"""HMAC-SHA256 of timestamp and token with the signing key (not the API key); both travel in the form."""


class MailgunIngress:
    """Mail comes as a form, what became of ours as JSON.

    The token is the delivery key: whoever replays it with another body is a copy of what is stored.
    """

    def __init__(self, secrets: Sequence[str], clock: Clock) -> None:
        self._secrets = usable_secrets(SCHEME, secrets)
        self._clock = clock

    async def verify(self, envelope: Envelope) -> Received:
        event = _event(envelope)
        fields = form_fields(envelope) if event is None else _signature(event)
        signed = tuple(
            (f"x-{name}", as_text(fields[name])) for name in ("timestamp", "token", "signature") if name in fields
        )
        verify(SCHEME, self._secrets, replace(envelope, headers=signed), self._clock.now())
        if event is not None and not _reports(event):
            return Received(reply=Reply(status=200))  # delivered, opened, and so on
        if event is None and "body-mime" not in fields:
            raise Malformed("No raw mail: end the route's URL in /mime, so that Mailgun posts body-mime.")
        return Received(delivery_key=as_text(fields["token"]), messages=None, reply=Reply(status=200))

    async def open(self, envelope: Envelope) -> Arrived | Sequence[Report]:
        if (event := _event(envelope)) is not None:
            return _reports(event)
        fields = form_fields(envelope)
        recipients = tuple(filter(None, (bare_address(part) for part in as_text(fields.get("recipient")).split(","))))
        return Arrived(
            raw=fields.get("body-mime", b""),
            mail_from=bare_address(as_text(fields["sender"])) if "sender" in fields else None,
            recipients=recipients,
        )


def _event(envelope: Envelope) -> Fields | None:
    """What a webhook of Mailgun's says, or None where it is a route that forwards a mail."""
    kind = (envelope.header("content-type") or "").partition(";")[0].strip().lower()
    return json_object(envelope.body) if kind == "application/json" else None


def _signature(event: Fields) -> dict[str, bytes]:
    found = event.get("signature")
    values = found.items() if isinstance(found, dict) else ()
    return {name: str(value).encode("utf-8", "replace") for name, value in values}


def _reports(event: Fields) -> tuple[Report, ...]:
    data = event.get("event-data")
    return mailgun_reports(data) if isinstance(data, dict) else ()
