"""Tells what a single line of a mail is, or begins: text, a quote, an introduction, a quoted header."""

import re
from enum import Enum, auto
from functools import lru_cache

from adapters.email.quote_words import (
    BAR_WORDS,
    DATE_LABELS,
    FOOTER_OPENERS,
    FORWARD_OPENERS,
    FROM_LABELS,
    MAIL_LABELS,
    OPENERS,
    OTHER_LABELS,
    WROTE,
    WROTE_UNSPACED,
)

MAX_LINE = 400
MAX_INTRO_LINES = 6
MAX_FOLDED = 2
MAX_BAR = 64


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
_WORDS = re.compile(r"\w+")
_WROTE_WORDS = frozenset(word for phrase in WROTE for word in _WORDS.findall(phrase.lower()))
_WROTE_ENDS = tuple(word.lower() for word in WROTE)
_ENDS = frozenset(":：-–—*_")
_ADDRESS = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}\.")
_TIME = re.compile(r"\d{1,2}\s?[:.h]\s?\d{2}")
_EVIDENCE = re.compile(r"[\d@<]")
_DIGITS = re.compile(r"\d+")
_ENDS_INTRO = re.compile(r"(?:[:：]|[-–—]{2,}|>:|\):)\s*[*_]{0,3}$")
_ENDS_ADDRESS = re.compile(r"[>)\]]\s?[:：]$")
_DATE_FIRST = re.compile(r"[\"'(]?(?:[^\W\d_]{2,12}[.,]{0,2}\s)?\d{1,4}(?:[./年-]|\s[^\W\d_]{3})", re.IGNORECASE)
_SHARED_LINE = re.compile(
    r"\S.{0,200}?[\s-](On (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|\d{1,2}[ /-]|[A-Z][a-z]{2,8} \d).{0,250}wrote:)\s*$"
)
_QUOTE = re.compile(r"\s{0,3}(?:>|&gt;|[A-Z]{1,3}>)")
_BRACKETED = re.compile(r"<\s{0,2}$|^[\s>]{0,4}[-–—_=*#]{2,}\s?|\s?[-–—_=*#]{2,}$")
_DRAWN = frozenset("-_=–—*")
_DECORATION = " \t>*-_=–—"
_MARK_UP = re.compile(r"[*_\[\]\\]|\((?:mailto|https?):[^)\s]{0,300}\)|<(?:mailto|https?):[^>]{0,300}>")


def kind_at(lines: list[str], at: int, line: str) -> tuple[Kind, int]:
    """What begins at this line, and how many lines it takes."""
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
    if line.rstrip(" *_\t").endswith(":"):
        return line.strip(" >*_\t").casefold().startswith(FORWARD_OPENERS)
    if line.lstrip(" \t>")[:1] not in _DRAWN:
        return False
    name = line.strip(_DECORATION)
    start = line.find(name)
    if not 2 < len(name) < MAX_BAR or not _is_drawn(line[:start]) or not _is_drawn(line[start + len(name) :]):  # noqa: PLR2004
        return False
    name = name.casefold().replace("’", "'")
    return any(word in name for word in BAR_WORDS) or _says_wrote(name[-12:])


def _is_drawn(edge: str) -> bool:
    """At least two dashes or the like."""
    return sum(char in _DRAWN for char in edge) > 1


def header_block(lines: list[str], at: int) -> int:
    """How many lines from `at` on are the header of a quoted mail; 0 if they are none."""
    if not _label_of(lines[at][:MAX_LINE]):
        return 0
    labels: list[str] = []
    has_address = False
    position = last = at
    while position < min(at + 14, len(lines)):
        line = lines[position][:MAX_LINE]
        if found := _label_of(line):
            labels.append(found)
            last = position
        elif _ends_header(lines, position, last):
            break
        has_address = has_address or "@" in line
        position += 1
    found_one = _stands_after_bar(lines, at) and any(name in FROM_LABELS for name in labels)
    return last + 1 - at if found_one or _is_header(labels, has_address=has_address) else 0


def _ends_header(lines: list[str], position: int, last: int) -> bool:
    """A blank line with no label after it, or more lines than a folded value has."""
    if not lines[position].strip():
        return not _label_soon(lines, position)
    return position - last > MAX_FOLDED


def _stands_after_bar(lines: list[str], at: int) -> bool:
    above = next((line[:MAX_LINE] for line in reversed(lines[max(at - 2, 0) : at]) if line.strip()), "")
    return is_bar(above)


def _label_soon(lines: list[str], position: int) -> bool:
    return position + 1 < len(lines) and bool(_label_of(lines[position + 1][:MAX_LINE]))


