"""Postmark's inbound webhook, with the raw mail included; proven by the password in its URL."""

import json
from collections.abc import Sequence
from typing import Any

from adapters.email.ingresses.arrived import Arrived, bare_address, delivery_key
from adapters.email.ingresses.events import postmark_reports
from adapters.email.ingresses.raw import check_authorization
from adapters.email.reports import Report
from bridge.errors import Malformed
from bridge.model import Envelope, Received, Reply


class PostmarkIngress:
    """Needs "Include raw email content in JSON payload": its parsed form damages charsets and drops parts."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)

    async def verify(self, envelope: Envelope) -> Received:
        check_authorization(envelope, self._secrets)
        document = json_object(envelope.body)
        if "RecordType" in document and not postmark_reports(document):
            return Received(reply=Reply(status=200))  # delivered, opened, and so on
        if "RecordType" not in document and not isinstance(document.get("RawEmail"), str):
            raise Malformed('No RawEmail: turn on "Include raw email content in JSON payload" for this inbound stream.')
        key = envelope.body if "RecordType" in document else str(document.get("MessageID") or "") or envelope.body
        return Received(delivery_key=delivery_key(key), messages=None, reply=Reply(status=200))

    async def open(self, envelope: Envelope) -> Arrived | Sequence[Report]:
        document = json_object(envelope.body)
        if "RecordType" in document:
            return postmark_reports(document)
        recipient = bare_address(str(document.get("OriginalRecipient") or ""))
        return Arrived(
            raw=str(document.get("RawEmail")).encode("utf-8", "replace"),
            recipients=(recipient,) if recipient else (),
        )


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises Malformed."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("The body is no JSON.") from error
    if not isinstance(document, dict):
        raise Malformed("The body is no JSON object.")
    return document
