"""Builds an outgoing mail. The same delivery gives the same bytes at every try, its Message-ID included."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime
from html import escape
from typing import Any

from adapters.email.classify import LOOP_HEADER
from adapters.email.opened import clean_name
from adapters.email.quotes import MARKER
from adapters.email.render import render
from adapters.email.return_address import ReturnAddress, reply_subject
from adapters.email.threads import reply_index

_OF_IDS = frozenset({"message-id", "in-reply-to", "references"})


class _Folding(EmailPolicy):
    """Bodies and encoded words keep to the 76 and 75 characters of RFC 2045, 6.7 and RFC 2047, 2.

    Plain words go out as they are, and ids one to a line: the library would encode what a line cannot hold. Other
    words are encoded here: it makes encoded words of any length, and loses a space where it cuts them.
    """

    def fold(self, name: str, value: Any) -> str:
        if name.lower() in _OF_IDS:
            return f"{name}: {f'{self.linesep} '.join(str(value).split())}{self.linesep}"
        text = str(value)
        if text.isascii():
            longest = max(map(len, text.split()), default=0)
            return str((_WIDEST if longest > _LONG_WORD else _WIDE).fold(name, value))
        if name.lower().startswith("content-"):  # RFC 2231, which the library knows
            return str(super().fold(name, value))
        named = getattr(value, "addresses", ())
        if named and not named[0].addr_spec.isascii():  # RFC 6532: it cannot be encoded
            return f"{name}: {text}{self.linesep}"
        words = Header(named[0].display_name if named else text, "utf-8", _LINE, name).encode(linesep=self.linesep)
        address = f"{self.linesep} <{named[0].addr_spec}>" if named else ""
        return f"{name}: {words}{address}{self.linesep}"

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode("utf-8")


_LINE = 76
_LONG_WORD = 150
_WIDE = EmailPolicy(linesep=SMTP.linesep, max_line_length=200)
_WIDEST = EmailPolicy(linesep=SMTP.linesep, max_line_length=900)
_POLICY = _Folding(linesep=SMTP.linesep, max_line_length=_LINE)
_MEDIA_TYPE = re.compile(r"\s*([\w.+-]{1,60})/([\w.+-]{1,100})\s*(?:;|$)", re.ASCII)
_NOT_IN_BASE64 = frozenset({"message", "multipart"})


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
        _attach(mail, file)
    _fix_boundaries(mail, letter.message_id)
    return mail


def _attach(mail: EmailMessage, file: File) -> None:
    """A file whose type or name cannot be written goes out under plainer ones: the answer matters more than they do."""
    found = _MEDIA_TYPE.match(file.media_type)
    maintype, subtype = found.groups() if found else ("application", "octet-stream")
    if maintype.lower() in _NOT_IN_BASE64:  # RFC 2046, 5.2.1, and what a mail server would take apart
        maintype, subtype = "application", "octet-stream"
    name = clean_name(file.name) or "file"
    mail.add_attachment(file.content, maintype=maintype, subtype=subtype, filename=name)


def _headers(letter: Letter) -> dict[str, str | HeaderAddress]:
    back = letter.back
    parent = back.message_id if back.message_id.isascii() else ""  # no header could hold it
    parents = [*(each for each in back.references if each.isascii()), *([parent] if parent else []), letter.thread_id]
    return {
        "From": _address(letter.sender_name, letter.sender),
        "To": _address(back.name, back.to),
        "Reply-To": _address(letter.sender_name, letter.reply_to) if letter.reply_to != letter.sender else "",
        "Subject": back.subject if back.unasked else reply_subject(back.subject),
        "Date": format_datetime(letter.written_at),
        "Message-ID": letter.message_id,
        "In-Reply-To": parent,
        "References": " ".join(dict.fromkeys(parents)),
        "Auto-Submitted": "auto-generated" if back.unasked else "auto-replied",
        "X-Auto-Response-Suppress": "All",
        "Thread-Index": reply_index(back.thread_index, hashlib.sha256(letter.message_id.encode()).digest()),
        "Thread-Topic": back.thread_topic,
        LOOP_HEADER: letter.source,
    }


def _address(name: str, address: str) -> HeaderAddress:
    """Also of a local part such as `a..b`, which no standard allows and mobile carriers have given out."""
    local, _, domain = _one_line(address).rpartition("@")
    return HeaderAddress(_one_line(name)[:200], local, domain)


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
