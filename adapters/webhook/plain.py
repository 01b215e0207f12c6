"""Bytes that were verified but are still a stranger's, as plain values. Raises Malformed and nothing else."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from bridge.errors import Malformed
from bridge.storable import storable, storable_value

MAX_FIELDS = 1000
_LIST_FIELDS = frozenset({"files"})
_JSON_FIELDS = frozenset({"user", "metadata", "output_schema"})
_AWKWARD = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|\x00")


class Unmappable(ValueError):
    """Authentic and readable, but no message can be made of it; the text says why, for a person."""


def json_value(body: bytes) -> Any:
    """The body as JSON, as RFC 8259 has it: UTF-8, no NaN, no Infinity. Raises Malformed."""
    try:
        value = _DECODER.decode(utf8(body).removeprefix("\ufeff"))  # some writers put a byte order mark before it
        # What a database or a UTF-8 writer would choke on later is taken out here; most bodies never need it.
        # Without an escape there is none of an awkward character, and a substring is found far sooner than a pattern.
        is_awkward = (b"\\u" in body or b"\0" in body) and _AWKWARD.search(body)
        return storable_value(value) if is_awkward else value
    except (ValueError, RecursionError):
        raise Malformed("The body is not valid JSON.") from None


def form_pairs(body: bytes) -> list[tuple[str, str]]:
    """The fields of a URL-encoded form, in order. Raises Malformed."""
    try:
        return parse_qsl(utf8(body), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise Malformed(f"The form cannot be read: it must be UTF-8 with at most {MAX_FIELDS} fields.") from None


def form_fields(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """A form as the object that JSON would have given: empty fields are absent, `files` is a list.

    `user`, `metadata` and `output_schema` may hold JSON.
    """
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in _LIST_FIELDS:
            fields.setdefault(name, []).append(storable(value))
        elif value:
            fields[storable(name)] = storable(value)
    for name in _JSON_FIELDS & fields.keys():
        fields[name] = json_value(fields[name].encode())
    return fields


def utf8(body: bytes) -> str:
    """The body's text. Raises Malformed where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
