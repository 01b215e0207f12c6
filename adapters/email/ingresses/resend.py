"""Resend's `email.received`: a signed notice, after which the raw mail is fetched."""

from collections.abc import Sequence
from urllib.parse import quote

import httpx2

from adapters.email.ingresses.arrived import Arrived, bare_address
from adapters.email.ingresses.events import resend_reports
from adapters.email.ingresses.postmark import json_object
from adapters.email.ingresses.raw import STANDARD, usable_secrets
from adapters.email.reports import Report
from adapters.email.senders.outgoing import post
from bridge.clock import Clock
from bridge.errors import Malformed, Permanent, Retryable
from bridge.model import Envelope, Received, Reply
from bridge.signing import verify

SCHEME = STANDARD.revised(
    {
        "signature": ("header:svix-signature",),
        "timestamp": {"place": "header:svix-timestamp"},
        "sign": ("header:svix-id", "lit:.", "ts", "lit:.", "body"),
    }
)


class ResendIngress:
    """The notice is stored and acknowledged first; fetching is repeated until it succeeds."""

    def __init__(
        self,
        secrets: Sequence[str],
        api: tuple[str, str],
        http: httpx2.AsyncClient,
        guarded: httpx2.AsyncClient,
        clock: Clock,
        *,
        max_bytes: int,
    ) -> None:
        self._secrets = usable_secrets(SCHEME, secrets)
        self._url, self._key = api
        self._http = http
        self._guarded = guarded
        self._clock = clock
        self._limits = {"max_response_bytes": max_bytes}
        """A mail is larger than what else is answered from outside."""

    async def verify(self, envelope: Envelope) -> Received:
        verify(SCHEME, self._secrets, envelope, self._clock.now())
        document = json_object(envelope.body)
        if document.get("type") == "email.received":
            _email_id(document)
        elif not resend_reports(document):
            return Received(reply=Reply(status=200))  # other notices of the same endpoint
        return Received(delivery_key=envelope.header("svix-id") or "", messages=None, reply=Reply(status=200))

    async def open(self, envelope: Envelope) -> Arrived | Sequence[Report]:
        document = json_object(envelope.body)
        if document.get("type") != "email.received":
            return resend_reports(document)
        data = document["data"]
        url = f"{self._url}/emails/receiving/{quote(_email_id(document), safe='')}"
        try:
            request = self._http.build_request("GET", url, headers={"Authorization": f"Bearer {self._key}"})
            found = json_object((await post(self._http, request, "Resend")).content)
            raw = found.get("raw")
            if not isinstance(raw, dict) or not isinstance(raw.get("download_url"), str):
                raise Retryable("Resend does not offer the raw mail yet.")
            download = self._guarded.build_request("GET", raw["download_url"], extensions=self._limits)
            content = (await post(self._guarded, download, "Resend's storage")).content
        except Permanent as error:
            raise Malformed(f"The mail cannot be had from Resend: {error}") from error
        to = data.get("to")
        return Arrived(
            raw=content,
            recipients=tuple(filter(None, (bare_address(str(each)) for each in to[:100])))
            if isinstance(to, list)
            else (),
        )


def _email_id(document: dict[str, object]) -> str:
    data = document.get("data")
    found = data.get("email_id") if isinstance(data, dict) else None
    if not isinstance(found, str) or not found:
        raise Malformed("data.email_id is missing.")
    return found
