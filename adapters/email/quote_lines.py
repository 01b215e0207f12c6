"""Tells what a person wrote in a mail from what the mail program repeated: one bounded scan over lines.

Every regular expression here sees at most 400 characters of a line, and none can backtrack over more than
it has seen; what lies beyond 4,000 lines is taken over as it is. A quote too much is better than a sentence lost.
"""

import re
from enum import Enum, auto

from adapters.email.quote_words import (
    BAR_WORDS,
    DATE_LABELS,
    FOOTER_OPENERS,
    FORWARD_OPENERS,
    FROM_LABELS,
    OPENERS,
    OTHER_LABELS,
    WROTE,
    WROTE_UNSPACED,
)

MAX_LINES = 4000
MAX_LINE = 400
MAX_INTRO_LINES = 6
MAX_SIGNATURE_LINES = 12


class Kind(Enum):
    """What a line is."""

    TEXT = auto()
    BLANK = auto()
    QUOTE = auto()
    INTRO = auto()  # "On … wrote:"
    HEAD = auto()  # From:, Sent:, To:, Subject: of a quoted mail
    BAR = auto()  # -----Original Message-----


_LABELS = frozenset(FROM_LABELS) | frozenset(OTHER_LABELS)
_LABEL = re.compile(r"[\s>*_|]{0,20}([^\W\d_][^:：\n<>@]{0,24}?)[\s*_]{0,4}[:：]([*_]{0,3})(.{0,300})$")
_WROTE = re.compile(
    r"(?<!\w)(?:" + "|".join(re.escape(word) for word in sorted(WROTE, key=len, reverse=True)) + r")(?!\w)",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"(?:" + "|".join(re.escape(word) for word in sorted(OPENERS, key=len, reverse=True)) + r")(?![a-z])[\s.:,]?",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}\.")
_TIME = re.compile(r"\d{1,2}\s?[:.h]\s?\d{2}")
_DIGITS = re.compile(r"\d+")
_ENDS_INTRO = re.compile(r"(?:[:：]|[-–—]{2,}|>:|\):)\s*[*_]{0,3}$")
_ENDS_ADDRESS = re.compile(r"[>)\]]\s?[:：]$")
_DATE_FIRST = re.compile(r"[\"'(]?(?:[^\W\d_]{2,12}[.,]{0,2}\s)?\d{1,4}(?:[./年-]|\s[^\W\d_]{3})", re.IGNORECASE)
_SHARED_LINE = re.compile(
    r"\S.{0,200}?[\s-](On (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|\d{1,2}[ /-]|[A-Z][a-z]{2,8} \d).{0,250}wrote:)\s*$"
)
_QUOTE = re.compile(r"\s{0,3}(?:>|&gt;|[A-Z]{1,3}>)")
_BRACKETED = re.compile(r"<\s{0,2}$|^[\s>]{0,4}[-–—_=*#]{2,}\s?|\s?[-–—_=*#]{2,}$")
_RULE = re.compile(r"\s{0,8}(?:[-_*#~=+–—ᐧ]\s?){2,}$|\s{0,8}[—ᐧ]\s{0,2}$")
_SIGNATURE = re.compile(r"\s{0,2}(?:--\s?|—|–{2,}|—{2,}|_{2,}|-{2}\*?)\s{0,2}$")
_BAR = re.compile(r"[\s>*]{0,6}(?:[-_=–—*]\s?){2,}\s?([^-_=–—*].{2,60}?)\s?(?:[-_=–—*]\s?){2,}$")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
_MARK_UP = re.compile(r"[*_\[\]\\]|\((?:mailto|https?):[^)\s]{0,300}\)|<(?:mailto|https?):[^>]{0,300}>")


def split(text: str, *, from_html: bool = False) -> tuple[str, str]:
    """What the person wrote, and everything that was taken away, in the order of the mail.

    In text made from HTML a `>` without an introduction is a blockquote that the person formatted.
    """
    lines = text.split("\n")
    scanned, rest = lines[:MAX_LINES], lines[MAX_LINES:]
    scanned = _with_shared_lines_split(scanned)
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
            kind, count = _kind_at(lines, at, line)
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


def _kind_at(lines: list[str], at: int, line: str) -> tuple[Kind, int]:
    if not line.strip():
        return Kind.BLANK, 1
    if is_quote(line):
        return Kind.QUOTE, 1
    if is_bar(line):
        return Kind.BAR, 1
    if count := header_block(lines, at):
        return Kind.HEAD, count
    if count := introduction(lines, at):
        return Kind.INTRO, count
    return Kind.TEXT, 1


def is_quote(line: str) -> bool:
    """A line that the mail program prefixed; `>>> … <<<` is decoration that people write."""
    return bool(_QUOTE.match(line)) and not line.rstrip().endswith("<<<")


def is_bar(line: str) -> bool:
    """`-----Original Message-----` and its like, or the words with which Apple Mail begins a forward."""
    bare = line.strip(" >*_\t").casefold()
    if any(bare.startswith(opener) for opener in FORWARD_OPENERS) and bare.endswith(":"):
        return True
    match = _BAR.match(line)
    if match is None:
        return False
    name = match.group(1).casefold().replace("’", "'")
    return any(word in name for word in BAR_WORDS) or bool(_WROTE.search(name[-12:]))


