"""What the command line prints: tables for people, one JSON document for programs."""

import dataclasses
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
WIDEST = 60


def print_json(content: object) -> None:
    """One document on stdout."""
    sys.stdout.write(_ANY.dump_json(content, indent=2).decode() + "\n")


def print_table(rows: Iterable[Sequence[object]], *head: str) -> None:
    """Columns as wide as they need to be; an empty table says so."""
    lines = [list(head), *([_cell(cell) for cell in row] for row in rows)]
    if len(lines) == 1:
        sys.stdout.write("(none)\n")
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")


def print_fields(view: Any) -> None:
    """One thing, a line for each of its fields; what it contains comes indented below."""
    _print_fields(view, "", "")


def print_line(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")


def print_error(text: str) -> None:
    """For people, on stderr."""
    sys.stderr.write(text.rstrip("\n") + "\n")


def shown(text: str) -> str:
    """What a stranger wrote, for a terminal: without what would command it (colours, titles, the order of writing)."""
    return _COMMANDS.sub("\ufffd", text)


def _print_fields(view: Any, first: str, indent: str) -> None:
    width = max(len(field.name) for field in dataclasses.fields(view))
    lead = first
    for field in dataclasses.fields(view):
        value = getattr(view, field.name)
        if value in (None, (), {}):
            continue
        if isinstance(value, tuple) and dataclasses.is_dataclass(value[0]):
            sys.stdout.write(f"{lead}{field.name}:\n")
            for each in value:
                _print_fields(each, f"{indent}  - ", f"{indent}    ")
        else:
            sys.stdout.write(f"{lead}{field.name.ljust(width)}  {_text(value)}\n")
        lead = indent


def _cell(value: object) -> str:
    text = " ".join(_text(value).split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return shown(str(value))
