"""Sends through a mail server, or, in development, into a folder."""

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiosmtplib

from adapters.email.hosts import must_encrypt
from adapters.email.oauth import AccessTokens
from adapters.email.senders.outgoing import Outgoing, Oversized, Sender, no_smtputf8
from bridge.errors import Permanent, Retryable

TEMPORARY = range(400, 500)
TOO_LARGE = frozenset({523, 552})
"""Also said of a mail whose size is announced with its sender; 552 also of a full mailbox."""
TOO_LARGE_ENHANCED = ("5.2.3", "5.3.4")


class SmtpSender:
    """Hands mails to the server of an `smtp://` (STARTTLS where offered) or `smtps://` address."""

    def __init__(self, url: str, tokens: AccessTokens | None = None, *, timeout: float = 60) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._tls else 587)
        self._user = unquote(parts.username or "") or None
        self._password = unquote(parts.password or "") or None
        self._timeout = timeout
        self._tokens = tokens
        # Otherwise STARTTLS is used where it is offered.
        self._start_tls = True if not self._tls and must_encrypt(parts) else None

    async def send(self, mail: Outgoing) -> str:
        """Our Message-ID stays, so nothing is returned. A failure after DATA is ambiguous: the copy has the same id."""
        client = aiosmtplib.SMTP(
            hostname=self._host, port=self._port, use_tls=self._tls, start_tls=self._start_tls, timeout=self._timeout
        )
        handed_over = False
        try:
            await self._log_in(client)
            handed_over = True
            options = [] if mail.recipient.isascii() and mail.mail_from.isascii() else ["SMTPUTF8"]
            await client.sendmail(mail.mail_from, [mail.recipient], mail.raw, mail_options=options)
        except aiosmtplib.SMTPNotSupported as error:
            raise no_smtputf8(
                mail.recipient if mail.mail_from.isascii() else mail.mail_from, "the mail server"
            ) from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refused(error.recipients[0].code, error.recipients[0].message) from error
        except aiosmtplib.SMTPAuthenticationError as error:
            raise Retryable(f"The mail server refused our login: {error.message}. Check smtp_url and oauth.") from error
        except aiosmtplib.SMTPSenderRefused as error:
            if error.code in TOO_LARGE:
                raise _refused(error.code, error.message) from error
            said = f"The mail server refused {error.sender}: {error.code} {error.message[:300]}"
            raise Retryable(f"{said}. Check smtp_url and address: the mail waits until they are right.") from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Retryable(f"The mail server did not take the mail: {error}", ambiguous=handed_over) from error
        finally:
            client.close()
        return ""

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        if self._tokens is None:
            await client.connect(username=self._user, password=self._password)
            return
        token = await self._tokens.current()
        await client.connect()
        try:
            await client.auth_xoauth2(self._user or "", token)
        except aiosmtplib.SMTPAuthenticationError:
            await self._tokens.refuse(token)
            raise


def _refused(code: int, message: str) -> Retryable | Permanent:
    said = f"The mail server answered {code} {message[:300]}"
    if code in TEMPORARY:
        return Retryable(said)
    is_too_large = code in TOO_LARGE or message.startswith(TOO_LARGE_ENHANCED)
    return Oversized(said) if is_too_large else Permanent(said)


class MaildirSender:
    """Writes `.eml` files instead of sending: for development, and to look at what would go out."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def send(self, mail: Outgoing) -> str:
        """One file for each delivery, written whole or not at all; a second try replaces the first."""
        try:
            await asyncio.to_thread(self._write, mail)
        except OSError as error:
            raise Retryable(f"The folder {self._folder} cannot be written: {error.strerror}") from error
        return ""

    def _write(self, mail: Outgoing) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{mail.delivery_id}.eml"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(f"X-Envelope-From: <{mail.mail_from}>\r\nX-Envelope-To: <{mail.recipient}>\r\n".encode())
            file.write(mail.raw)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def sender_of(url: str, tokens: AccessTokens | None = None) -> Sender:
    """The sender a `smtp_url` names."""
    if url.startswith("maildir:"):
        return MaildirSender(url.removeprefix("maildir:"))
    return SmtpSender(url, tokens)