def header_block(lines: list[str], at: int) -> int:
    """How many lines from `at` on are the header of a quoted mail; 0 if they are none."""
    labels: list[str] = []
    has_address = False
    position = last = at
    after_bar = at > 0 and is_bar(
        next((line[:MAX_LINE] for line in reversed(lines[max(at - 2, 0) : at]) if line.strip()), "")
    )
    while position < min(at + 14, len(lines)):
        line = lines[position][:MAX_LINE]
        found = _label_of(line)
        if found:
            labels.append(found)
            last = position
        elif (
            (not line.strip() and labels and not _label_soon(lines, position))
            or not labels
            or (line.strip() and position - last > 2)
        ):
            break
        has_address = has_address or "@" in line
        position += 1
    found_one = after_bar and any(name in FROM_LABELS for name in labels)
    return last + 1 - at if found_one or _is_header(labels, has_address=has_address) else 0


def _label_soon(lines: list[str], position: int) -> bool:
    return position + 1 < len(lines) and bool(_label_of(lines[position + 1][:MAX_LINE]))


def _label_of(line: str) -> str:
    match = _LABEL.match(line)
    name = match.group(1).strip(" *_").casefold().replace("’", "'") if match else ""
    return name if name in _LABELS else ""


def _is_header(labels: list[str], *, has_address: bool) -> bool:
    distinct = set(labels)
    has_from = any(name in FROM_LABELS for name in distinct)
    if len(distinct) >= 3:  # noqa: PLR2004 - three labels are no accident
        return has_from or has_address or bool(distinct & DATE_LABELS)
    return len(distinct) == 2 and has_address and (has_from or bool(distinct & DATE_LABELS))  # noqa: PLR2004


def introduction(lines: list[str], at: int) -> int:
    """How many lines from `at` on introduce a quote (`On … wrote:`); 0 if they do not."""
    first = _plain(lines[at])
    if not _may_introduce(first, lines, at):
        return 0
    joined = ""
    for count in range(1, MAX_INTRO_LINES + 1):
        if at + count > len(lines):
            return 0
        line = lines[at + count - 1][:MAX_LINE].strip()
        if not line and not _blank_is_inside(joined):
            return 0
        joined = f"{joined} {_plain(line)}".strip()
        if len(joined) > MAX_LINE:
            return 0
        if _introduces(joined, first):
            return count
    return 0


def _plain(line: str) -> str:
    """The line without the decoration that clients and converters add."""
    line = _MARK_UP.sub("", line[:MAX_LINE]).strip()
    return _BRACKETED.sub(lambda match: "<" if match.group().startswith("<") else " ", line).strip()


def _may_introduce(first: str, lines: list[str], at: int) -> bool:
    if not first:
        return False
    if _OPENER.match(first):
        return bool(_DIGITS.search(first))
    if _DATE_FIRST.match(first) or _ADDRESS.search(first):
        return True
    if _WROTE.search(first):
        return True
    following = lines[at + 1][:MAX_LINE] if at + 1 < len(lines) else ""
    return first.endswith("<") and bool(_ADDRESS.search(following))


def _blank_is_inside(joined: str) -> bool:
    """Some clients break `On … wrote:` over blank lines, always after the date."""
    return bool(_OPENER.match(joined)) and bool(_TIME.search(joined)) and len(joined) < 200  # noqa: PLR2004


def _introduces(joined: str, first: str) -> bool:
    address = bool(_ADDRESS.search(joined)) or "@" in joined
    dated = len(_DIGITS.findall(joined)) > 1
    wrote = bool(_WROTE.search(joined)) or any(word in joined for word in WROTE_UNSPACED)
    if wrote and (address or dated) and (_ENDS_INTRO.search(joined) or _ends_with_verb(joined)):
        return bool(_OPENER.match(first) or address or _TIME.search(joined) or _DATE_FIRST.match(first))
    return (
        address
        and dated
        and bool(_DATE_FIRST.match(first) or _OPENER.match(first))
        and bool(_ENDS_ADDRESS.search(joined))
    )


def _ends_with_verb(joined: str) -> bool:
    """Without a colon it must look like a whole introduction: opener, date and, last, the verb."""
    last = list(_WROTE.finditer(joined))
    return (
        bool(last) and last[-1].end() >= len(joined) - 1 and bool(_OPENER.match(joined)) and bool(_TIME.search(joined))
    )


def _with_shared_lines_split(lines: list[str]) -> list[str]:
    """Puts an introduction on a line of its own where the client glued it to the reply."""
    out: list[str] = []
    for line in lines:
        match = _SHARED_LINE.match(line) if "wrote:" in line and len(line) < MAX_LINE else None
        if match and not _OPENER.match(line.strip()) and not is_quote(line):
            out += [line[: match.start(1)].rstrip(" -"), match.group(1)]
        else:
            out.append(line)
    return out


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


def is_footer(line: str) -> bool:
    """`Sent from my iPhone` and its like: known opening, and not a sentence that goes on."""
    bare = _MARK_UP.sub("", line).strip(" .-\t").casefold()
    return len(bare) < 80 and "," not in bare and bare.count(" ") < 9 and bare.startswith(FOOTER_OPENERS)  # noqa: PLR2004


def _trimmed(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip("\n")
