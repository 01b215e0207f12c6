"""Tells what a person wrote in a mail from what the mail program repeated: one bounded scan over lines.

Every regular expression here sees at most 400 characters of a line, and none can backtrack over more than
it has seen; what lies beyond 2,000 lines is taken over as it is. A quote too much is better than a sentence lost.
"""

import re
from collections.abc import Iterator

from adapters.email.quote_kinds import (
    MAX_INTRO_LINES,
    MAX_LINE,
    Kind,
    header_block,
    introduction,
    is_footer,
    kind_at,
    with_shared_lines_split,
)

MAX_LINES = 2000
"""More than anyone types above a quote; with 256 KiB of HTML before it the scan stays within 50 ms."""
MAX_SIGNATURE_LINES = 12
MIN_WIDTH, MAX_WIDTH = 50, 80
"""Where programs wrap the lines of others."""

_WHOLE = (Kind.BAR, Kind.HEAD)  # tuples: a member of an Enum is found by identity, but hashed in Python
_BEGINS_QUOTED = (Kind.BAR, Kind.HEAD, Kind.INTRO)

_RULE = re.compile(r"\s{0,8}(?:[-_*#~=+–—ᐧ]\s?){2,}$|\s{0,8}[—ᐧ]\s{0,2}$")
_SIGNATURE = re.compile(r"\s{0,2}(?:--\s?|—|–{2,}|—{2,}|_{2,}|-{2}\*?)\s{0,2}$")
_MARK = re.compile(r"^\s{0,3}>\s?")
_MARKS = re.compile(r"^[\s>]{0,12}")
_UNBREAKABLE = re.compile(r"\S{30}")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")


def split(text: str, *, from_html: bool = False) -> tuple[str, str]:
    """What the person wrote, and everything that was taken away, in the order of the mail.

    In text made from HTML a `>` without an introduction is a blockquote that the person formatted.
    """
    lines = text.split("\n")
    scanned, rest = lines[:MAX_LINES], lines[MAX_LINES:]
    scanned = with_shared_lines_split(scanned)
    kinds = _up_to_the_cut(scanned)
    if from_html:
        _take_indentation_for_text(scanned, kinds)
    else:
        _join_wrapped_quotes(scanned, kinds)
    scanned, rest = scanned[: len(kinds)], [*scanned[len(kinds) :], *rest]
    kept = _kept(scanned, kinds)
    if rest:  # below the cut, or too long to look at: it goes where the scan ended
        scanned, kept = [*scanned, *rest], [*kept, *([kept[-1]] * len(rest))]
    reply = [line for line, keep in zip(scanned, kept, strict=True) if keep]
    elided = [line for line, keep in zip(scanned, kept, strict=True) if not keep]
    return _trimmed(reply), _trimmed(elided)


def label(lines: list[str]) -> list[Kind]:
    """The kind of every line; what stands between code fences is always text."""
    return [kind for found, count in _found(lines) for kind in [found] * count]


def _up_to_the_cut(lines: list[str]) -> list[Kind]:
    """The kinds as far as they decide anything: below the mail that is quoted as a whole nobody looks."""
    kinds: list[Kind] = []
    written = introduced = False
    for kind, count in _found(lines):
        above = kinds[-1] if kinds else Kind.BLANK
        kinds.extend([kind] * count)
        if (written and kind in _WHOLE) or (introduced and kind is Kind.TEXT):
            break
        if kind is Kind.INTRO:
            introduced = introduced or written
        elif kind is Kind.QUOTE:
            introduced = False
        elif kind is Kind.TEXT and not written and above is not Kind.QUOTE:  # below one it may be its broken-off end
            written = not _RULE.match(lines[len(kinds) - 1][:MAX_LINE])
    return kinds


def _found(lines: list[str]) -> Iterator[tuple[Kind, int]]:
    """What stands in the lines, one after the other, and how many lines each takes."""
    at = 0
    fenced = False
    while at < len(lines):
        line = lines[at][:MAX_LINE]
        kind, count = Kind.TEXT, 1
        if _FENCE.match(line):
            fenced = not fenced and _fence_closes(lines, at)
        elif not fenced:
            kind, count = kind_at(lines, at, line)
        yield kind, count
        at += count


def _take_indentation_for_text(lines: list[str], kinds: list[Kind]) -> None:
    """Mail programs use blockquote for indented text, too: without an introduction it is the person's own."""
    at = 0
    while at < len(kinds):
        end = _run_end(kinds, at)
        if kinds[at] is Kind.QUOTE and not _is_introduced(lines, kinds, at):
            for position in range(at, end):
                lines[position] = _MARK.sub("", lines[position])
            kinds[at:end] = label(lines[at:end])
        at = max(end, at + 1)


def _run_end(kinds: list[Kind], at: int) -> int:
    """The end of the run of equal kinds that begins at `at`."""
    end = at
    while end < len(kinds) and kinds[end] is kinds[at]:
        end += 1
    return end


def _is_introduced(lines: list[str], kinds: list[Kind], at: int) -> bool:
    """Whether an introduction or a quoted header stands before the quote, or is its first line."""
    before = next((kinds[above] for above in range(at - 1, -1, -1) if kinds[above] is not Kind.BLANK), None)
    if before in _BEGINS_QUOTED:
        return True
    inside = [_MARKS.sub("", line[:MAX_LINE]) for line in lines[at : at + 2 * MAX_INTRO_LINES]]
    first = next((position for position, line in enumerate(inside) if line), 0)
    return bool(introduction(inside, first) or header_block(inside, first))


