"""Hands a mail from a mail server's pipe to the bridge, and tells the mail server in its own way what became of it.

Every failure is temporary, a wrong password included: the mail server keeps the mail and tries again, so that
a slip in a configuration never bounces anybody's mail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlencode, urlsplit

import httpx2

from adapters.email.ingresses.arrived import FROM_HEADER, TO_HEADER
from adapters.email.ingresses.raw import STANDARD
from adapters.email.settings import Settings
from bridge.model import Envelope
from bridge.signing import secret_from_text, sign

MailServer = Literal["postfix", "exim", "qmail"]

TEMPORARY_EXIT = {"postfix": 75, "exim": 75, "qmail": 111}
"""EX_TEMPFAIL of sysexits.h; qmail-command(8) has a number of its own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the relay command ends: print the line, exit with the code."""

    code: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What the pipe gave: the mail on stdin, its envelope as arguments or variables."""

    raw: bytes
    mail_from: str | None = None
    recipients: Sequence[str] = ()


async def relay(
    mail: Mail, *, url: str, secret: str, server: MailServer, http: httpx2.AsyncClient, now: datetime
) -> Outcome:
    """Post the mail, signed. Postfix reads the enhanced status at the start of the line, the others the exit code."""
    try:
        request = _request(mail, url, secret, http, now)
        answer = await http.send(request)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return failure(server, "4.4.2", f"the bridge cannot be reached: {error}")
    except ValueError as error:
        return failure(server, "4.3.5", f"the relay is not configured rightly: {error}")
    if answer.is_success:
        return Outcome(0, "2.0.0 stored")
    if answer.status_code in {401, 403}:
        return failure(server, "4.7.0", "the bridge refused the relay's credentials")
    return failure(server, "4.3.0", f"the bridge answered {answer.status_code}")


async def relay_mail(
    settings: Settings,
    *,
    raw: bytes,
    mail_from: str | None,
    recipients: Sequence[str],
    url: str,
    server: MailServer,
    http: httpx2.AsyncClient,
    now: datetime,
) -> Outcome:
    """Post the mail to a source with `ingress = "raw"`, signed with its newest secret."""
    if settings.ingress != "raw":
        return failure(server, "4.3.5", f'the source has ingress = "{settings.ingress}", a relay needs "raw"')
    secret = settings.secrets[0].get_secret_value()
    return await relay_signed(
        secret, raw=raw, mail_from=mail_from, recipients=recipients, url=url, server=server, http=http, now=now
    )


async def relay_signed(
    secret: str,
    *,
    raw: bytes,
    mail_from: str | None,
    recipients: Sequence[str],
    url: str,
    server: MailServer,
    http: httpx2.AsyncClient,
    now: datetime,
) -> Outcome:
    """Post the mail to this address, signed with one of its source's secrets."""
    mail = Mail(raw=raw, mail_from=mail_from, recipients=recipients)
    return await relay(mail, url=url, secret=secret, server=server, http=http, now=now)


def failure(server: MailServer, status: str, text: str) -> Outcome:
    """A temporary failure in the words of this mail server."""
    return Outcome(TEMPORARY_EXIT[server], " ".join(f"{status} {text}".split())[:400])


def _request(mail: Mail, url: str, secret: str, http: httpx2.AsyncClient, now: datetime) -> httpx2.Request:
    headers, query = [("content-type", "message/rfc822")], []
    sender = [] if mail.mail_from is None else [(FROM_HEADER, "from", f"<{mail.mail_from.strip('<>')}>")]
    for header, field, value in [*sender, *((TO_HEADER, "to", recipient) for recipient in mail.recipients)]:
        if value.isascii():
            headers.append((header, value))
        else:  # no header of HTTP holds it
            query.append((field, value))
    if query:
        url = f"{url}{'&' if '?' in url else '?'}{urlencode(query, errors='surrogateescape')}"
    parts = urlsplit(url)
    envelope = Envelope(
        source="",
        method="POST",
        path=parts.path,
        query=parts.query,
        headers=tuple(headers),
        body=mail.raw,
        received_at=now,
    )
    signed = sign(STANDARD, [secret_from_text(STANDARD, secret)], envelope, now)
    return http.build_request("POST", url, headers=list(signed.headers), content=mail.raw)
