"""Builds an outgoing mail. The same delivery gives the same bytes at every try, its Message-ID included."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from adapters.email.classify import LOOP_HEADER
from adapters.email.quotes import MARKER
from adapters.email.render import render
from adapters.email.return_address import ReturnAddress, reply_subject
from adapters.email.threads import reply_index

_POLICY = SMTP.clone(max_line_length=200)
"""Long enough that no Message-ID is folded, which some programs cannot read; RFC 5322 allows 998."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that goes out."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """All an outgoing mail says."""

    source: str
    sender: str
    sender_name: str
    reply_to: str
    back: ReturnAddress
    message_id: str
    thread_id: str
    """`<token@domain>`: ends the references, so that it survives a relay that replaces the Message-ID."""
    text: str
    footer: str
    with_marker: bool
    written_at: datetime
    files: Sequence[File] = ()


def compose(letter: Letter) -> EmailMessage:
    """The mail as a message object; `as_bytes()` gives it as it goes out. Raises ValueError for a header injection."""
    mail = EmailMessage(policy=_POLICY)
    for name, value in _headers(letter).items():
        if value:
            mail[name] = _one_line(value) if isinstance(value, str) else value
    above = f"{MARKER}\n\n" if letter.with_marker else ""
    below = f"\n\n-- \n{letter.footer}\n" if letter.footer else "\n"
    mail.set_content(f"{above}{letter.text}{below}", cte="quoted-printable")
    mail.add_alternative(_html(letter), subtype="html", cte="quoted-printable")
    for file in letter.files:
        maintype, _, subtype = file.media_type.partition("/")
        mail.add_attachment(file.content, maintype=maintype, subtype=subtype or "octet-stream", filename=file.name)
    _fix_boundaries(mail, letter.message_id)
    return mail


def _headers(letter: Letter) -> dict[str, str | HeaderAddress]:
    back = letter.back
    parents = [*back.references, *([back.message_id] if back.message_id else []), letter.thread_id]
    return {
        "From": _address(letter.sender_name, letter.sender),
        "To": _address(back.name, back.to),
        "Reply-To": _address(letter.sender_name, letter.reply_to) if letter.reply_to != letter.sender else "",
        "Subject": back.subject if back.unasked else reply_subject(back.subject),
        "Date": format_datetime(letter.written_at),
        "Message-ID": letter.message_id,
        "In-Reply-To": back.message_id,
        "References": " ".join(dict.fromkeys(parents)),
        "Auto-Submitted": "auto-generated" if back.unasked else "auto-replied",
        "X-Auto-Response-Suppress": "All",
        "Thread-Index": reply_index(back.thread_index, hashlib.sha256(letter.message_id.encode()).digest()),
        "Thread-Topic": back.thread_topic,
        LOOP_HEADER: letter.source,
    }


def _address(name: str, address: str) -> HeaderAddress:
    return HeaderAddress(_one_line(name)[:200], addr_spec=_one_line(address))


def _one_line(value: str) -> str:
    """A header value holds no line end and no control character, whoever wrote it."""
    return re.sub(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+", " ", value).strip()


def _html(letter: Letter) -> str:
    above = f'<p style="color:#999;font-size:12px">{escape(MARKER)}</p>' if letter.with_marker else ""
    below = f'<p style="color:#999;font-size:12px">-- <br>{escape(letter.footer)}</p>' if letter.footer else ""
    body = f"{above}{render(letter.text)}{below}"
    return f'<html><body style="font-family:sans-serif;font-size:14px">{body}</body></html>\n'


def _fix_boundaries(mail: EmailMessage, message_id: str) -> None:
    """Boundaries derived from the Message-ID instead of chance: a second try is the same bytes."""
    for at, part in enumerate(part for part in mail.walk() if part.is_multipart()):
        part.set_boundary(f"=_{hashlib.sha256(f'{message_id}{at}'.encode()).hexdigest()[:32]}")
