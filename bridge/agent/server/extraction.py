"""The text in a file. Runs in a process of its own that may be killed, since files come from anywhere.

The libraries for PDF, Word and Excel are the extra `files`; they are imported where they are used, in that process.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from typing import Any, Final

MOST_PAGES: Final = 100
"""Above roughly this many pages a PDF no longer fits a model's request, by the service's own pages."""

_DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_OFFICE: Final = {".docx": _DOCX, ".xlsx": _XLSX}
_TEXTUAL: Final = ("text/", "application/json", "application/xml", "application/yaml", "image/svg+xml")


class TooMuch(ValueError):
    """More than a model can take in one request."""


class Unreadable(ValueError):
    """A file without text that we could find; the message completes the sentence "it …"."""


def text_of(content: bytes, media_type: str, name: str, most_chars: int) -> str:
    """What the file says. Raises TooMuch or Unreadable; whatever a library raises about a broken file is Unreadable."""
    extension = name[name.rfind(".") :].lower() if "." in name else ""
    if media_type == "application/zip":  # every office format is a zip: the name tells which
        media_type = _OFFICE.get(extension, media_type)
    if (read := _READERS.get(media_type)) is None:
        if not media_type.startswith(_TEXTUAL):
            raise Unreadable(f"holds no text that can be read ({media_type})")
        read = _plain
    try:
        return _at_most(read(content), most_chars)
    except (TooMuch, Unreadable, MemoryError):
        raise
    except ImportError as error:
        raise Unreadable("cannot be read here: install agent-bridge[files]") from error
    except Exception as error:
        # Parsers of foreign formats fail on broken files in every way there is.
        raise Unreadable(f"is broken: {type(error).__name__}") from error


def _at_most(pieces: Iterable[str], most_chars: int) -> str:
    taken, length = [], 0
    for piece in pieces:
        taken.append(piece)
        length += len(piece)
        if length > most_chars:
            raise TooMuch(f"more than {most_chars} characters of text")
    return "".join(taken).strip()


def _plain(content: bytes) -> Iterator[str]:
    for encoding in ("utf-8-sig", "utf-16") if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else ("utf-8-sig",):
        try:
            yield content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return
    yield content.decode("cp1252", "replace")


def _pdf(content: bytes) -> Iterator[str]:
    from pypdf import PdfReader  # noqa: PLC0415 - see above

    pages = PdfReader(io.BytesIO(content)).pages
    if len(pages) > MOST_PAGES:
        raise TooMuch(f"{len(pages)} pages")
    for page in pages:
        yield page.extract_text() + "\n"


def _docx(content: bytes) -> Iterator[str]:
    from docx import Document  # noqa: PLC0415
    from docx.table import Table  # noqa: PLC0415

    for block in Document(io.BytesIO(content)).iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                yield "\t".join(cell.text for cell in row.cells) + "\n"
        else:
            yield block.text + "\n"


def _xlsx(content: bytes) -> Iterator[str]:
    from openpyxl import load_workbook  # noqa: PLC0415

    workbook = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    for sheet in workbook.worksheets:
        yield f"Sheet {sheet.title}\n"
        for row in sheet.iter_rows(values_only=True):
            if any(value is not None for value in row):
                yield _csv_line(row)


def _csv_line(row: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow("" if value is None else value for value in row)
    return line.getvalue()


class _Page(HTMLParser):
    """The visible text of a page, one line for each block."""

    _HIDDEN: Final = frozenset({"script", "style", "template", "noscript", "head"})
    _BLOCKS: Final = frozenset(
        "p div br li tr h1 h2 h3 h4 h5 h6 section article header footer table ul ol pre blockquote title".split()  # noqa: SIM905
    )

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's signature
        self._hidden += tag in self._HIDDEN
        if tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in self._HIDDEN and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(" ".join(data.split()) + " " if data.strip() else "")


def _html(content: bytes) -> Iterator[str]:
    page = _Page()
    page.feed("".join(_plain(content)))
    page.close()
    lines = (" ".join(line.split()) for line in "".join(page.pieces).split("\n"))
    yield "\n".join(line for line in lines if line)


_READERS: Final = {
    "application/pdf": _pdf,
    "text/html": _html,
    "application/xhtml+xml": _html,
    _DOCX: _docx,
    _XLSX: _xlsx,
}
