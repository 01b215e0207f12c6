"""JSON documents by pydantic's reader and writer: a third of the standard library's time for what a message brings.

Where those two are stricter than the standard library (half a surrogate pair, a byte order mark, depth), it decides.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json


def read(text: bytes | str) -> Any:
    """As json.loads. Raises ValueError or RecursionError as that does."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)


_UNSTORABLE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"""A NUL, or a surrogate: a pair of those is an emoji and one alone is nothing, which only a closer look tells."""


def read_storable(text: bytes) -> Any:
    """The same, without what no database takes: NUL, and halves of surrogate pairs, which a cut emoji leaves."""
    value = read(text)
    return value if _UNSTORABLE.search(text) is None else _storable(value)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return value


def written(document: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """As compact UTF-8; `default` makes something of what is no JSON. Raises TypeError or ValueError as json.dumps."""
    try:
        return to_json(document, fallback=default)
    except PydanticSerializationError:
        return json.dumps(document, default=default, separators=(",", ":")).encode()
