"""JSON documents by pydantic's reader and writer: a third of the standard library's time for what a message brings.

Where those two are stricter than the standard library (half a surrogate pair, a byte order mark, depth), it decides.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json


def read(text: bytes | str) -> Any:
    """As json.loads. Raises ValueError or RecursionError as that does."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)


def written(document: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """As compact UTF-8; `default` makes something of what is no JSON. Raises TypeError or ValueError as json.dumps."""
    try:
        return to_json(document, fallback=default)
    except PydanticSerializationError:
        return json.dumps(document, default=default, separators=(",", ":")).encode()
