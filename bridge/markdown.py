"""Split Markdown where nothing breaks: between blocks, items, rows and lines, between words last.

A fence is closed and opened again with the same info string, a table's head and a quote's marks
are repeated, a continued list item moves to the left margin. A block that fits into one part is
never cut; a link, code span, `<...>` or entity is cut only where it alone exceeds the limit.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from markdown_it import MarkdownIt
from markdown_it.token import Token

_SMALLEST = 40
"""A fence's two lines and something between them need so much room."""

_BLOCKS = MarkdownIt("commonmark").enable("table")
_BLOCKS.core.ruler.enableOnly(["normalize", "block"])  # where blocks start and end is all that is asked

_LINE_END = re.compile("\r\n?")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # str.splitlines knows eight line ends that Markdown does not
_BLANK_HEAD = re.compile(r"\A(?:[ \t]*\n)+")
_MARKER = re.compile(r" *(?:[-+*]|\d{1,9}[.)])(?: {1,4}(?! )| (?= {4})|$)", re.MULTILINE)
_QUOTE = re.compile(r" {0,3}(?:> ?){1,20}")
_JOINERS = "\u200d\ufe0e\ufe0f"
_WHOLE = re.compile(  # quantifiers are bounded and exclude what starts them: linear on any input
    r"(?P<ticks>`{1,3})[^`\n]{1,1000}(?P=ticks)"
    r"|!?\[[^\[\]\n]{0,1000}\]\([^()\s]{0,2000}(?: \"[^\"\n]{0,300}\")?\)"
    r"|<[^<>\n]{1,2000}>"
    r"|&#?\w{1,32};"
    r"|[^\s`\[<&!]+"
    r"|\s+"
    r"|."
)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is repeated around a cut inside a block: a fence, a table's head, a quote's marks."""

    opening: str = ""
    closing: str = ""

    def within(self, limit: int) -> "_Frame":
        """Itself, or nothing where it would take up half of every part."""
        return self if len(self.opening) + len(self.closing) <= limit // 2 else _NO_FRAME


_NO_FRAME = _Frame()


@dataclass(frozen=True, slots=True)
class _Piece:
    """Text that stays together. All pieces in order are the whole text."""

    text: str
    indent: int = 0
    """Columns on the left that belong to the list items around it."""
    frame: _Frame = _NO_FRAME
    opens: bool = True
    """Needs no repeated opening before it."""
    closes: bool = True
    """Needs no closing after it."""
    leads: bool = False
    """A heading: it goes where the next piece goes."""


@dataclass(slots=True)
class _Block:
    """A block by its lines, with the blocks inside it."""

    kind: str
    start: int
    end: int
    markup: str = ""
    closed: bool = True
    inner: "list[_Block]" = field(default_factory=list)


def split(text: str, limit: int) -> tuple[str, ...]:
    """Cut `text` into parts of at most `limit` characters (code points), in order; blank text gives none.

    The parts hold every character of the text but white space, and beyond it only what is repeated
    around a cut. Raises ValueError for a limit below 40.
    """
    if limit < _SMALLEST:
        raise ValueError(f"a limit of {limit} is too small to split Markdown; use at least {_SMALLEST}")
    text = _LINE_END.sub("\n", text)
    if len(text) <= limit:
        return (text,) if text.strip() else ()
    lines = _LINE.findall(text)
    root = _Block("document", 0, len(lines), inner=_tree(_BLOCKS.parse(text)))
    return tuple(part for part in _pack(_Cutter(lines, limit).inside(root, 0), limit) if part)


def _tree(tokens: Sequence[Token]) -> list[_Block]:
    """The blocks of a token stream, nested."""
    above = [_Block("document", 0, 0)]
    for token in tokens:
        if token.nesting < 0:
            above.pop()
        elif token.map is not None and token.type != "inline":
            start, end = token.map
            closed = token.content.count("\n") == end - start - 2  # only asked of a fence: its two own lines
            block = _Block(token.type, start, end, token.markup, closed)
            above[-1].inner.append(block)
            if token.nesting > 0:
                above.append(block)
        elif token.nesting > 0:
            above.append(above[-1])  # a table cell: it has no lines of its own
    return above[0].inner


@dataclass(frozen=True, slots=True)
class _Cutter:
    lines: Sequence[str]
    limit: int

    def inside(self, block: _Block, indent: int) -> Iterator[_Piece]:
        """The pieces of a block too long for one part. Lines between inner blocks go with the one before."""
        starts = [inner.start for inner in block.inner]
        yield from self._by_line(block.start, starts[0] if starts else block.end, indent)
        for inner, end in zip(block.inner, [*starts[1:], block.end], strict=False):
            yield from self._block(replace(inner, end=end), indent, own_end=inner.end)

    def _block(self, block: _Block, indent: int, own_end: int) -> Iterator[_Piece]:
        text = "".join(self.lines[block.start : block.end])
        if len(text.rstrip()) <= self.limit:
            yield _Piece(text, indent, leads=block.kind == "heading_open")
        elif block.kind == "fence":
            yield from self._fence(block, indent, own_end)
        elif block.kind == "table_open":
            yield from self._table(block, indent)
        elif block.kind == "list_item_open":
            marker = _MARKER.match(self.lines[block.start], indent)
            for number, piece in enumerate(self.inside(block, marker.end() if marker else indent)):
                yield piece if number else replace(piece, indent=indent)  # the first one carries the marker
        else:
            yield from self.inside(block, indent)

    def _fence(self, block: _Block, indent: int, own_end: int) -> Iterator[_Piece]:
        opening = self.lines[block.start]
        closing = opening[: opening.find(block.markup)] + block.markup
        frame = _Frame(opening, "\n" + closing).within(self.limit)
        if frame is _NO_FRAME:  # an info string as long as a part
            frame = _Frame(closing + "\n", "\n" + closing).within(self.limit)
        body_end = own_end - 1 if block.closed else own_end
        yield from self._words(_Piece(opening, indent, frame, closes=False))
        for line in self.lines[block.start + 1 : body_end]:
            yield from self._words(_Piece(line, indent, frame, opens=False, closes=False))
        rest = "".join(self.lines[body_end : block.end])
        yield from self._words(_Piece(rest, indent, frame, opens=False, closes=block.closed))

    def _table(self, block: _Block, indent: int) -> Iterator[_Piece]:
        body = block.start + 2
        head = "".join(self.lines[block.start : body])
        frame = _Frame(head).within(self.limit)
        yield from self._words(_Piece(head, indent, frame))
        for line in self.lines[body : block.end]:
            yield from self._words(_Piece(line, indent, frame, opens=False))

    def _by_line(self, start: int, end: int, indent: int) -> Iterator[_Piece]:
        for line in self.lines[start:end]:
            quote = _QUOTE.match(line)
            yield from self._words(_Piece(line, indent, (_Frame(quote[0]) if quote else _NO_FRAME).within(self.limit)))

    def _words(self, piece: _Piece) -> Iterator[_Piece]:
        """The piece, or where it alone is too long its words, as full as they go."""
        room = self.limit - len(piece.frame.opening) - len(piece.frame.closing)
        if len(piece.text.rstrip()) <= room:
            yield piece
            return
        cuts = list(_filled(piece.text, room))
        for number, text in enumerate(cuts):
            last = number == len(cuts) - 1
            yield replace(piece, text=text, opens=piece.opens and not number, closes=piece.closes and last)


def _filled(text: str, room: int) -> Iterator[str]:
    """Slices of at most `room` characters but for white space at their end, cut between words or whole things."""
    start = word = 0
    for match in _WHOLE.finditer(text):
        if match[0].isspace():
            word = match.end()
            continue
        while match.end() - start > room:
            whole = match.start()
            cut = next((at for at in (word, whole) if at > start), None) or _between_characters(text, start, room)
            yield text[start:cut]
            start = cut
    yield text[start:]


def _between_characters(text: str, start: int, room: int) -> int:
    """The last place in a slice that tears no letter from its accents and no emoji apart."""
    for at in range(start + room, start + room // 2, -1):
        if not (unicodedata.combining(text[at]) or text[at] in _JOINERS or text[at - 1] in _JOINERS):
            return at
    return start + room


def _pack(pieces: Iterator[_Piece], limit: int) -> Iterator[str]:
    """Parts as full as they go. A heading is not left alone at the end of one."""
    part: list[_Piece] = []
    size = 0
    for piece in pieces:
        tail = len(piece.text.rstrip()) + (0 if piece.closes else len(piece.frame.closing))
        if part and size + tail > limit:
            carried = part.pop() if part[-1].leads and len(part) > 1 and len(part[-1].text) + tail <= limit else None
            yield _joined(part)
            part = [carried] if carried else []
            size = len(carried.text) if carried else 0
        if not part and not piece.opens:
            size = len(piece.frame.opening)
        part.append(piece)
        size += len(piece.text)
    yield _joined(part)


def _joined(pieces: Sequence[_Piece]) -> str:
    if not pieces:
        return ""
    first, last = pieces[0], pieces[-1]
    margin = first.indent
    texts = [] if first.opens else [_moved(first.frame.opening, margin)]
    for piece in pieces:
        margin = min(margin, piece.indent)
        texts.append(_moved(piece.text, margin))
    text = "".join(texts)
    text = _BLANK_HEAD.sub("", text) if first.opens else text
    return text.rstrip() + ("" if last.closes else _moved(last.frame.closing, margin))


def _moved(text: str, columns: int) -> str:
    """The text with up to `columns` blanks of indentation taken off each line that has them all."""
    return re.sub(f"(?m)^ {{{columns}}}", "", text) if columns else text
