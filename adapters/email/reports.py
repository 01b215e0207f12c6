"""Reads what mail systems report: bounces (RFC 3464) and complaints (RFC 5965)."""

import re
from dataclasses import dataclass
from typing import Literal

from adapters.email.headers import message_ids, read_headers
from adapters.email.mime import Part, split

_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_ADDRESS = re.compile(r"[^\s@<>;:,\"]{1,128}@[^\s@<>;:,\"]{1,255}")
_IN_TEXT = re.compile(r"\b(?:5\.\d{1,3}\.\d{1,3}|55[0-4])\b")
_LOOKED_AT = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a mail of ours."""

    kind: Literal["bounce", "complaint"]
    recipients: tuple[str, ...] = ()
    permanent: bool = False
    status: str = ""
    original_ids: tuple[str, ...] = ()
    """Message-IDs and References of the mail it is about, where it was sent back."""

    @property
    def reason(self) -> str:
        """Why nothing more is sent there, in a few words."""
        return f"{self.kind} {self.status}".strip()


def read_report(parts: list[Part]) -> Report:
    """Put together what the parts say; a bounce in plain prose still yields its status.

    Where a part for machines says what became of the mail, the prose beside it does not count: it may hold any number.
    """
    kind: Literal["bounce", "complaint"] = "bounce"
    recipients: list[str] = []
    status, prose, failed = "", "", True
    original: list[str] = []
    for part in parts:
        if part.media_type == "message/feedback-report":
            kind = "complaint"
            recipients += _values(part, "original-rcpt-to")
        elif part.media_type in {"message/delivery-status", "message/global-delivery-status"}:
            recipients += _values(part, "final-recipient", "original-recipient")
            status = status or _first_status(part)
            failed = _has_failed(part)
        elif part.media_type in {"message/disposition-notification", "message/global-disposition-notification"}:
            failed = False  # it arrived, and somebody looked at it
        elif part.media_type in {"message/rfc822", "text/rfc822-headers", "message/global", "message/rfc822-headers"}:
            original += _ids(part)
        elif part.media_type == "text/plain" and not prose:
            found = _IN_TEXT.search(part.text()[:_LOOKED_AT])
            prose = found.group() if found else ""
    status = status or (prose if failed else "")
    return Report(
        kind=kind,
        recipients=tuple(dict.fromkeys(recipients)),
        permanent=kind == "complaint" or (failed and status.startswith("5")),
        status=status,
        original_ids=tuple(dict.fromkeys(original)),
    )


def _has_failed(part: Part) -> bool:
    """Whether the mail will not arrive; without an Action (RFC 3464, 2.3.3) the status says it."""
    lines = (line.partition(":") for line in part.content()[:_LOOKED_AT].decode("latin-1").lower().splitlines())
    actions = {value.strip() for name, _, value in lines if name.strip() == "action"}
    return not actions or "failed" in actions


def _values(part: Part, *names: str) -> list[str]:
    found = []
    for line in part.content()[:_LOOKED_AT].decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in names and (match := _ADDRESS.search(value)):
            found.append(match.group().lower())
    return found


def _first_status(part: Part) -> str:
    for line in part.content()[:_LOOKED_AT].decode("latin-1").splitlines():
        if line.lower().startswith("status:") and (match := _STATUS.search(line)):
            return match.group(1)
    return ""


def _ids(part: Part) -> list[str]:
    head, _ = split(part.content()[:_LOOKED_AT])
    headers = read_headers(head, max_bytes=_LOOKED_AT, max_count=200)
    return [found for name in ("message-id", "references") for found in message_ids(headers.first(name))]