def _join_wrapped_quotes(lines: list[str], kinds: list[Kind]) -> None:
    """Lines that a program broke off a long quoted one, and did not mark, belong to the quote above them."""
    if Kind.QUOTE not in kinds:
        return
    width = 0
    at = kinds.index(Kind.QUOTE) + 1
    while at < len(kinds):
        end = _run_end(kinds, at)
        if kinds[at] is Kind.TEXT and kinds[at - 1] is Kind.QUOTE and _goes_on(lines[at - 1], lines[at]):
            width = width or _wrapped_at(lines, kinds)
            broken_off = _broken_off(lines, at, end, width)
            behind = _MARK.sub("", lines[end]) if end < len(kinds) and kinds[end] is Kind.QUOTE else ""
            if broken_off == 1 or not behind[:1].islower():  # else somebody wrote into the middle of a sentence
                kinds[at : at + broken_off] = [Kind.QUOTE] * broken_off
        at = end


def _wrapped_at(lines: list[str], kinds: list[Kind]) -> int:
    """The longest line from the first quote on, but for those that hold what cannot be wrapped, such as an address."""
    below = zip(lines[kinds.index(Kind.QUOTE) :], kinds[kinds.index(Kind.QUOTE) :], strict=False)
    shown = (line[:MAX_LINE].rstrip() for line, kind in below if kind in (Kind.QUOTE, Kind.TEXT))
    return max((len(line) for line in shown if not _UNBREAKABLE.search(line)), default=0)


def _goes_on(above: str, line: str) -> bool:
    return above[:MAX_LINE].rstrip()[-1:] not in ".?!:" and line[:1].islower()


def _broken_off(lines: list[str], at: int, end: int, width: int) -> int:
    """How many lines from `at` on stand there only because their first word had no room in the line before."""
    for position in range(at, end):
        room = min(width, MAX_WIDTH) - len(lines[position - 1][:MAX_LINE].rstrip())
        if width < MIN_WIDTH or len(lines[position][:MAX_LINE].partition(" ")[0]) < room:
            return position - at
    return end - at


def _fence_closes(lines: list[str], at: int) -> bool:
    return any(_FENCE.match(line[:8]) for line in lines[at + 1 : at + 400])


def _kept(lines: list[str], kinds: list[Kind]) -> list[bool]:
    kept = [True] * len(lines)
    end = _cut(lines, kinds, kept)
    kept[end:] = [False] * (len(lines) - end)
    _drop_signature(lines, kinds, kept)
    _drop_quotes(kinds, kept)
    _drop_tail(lines, kept)
    return kept


def _cut(lines: list[str], kinds: list[Kind], kept: list[bool]) -> int:
    """Where everything that follows is another mail. Marks introductions on the way as dropped."""
    written = False
    for at, kind in enumerate(kinds):
        if kind in _BEGINS_QUOTED:
            if written and (kind is not Kind.INTRO or not _followed_by_quote(kinds, at)):
                return at
            kept[at] = False
        elif kind is Kind.TEXT and not written:
            written = not _RULE.match(lines[at][:MAX_LINE])
    return len(kinds)


def _followed_by_quote(kinds: list[Kind], at: int) -> bool:
    below = (kinds[position] for position in range(at + 1, len(kinds)))
    return next((kind for kind in below if kind is not Kind.BLANK and kind is not Kind.INTRO), None) is Kind.QUOTE


def _drop_signature(lines: list[str], kinds: list[Kind], kept: list[bool]) -> None:
    """Cuts at a signature mark if what follows is short and something stands before it."""
    first = next((at for at, keep in enumerate(kept) if keep and kinds[at] is Kind.TEXT), len(kept))
    below, end = 0, len(lines)
    for at in range(len(lines) - 1, 0, -1):
        if not kept[at] or kinds[at] is not Kind.TEXT:
            continue
        if _SIGNATURE.match(lines[at][:MAX_LINE]):
            if first < at:
                kept[at:end] = [False] * (end - at)
                end = at
            below = 0
            continue
        below += 1
        if below > MAX_SIGNATURE_LINES:
            return


def _drop_quotes(kinds: list[Kind], kept: list[bool]) -> None:
    """Drops quotes after what was written, and an introduced one before it; keeps what is answered in between."""
    written = [at for at, kind in enumerate(kinds) if kept[at] and kind is Kind.TEXT]
    first, last = (written[0], written[-1]) if written else (len(kinds), -1)
    quotes = [at for at, kind in enumerate(kinds) if kind is Kind.QUOTE]
    answered = any(first < at < last for at in quotes)
    introduced = any(kind in _BEGINS_QUOTED for kind in kinds[:first])
    for at in quotes:
        if at > last or (at < first and introduced and not answered):
            kept[at] = False


def _drop_tail(lines: list[str], kept: list[bool]) -> None:
    """Drops blank lines, rulers and what mobile programs add, from the end of what was written."""
    before = list(kept)
    for at in range(len(lines) - 1, -1, -1):
        if not kept[at]:
            continue
        line = lines[at][:MAX_LINE]
        if line.strip() and not _RULE.match(line) and not is_footer(line):
            return
        kept[at] = False
    kept[:] = before  # nothing but a footer: then that is the message


def _trimmed(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip("\n")
