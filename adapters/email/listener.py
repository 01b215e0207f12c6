"""Takes mail by LMTP or SMTP and answers the mail server only after it is stored."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as SmtpEnvelope

from adapters.email.ingresses.connected import received, wrap
from adapters.email.recipients import Recipients
from bridge.adapter import Accept
from bridge.clock import Clock
from bridge.errors import ReceiveError, StoreUnavailable

log = structlog.get_logger()

_TAKEN = "250 2.1.5 OK"
_NOT_OURS = "550 5.1.1 no mailbox here: it is none of the addresses that this source takes mail for"
_STORED = "250 2.0.0 stored"
_LATER = "451 4.3.0 cannot be stored now, try again"
_LONGEST_LINE = 1 << 26


class _Smtp(SMTP):
    """Whole mails may come in one line: only their size is a reason to refuse them, for the library a line of 1001."""

    line_length_limit = _LONGEST_LINE


class _Lmtp(LMTP):
    """Likewise."""

    line_length_limit = _LONGEST_LINE


class Listener:
    """A mail server for one source. Trust comes from the server in front: bind it to loopback or a private network."""

    def __init__(
        self, *, source: str, lmtp: bool, address: str, recipients: Recipients, max_bytes: int, clock: Clock
    ) -> None:
        self._source = source
        self._lmtp = lmtp
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]") or "127.0.0.1", int(port)
        self.recipients = recipients
        self._max_bytes = max_bytes
        self._clock = clock

    async def run(self, accept: Accept) -> None:
        """Listen until cancelled; the port is free again afterwards."""
        doorman = _Doorman(self, accept)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: self._protocol(doorman), self._host, self._port, family=socket.AF_UNSPEC
        )
        async with server:
            await server.serve_forever()

    def _protocol(self, doorman: "_Doorman") -> SMTP:
        kind = _Lmtp if self._lmtp else _Smtp
        return kind(
            doorman,
            data_size_limit=self._max_bytes,
            enable_SMTPUTF8=True,
            decode_data=False,
            ident="agent-bridge",
            hostname="agent-bridge",
        )

    async def store(self, accept: Accept, raw: bytes, mail_from: str, recipient: str) -> str:
        """One recipient's copy; the reply line tells what became of it."""
        envelope = wrap(
            raw,
            source=self._source,
            ingress="lmtp" if self._lmtp else "smtp",
            mail_from=mail_from,
            recipients=[recipient],
            at=self._clock.now(),
        )
        try:
            await accept(received(envelope=envelope), envelope)
        except StoreUnavailable:
            return _LATER
        except ReceiveError as error:
            return f"550 5.6.0 {error}"[:400].replace("\n", " ")
        return _STORED


class _Doorman:
    """What the SMTP library calls: names and signatures are its own."""

    def __init__(self, listener: Listener, accept: Accept) -> None:
        self._listener = listener
        self._accept = accept

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: SmtpEnvelope, address: str, options: list[str]
    ) -> str:
        """A mail for somebody else is refused, so that its sender learns of it: nothing is ever passed on from here."""
        if not self._listener.recipients.include(address):
            return _NOT_OURS
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return _TAKEN

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: SmtpEnvelope) -> str:  # noqa: N802 - the library's name
        content: Any = envelope.original_content if envelope.original_content is not None else envelope.content
        raw = content if isinstance(content, bytes) else str(content or "").encode("utf-8", "surrogateescape")
        replies = [
            await self._listener.store(self._accept, raw, envelope.mail_from or "", recipient)
            for recipient in envelope.rcpt_tos
        ]
        return _replies(replies, each=isinstance(server, LMTP))

    async def handle_exception(self, error: Exception) -> str:
        """Whatever went wrong here, the mail server keeps the mail: the library's own answer would bounce it."""
        log.error("listener_failed", exc_info=error)
        return _LATER


def _replies(replies: Sequence[str], *, each: bool) -> str:
    """LMTP wants a line for each recipient (RFC 2033); SMTP has one for all, the worst of them."""
    return (
        "\r\n".join(replies)
        if each
        else max(replies, default=_LATER, key=lambda line: (line[0] == "4", line[0] == "5"))
    )
