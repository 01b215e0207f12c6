"""Sends through a provider's HTTP interface: the raw mail where it is taken, else its parts."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, TypeAlias

import httpx2

from adapters.email.ingresses.events import postmark_id, resend_id, sendgrid_id
from adapters.email.senders.outgoing import Outgoing, no_smtputf8, post
from adapters.email.sigv4 import Credentials, sign
from bridge.clock import Clock

_OWN_FIELDS = {"from", "to", "reply-to", "subject", "date", "content-type", "mime-version", "content-transfer-encoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """With whom, and as whom."""

    api_url: str
    api_key: str = field(repr=False)
    domain: str = ""
    region: str = ""
    access_key_id: str = ""


Build: TypeAlias = Callable[[httpx2.AsyncClient, Account, Outgoing, Clock], httpx2.Request]
WireId: TypeAlias = Callable[[Account, httpx2.Response], str]


@dataclass(frozen=True, slots=True)
class Provider:
    """How one provider is spoken to: where, with what request, and which Message-ID it gave."""

    name: str
    api_url: str
    build: Build
    wire_id: WireId


class ProviderSender:
    """Sends by one request. A timeout is ambiguous; the copy then carries the same Message-ID and idempotency key."""

    def __init__(self, provider: Provider, account: Account, http: httpx2.AsyncClient, clock: Clock) -> None:
        self._provider = provider
        self._account = account
        self._http = http
        self._clock = clock

    async def send(self, mail: Outgoing) -> str:
        if not mail.recipient.isascii():
            raise no_smtputf8(mail.recipient, self._provider.name)
        request = self._provider.build(self._http, self._account, mail, self._clock)
        answer = await post(self._http, request, self._provider.name)
        return self._provider.wire_id(self._account, answer)


def _mailgun(http: httpx2.AsyncClient, account: Account, mail: Outgoing, _clock: Clock) -> httpx2.Request:
    token = base64.b64encode(f"api:{account.api_key}".encode()).decode()
    return http.build_request(
        "POST",
        f"{account.api_url}/v3/{account.domain}/messages.mime",
        headers={"Authorization": f"Basic {token}"},
        data={"to": mail.recipient},
        files={"message": ("message.eml", mail.raw, "message/rfc822")},
    )


def _ses(http: httpx2.AsyncClient, account: Account, mail: Outgoing, clock: Clock) -> httpx2.Request:
    url = f"{account.api_url or f'https://email.{account.region}.amazonaws.com'}/v2/email/outbound-emails"
    body = json.dumps(
        {
            "Destination": {"ToAddresses": [mail.recipient]},
            "Content": {"Raw": {"Data": base64.b64encode(mail.raw).decode()}},
        }
    ).encode()
    credentials = Credentials(
        access_key_id=account.access_key_id, secret_access_key=account.api_key, region=account.region, service="ses"
    )
    headers = {"Content-Type": "application/json", **sign("POST", url, body, credentials, clock.now())}
    return http.build_request("POST", url, headers=headers, content=body)


def _postmark(http: httpx2.AsyncClient, account: Account, mail: Outgoing, _clock: Clock) -> httpx2.Request:
    message = mail.mail
    document = {
        "From": str(message["From"]),
        "To": mail.recipient,
        "ReplyTo": str(message["Reply-To"] or ""),
        "Subject": str(message["Subject"]),
        "TextBody": _body(message, "plain"),
        "HtmlBody": _body(message, "html"),
        "Headers": [
            {"Name": name, "Value": value} for name, value in {**_headers(message), "X-PM-KeepID": "true"}.items()
        ],
        "Attachments": [
            {"Name": part.get_filename(), "Content": _encoded(part), "ContentType": part.get_content_type()}
            for part in message.iter_attachments()
        ],
    }
    headers = {"X-Postmark-Server-Token": account.api_key, "Accept": "application/json"}
    return http.build_request("POST", f"{account.api_url}/email", headers=headers, json=document)


def _sendgrid(http: httpx2.AsyncClient, account: Account, mail: Outgoing, _clock: Clock) -> httpx2.Request:
    message = mail.mail
    document: dict[str, Any] = {
        "personalizations": [{"to": [{"email": mail.recipient}]}],
        "from": _person(message, "From"),
        "subject": str(message["Subject"]),
        "content": [
            {"type": "text/plain", "value": _body(message, "plain")},
            {"type": "text/html", "value": _body(message, "html")},
        ],
        "headers": _headers(message),
        "attachments": [
            {"filename": part.get_filename(), "content": _encoded(part), "type": part.get_content_type()}
            for part in message.iter_attachments()
        ],
    }
    if message["Reply-To"]:
        document["reply_to"] = _person(message, "Reply-To")
    if not document["attachments"]:
        del document["attachments"]  # an empty list is refused
    headers = {"Authorization": f"Bearer {account.api_key}"}
    return http.build_request("POST", f"{account.api_url}/v3/mail/send", headers=headers, json=document)


def _resend(http: httpx2.AsyncClient, account: Account, mail: Outgoing, _clock: Clock) -> httpx2.Request:
    message = mail.mail
    document: dict[str, Any] = {
        "from": str(message["From"]),
        "to": [mail.recipient],
        "subject": str(message["Subject"]),
        "text": _body(message, "plain"),
        "html": _body(message, "html"),
        "headers": _headers(message),
        "attachments": [
            {"filename": part.get_filename(), "content": _encoded(part), "content_type": part.get_content_type()}
            for part in message.iter_attachments()
        ],
    }
    if message["Reply-To"]:
        document["reply_to"] = str(message["Reply-To"])
    headers = {"Authorization": f"Bearer {account.api_key}", "Idempotency-Key": mail.delivery_id}
    return http.build_request("POST", f"{account.api_url}/emails", headers=headers, json=document)


def _headers(message: EmailMessage) -> dict[str, str]:
    """The headers that have no field of their own in the provider's interface."""
    return {name: str(value) for name, value in message.items() if name.lower() not in _OWN_FIELDS}


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _encoded(part: EmailMessage) -> str:
    """The very bytes: what the library makes of them depends on a type that somebody else gave."""
    content = part.get_payload(decode=True)
    return base64.b64encode(content if isinstance(content, bytes) else b"").decode()


def _person(message: EmailMessage, name: str) -> dict[str, str]:
    address = message[name].addresses[0]
    return {"email": address.addr_spec, "name": address.display_name}


def _field(answer: httpx2.Response, name: str) -> str:
    try:
        document = answer.json()
    except ValueError:
        return ""
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


def _ses_id(account: Account, answer: httpx2.Response) -> str:
    """SES replaces the Message-ID and tells only its left half."""
    left = _field(answer, "MessageId")
    host = "email" if account.region == "us-east-1" else account.region
    return f"<{left}@{host}.amazonses.com>" if left else ""


def _sendgrid_id(_account: Account, answer: httpx2.Response) -> str:
    return sendgrid_id(answer.headers.get("x-message-id"))


PROVIDERS = {
    "mailgun": Provider("Mailgun", "https://api.mailgun.net", _mailgun, lambda _, answer: _field(answer, "id")),
    "ses": Provider("Amazon SES", "", _ses, _ses_id),
    "postmark": Provider(
        "Postmark", "https://api.postmarkapp.com", _postmark, lambda _, answer: postmark_id(_field(answer, "MessageID"))
    ),
    "sendgrid": Provider("SendGrid", "https://api.sendgrid.com", _sendgrid, _sendgrid_id),
    "resend": Provider("Resend", "https://api.resend.com", _resend, lambda _, answer: resend_id(_field(answer, "id"))),
}
