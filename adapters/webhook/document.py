"""The body of a verified request, read once, by its declared type and by nothing else.

Guessing a type or merging what two parsers found is how gateways were broken into (CVE-2026-21858).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from adapters.webhook.multipart import Upload, parts_of_form
from bridge.errors import Malformed, Unsupported
from bridge.model import Envelope

MAX_FIELDS = 1000
_LIST_FIELDS = frozenset({"files"})
_JSON_FIELDS = frozenset({"user", "metadata", "output_schema"})
_AWKWARD = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|\x00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a request said: its content, and beside it, never mixed in, headers, query and CloudEvents attributes."""

    content: Any
    uploads: tuple[Upload, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    event: Mapping[str, Any] = field(default_factory=dict)
    """CloudEvents context attributes; empty for every other request."""


def media_type(envelope: Envelope) -> str:
    """The declared type without its parameters, in lower case; JSON where none is declared."""
    declared = envelope.header("content-type") or "application/json"
    return declared.partition(";")[0].strip().lower()


def document_of(envelope: Envelope) -> Document:
    """The whole request, read. Raises Malformed or Unsupported."""
    content, uploads = content_of(envelope)
    return Document(content=content, uploads=uploads)


def content_of(envelope: Envelope) -> tuple[Any, tuple[Upload, ...]]:
    """The parsed body and the files in it. Raises Malformed or Unsupported."""
    declared = media_type(envelope)
    if declared == "application/json" or declared.endswith("+json"):
        return json_value(envelope.body), ()
    if declared == "application/x-www-form-urlencoded":
        return form_fields(form_pairs(envelope.body)), ()
    if declared == "multipart/form-data":
        pairs, uploads = parts_of_form(envelope)
        return form_fields(pairs), uploads
    if declared == "text/plain":
        return {"text": clean(utf8(envelope.body))}, ()
    raise Unsupported(
        f"{declared!r} is not read here. Send application/json, a form, multipart/form-data or text/plain."
    )


def json_value(body: bytes) -> Any:
    """The body as JSON, as RFC 8259 has it: UTF-8, no NaN, no Infinity. Raises Malformed."""
    try:
        value = _DECODER.decode(utf8(body))
    except (ValueError, RecursionError):
        raise Malformed("The body is not valid JSON.") from None
    # What a database or a UTF-8 writer would choke on later is taken out here; most bodies never need it.
    return _cleaned(value) if _AWKWARD.search(body) else value


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
            fields.setdefault(name, []).append(clean(value))
        elif value:
            fields[clean(name)] = clean(value)
    for name in _JSON_FIELDS & fields.keys():
        fields[name] = json_value(fields[name].encode())
    return fields


def utf8(body: bytes) -> str:
    """The body's text. Raises Malformed where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None


def clean(text: str) -> str:
    """Text that every database and every encoder takes: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {clean(name): _cleaned(item) for name, item in value.items()}
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
