"""A mail server that keeps what it gets, and misbehaves where a test asks it to."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


@dataclass
class Sink:
    """What arrived, and what is answered to `MAIL`, to `RCPT` and after `DATA`."""

    port: int = 0
    sender: str = "250 OK"
    rcpt: str = "250 OK"
    data: str | list[str] = "250 OK"
    """One answer for all, or one for each mail."""
    hang_up: bool = False
    """Take the mail, then close the connection without an answer."""
    mails: list[Envelope] = field(default_factory=list)
    smtputf8: bool = True
    tokens: tuple[str, ...] = ()
    """Access tokens that open it."""

    async def auth_XOAUTH2(self, _server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        shown = base64.b64decode(args[1]).decode()
        return AuthResult(success=shown.partition("auth=Bearer ")[2].strip("\1") in self.tokens, handled=False)

    async def handle_MAIL(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.sender.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.sender

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: Any, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mails.append(envelope)
        if self.hang_up:
            server.transport.close()
        return self.data if isinstance(self.data, str) else self.data.pop(0)


@asynccontextmanager
async def open_sink(**changes: Any) -> AsyncIterator[Sink]:
    sink = Sink(**changes)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(sink, hostname="sink", enable_SMTPUTF8=sink.smtputf8, auth_require_tls=False), "127.0.0.1", 0
    )
    sink.port = server.sockets[0].getsockname()[1]
    async with server:
        yield sink