@lru_cache(maxsize=16)  # windows of 14 lines, moved on by one
def _label_of(line: str) -> str:
    match = _LABEL.match(line)
    name = match.group(1).strip(" *_").casefold().replace("’", "'") if match else ""
    return name if name in _LABELS else ""


def _is_header(labels: list[str], *, has_address: bool) -> bool:
    """Enough labels, and something that only a mail's header has: `From: Berlin, To: Paris` is a journey."""
    distinct = set(labels)
    has_origin = any(name in FROM_LABELS or name in DATE_LABELS for name in distinct)
    if len(distinct) > 2:  # noqa: PLR2004 - three labels are no accident
        return has_origin and (has_address or bool(distinct & MAIL_LABELS))
    return len(distinct) == 2 and has_origin and has_address  # noqa: PLR2004 - nor are two with an address


def introduction(lines: list[str], at: int) -> int:
    """How many lines from `at` on introduce a quote (`On … wrote:`); 0 if they do not."""
    first = _plain(lines[at]) if _EVIDENCE.search(lines[at][:MAX_LINE]) else ""
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


@lru_cache(maxsize=8)  # windows of 6 lines, moved on by one
def _plain(line: str) -> str:
    """The line without the decoration that clients and converters add."""
    line = _MARK_UP.sub("", line[:MAX_LINE]).strip()
    return _BRACKETED.sub(lambda match: "<" if match.group().startswith("<") else " ", line).strip()


def _may_introduce(first: str, lines: list[str], at: int) -> bool:
    if not first:
        return False
    if _OPENER.match(first):
        return bool(_DIGITS.search(first))
    if _DATE_FIRST.match(first) or _has_address(first) or _says_wrote(first):
        return True
    following = lines[at + 1][:MAX_LINE] if at + 1 < len(lines) else ""
    return first.endswith("<") and _has_address(following)


def _blank_is_inside(joined: str) -> bool:
    """Some clients break `On … wrote:` over blank lines, always after the date."""
    return bool(_OPENER.match(joined)) and bool(_TIME.search(joined)) and len(joined) < 200  # noqa: PLR2004


def _introduces(joined: str, first: str) -> bool:
    if not _may_end(joined):
        return False
    address = "@" in joined
    dated = len(_DIGITS.findall(joined)) > 1
    wrote = _says_wrote(joined) or any(word in joined for word in WROTE_UNSPACED)
    if wrote and (address or dated) and (_ENDS_INTRO.search(joined) or _ends_with_verb(joined)):
        return bool(_OPENER.match(first) or address or _TIME.search(joined) or _DATE_FIRST.match(first))
    return (
        address
        and dated
        and bool(_DATE_FIRST.match(first) or _OPENER.match(first))
        and bool(_ENDS_ADDRESS.search(joined))
    )


def _may_end(joined: str) -> bool:
    """Whether an introduction can end so: with a sign, or its verb and one more. Nearly every text does not."""
    tail = joined[-16:].lower()
    return tail[-1:] in _ENDS or tail.endswith(_WROTE_ENDS) or tail[:-1].endswith(_WROTE_ENDS)


def _says_wrote(text: str) -> bool:
    """The words are looked up first: the alternatives of the expression cost 10 microseconds a line."""
    return not _WROTE_WORDS.isdisjoint(_WORDS.findall(text.lower())) and bool(_WROTE.search(text))


def _has_address(text: str) -> bool:
    return "@" in text and bool(_ADDRESS.search(text))


def _ends_with_verb(joined: str) -> bool:
    """Without a colon it must look like a whole introduction: opener, date and, last, the verb."""
    last = list(_WROTE.finditer(joined))
    return (
        bool(last) and last[-1].end() >= len(joined) - 1 and bool(_OPENER.match(joined)) and bool(_TIME.search(joined))
    )


def with_shared_lines_split(lines: list[str]) -> list[str]:
    """Puts an introduction on a line of its own where the client glued it to the reply."""
    out: list[str] = []
    for line in lines:
        match = _SHARED_LINE.match(line) if "wrote:" in line and len(line) < MAX_LINE else None
        if match and not _OPENER.match(line.strip()) and not is_quote(line):
            out += [line[: match.start(1)].rstrip(" -"), match.group(1)]
        else:
            out.append(line)
    return out


def is_footer(line: str) -> bool:
    """`Sent from my iPhone` and its like: known opening, and not a sentence that goes on."""
    bare = _MARK_UP.sub("", line).strip(" .-\t").casefold()
    return len(bare) < 80 and "," not in bare and bare.count(" ") < 9 and bare.startswith(FOOTER_OPENERS)  # noqa: PLR2004
