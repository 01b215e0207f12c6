"""What the person wrote: the reply, and apart from it what the mail program quoted.

A convenience for the reader, never a security boundary: `elided` goes along as untrusted material.
"""

import re
from dataclasses import dataclass
from itertools import islice

from adapters.email import quote_html, quote_lines

MARKER = "— reply above this line —"
"""Stands on top of every mail we send; what is written above it, where it comes back, is surely new."""

MAX_TEXT = 256 * 1024

MAX_BEFORE_MARKER = 80
MAX_MARKERS = 100

_MARKER = re.compile(r"reply above this line|type your reply above(?: this line)?", re.IGNORECASE)
_BEFORE = re.compile(r"[\s>*_#=–—|\[(<-]{0,40}(?:please\s)?(?:type\s(?:your\s)?)?", re.IGNORECASE)
_BEHIND = re.compile(r"[\s*_.|\])>]{0,40}$|[\s*_]{0,8}[#=–—-]")


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
    for match in islice(_MARKER.finditer(text, 0, MAX_TEXT), MAX_MARKERS) if "above" in text.lower() else ():
        start = text.rfind("\n", 0, match.start()) + 1
        if not _stands_alone(text, start, match):
            continue
        if text[start : match.start()].lstrip().startswith(">"):
            break  # below and between the lines of ours may stand what is new
        return text[:start], text[start:]
    return text, ""


def _stands_alone(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether it begins its line, with nothing or a ruler behind it: people speak of it in the middle of a sentence."""
    behind = text[match.end() : match.end() + MAX_BEFORE_MARKER].partition("\n")[0]
    before = text[max(start, match.start() - MAX_BEFORE_MARKER) : match.start()]
    return bool(_BEFORE.fullmatch(before) and _BEHIND.match(behind))
