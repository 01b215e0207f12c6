"""JSON documents by pydantic's reader and writer: a third of the standard library's time for what a message brings.

Where those two are stricter than the standard library (half a surrogate pair, a byte order mark, depth), it decides.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from bridge.storable import storable_value


def read(text: bytes | str) -> Any:
    """As json.loads. Raises ValueError or RecursionError as that does."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)


_UNSTORABLE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"""A NUL, or a surrogate: a pair of those is an emoji and one alone is nothing, which only a closer look tells."""


def read_storable(text: bytes) -> Any:
    """The same, with a mark in place of what no database takes."""
    value = read(text)
    return value if _UNSTORABLE.search(text) is None else storable_value(value)


def written(document: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """As compact UTF-8; `default` makes something of what is no JSON. Raises TypeError or ValueError as json.dumps."""
    try:
        return to_json(document, fallback=default)
    except PydanticSerializationError:
        return json.dumps(document, default=default, separators=(",", ":")).encode()
