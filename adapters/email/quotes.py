"""What the person wrote: the reply, and apart from it what the mail program quoted.

A convenience for the reader, never a security boundary: `elided` goes along as untrusted material.
"""

import re
from dataclasses import dataclass

from adapters.email import quote_html, quote_lines

MARKER = "— reply above this line —"
"""Stands on top of every mail we send; what is written above it, where it comes back, is surely new."""

MAX_TEXT = 256 * 1024

MAX_BEFORE_MARKER = 80

_MARKER = re.compile("reply above this line|type your reply above", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """`reply` is what was written, `elided` everything that was cut, in the order of the mail."""

    reply: str
    elided: str

    @property
    def quoted_only(self) -> bool:
        """Whether nothing new was written at all: a bare forward, or an empty reply."""
        return not self.reply and bool(self.elided)


def extract(*, text: str | None = None, html: str | None = None) -> Extraction:
    """Split a mail's body. HTML, where given, is read for its structure; otherwise the text alone.

    Never raises on any string and never loses a word: all of the input is in one of the two fields
    (HTML beyond 256 KiB and what a browser would not show excepted).
    """
    if html and html.strip():
        written, quoted = quote_html.split(_normalised(html))
        if not written and not quoted and text:
            return extract(text=text)
    else:
        written, quoted = _normalised(text or ""), ""
    written, below_marker = _above_marker(written)
    reply, elided = quote_lines.split(written, from_html=bool(html and html.strip()))
    return Extraction(reply=reply, elided="\n\n".join(filter(None, (elided, below_marker, quoted))))


def _normalised(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.replace("\u200b", "").replace("\ufeff", "").replace("\xa0", " ")


def _above_marker(text: str) -> tuple[str, str]:
    """What stands above the marker, and the rest. Where a program marked our lines as quotes, its marks tell more."""
    match = _MARKER.search(text[:MAX_TEXT]) if "above" in text else None
    if match is None:
        return text, ""
    line = text.rfind("\n", 0, match.start()) + 1
    if text[line : line + MAX_BEFORE_MARKER].lstrip().startswith(">"):
        return text, ""  # below and between the lines of ours may stand what is new
    start = max(line, match.start() - MAX_BEFORE_MARKER)
    return text[:start], text[start:]
