"""Tells what a person wrote in a mail from what the mail program repeated: one bounded scan over lines.

Every regular expression here sees at most 400 characters of a line, and none can backtrack over more than
it has seen; what lies beyond 4,000 lines is taken over as it is. A quote too much is better than a sentence lost.
"""

import re

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

MAX_LINES = 4000
MAX_SIGNATURE_LINES = 12

_RULE = re.compile(r"\s{0,8}(?:[-_*#~=+–—ᐧ]\s?){2,}$|\s{0,8}[—ᐧ]\s{0,2}$")
_SIGNATURE = re.compile(r"\s{0,2}(?:--\s?|—|–{2,}|—{2,}|_{2,}|-{2}\*?)\s{0,2}$")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")


def split(text: str, *, from_html: bool = False) -> tuple[str, str]:
    """What the person wrote, and everything that was taken away, in the order of the mail.

    In text made from HTML a `>` without an introduction is a blockquote that the person formatted.
    """
    lines = text.split("\n")
    scanned, rest = lines[:MAX_LINES], lines[MAX_LINES:]
    scanned = with_shared_lines_split(scanned)
    kinds = label(scanned)
    if from_html:
        _take_indentation_for_text(scanned, kinds)
    else:
        _join_wrapped_quotes(scanned, kinds)
    kept = _kept(scanned, kinds)
    if rest:  # too long to look at: it goes where the scan ended
        scanned, kept = [*scanned, *rest], [*kept, *([kept[-1]] * len(rest))]
    reply = [line for line, keep in zip(scanned, kept, strict=True) if keep]
    elided = [line for line, keep in zip(scanned, kept, strict=True) if not keep]
    return _trimmed(reply), _trimmed(elided)


def label(lines: list[str]) -> list[Kind]:
    """The kind of every line; what stands between code fences is always text."""
    kinds: list[Kind] = []
    fenced = False
    while len(kinds) < len(lines):
        at = len(kinds)
        line = lines[at][:MAX_LINE]
        if _FENCE.match(line):
            fenced = not fenced and _fence_closes(lines, at)
            kinds.append(Kind.TEXT)
        elif fenced:
            kinds.append(Kind.TEXT)
        else:
            kind, count = kind_at(lines, at, line)
            kinds.extend([kind] * count)
    return kinds


def _take_indentation_for_text(lines: list[str], kinds: list[Kind]) -> None:
    """Mail programs use blockquote for indented text, too: without an introduction it is the person's own."""
    at = 0
    while at < len(kinds):
        end = _run_end(kinds, at)
        if kinds[at] is Kind.QUOTE and not _is_introduced(lines, kinds, at):
            for position in range(at, end):
                lines[position] = re.sub(r"^\s{0,3}>\s?", "", lines[position])
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
    before = next((kind for kind in reversed(kinds[:at]) if kind is not Kind.BLANK), None)
    inside = [re.sub(r"^[\s>]{0,12}", "", line[:MAX_LINE]) for line in lines[at : at + 2 * MAX_INTRO_LINES]]
    first = next((position for position, line in enumerate(inside) if line), 0)
    return before in {Kind.INTRO, Kind.HEAD, Kind.BAR} or bool(
        introduction(inside, first) or header_block(inside, first)
    )


def _join_wrapped_quotes(lines: list[str], kinds: list[Kind]) -> None:
    """A line that a mail server broke off a long quoted one belongs to the quote around it."""
    for at in range(1, len(kinds) - 1):
        if kinds[at] is Kind.TEXT and kinds[at - 1] is Kind.QUOTE and kinds[at + 1] in {Kind.QUOTE, Kind.BLANK}:
            above = lines[at - 1][:MAX_LINE].rstrip()
            if len(above) > 70 and above[-1:] not in ".?!:" and lines[at][:1].islower():  # noqa: PLR2004 - wrapped at 72 to 78
                kinds[at] = Kind.QUOTE


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
        if kind in {Kind.BAR, Kind.HEAD, Kind.INTRO}:
            if written and (kind is not Kind.INTRO or not _followed_by_quote(kinds, at)):
                return at
            kept[at] = False
        elif kind is Kind.TEXT and not _RULE.match(lines[at][:MAX_LINE]):
            written = True
    return len(kinds)


def _followed_by_quote(kinds: list[Kind], at: int) -> bool:
    following = next((kind for kind in kinds[at + 1 :] if kind not in {Kind.BLANK, Kind.INTRO}), None)
    return following is Kind.QUOTE


def _drop_signature(lines: list[str], kinds: list[Kind], kept: list[bool]) -> None:
    """Cuts at a signature mark if what follows is short and something stands before it."""
    below = 0
    for at in range(len(lines) - 1, 0, -1):
        if not kept[at] or kinds[at] is not Kind.TEXT:
            continue
        if _SIGNATURE.match(lines[at][:MAX_LINE]):
            if any(keep and kind is Kind.TEXT for keep, kind in zip(kept[:at], kinds[:at], strict=True)):
                kept[at:] = [False] * (len(lines) - at)
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
    introduced = any(kind in {Kind.INTRO, Kind.BAR, Kind.HEAD} for kind in kinds[:first])
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
