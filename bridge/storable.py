"""Words as every database and every encoder takes them."""

import hashlib
from typing import Any, Final

LONGEST_NAME: Final = 512
"""Characters: in four bytes each, what an index of PostgreSQL takes in one entry, beside the name of a source."""


def storable(text: str) -> str:
    """With a mark (U+FFFD) in place of a NUL, and of half a surrogate pair, which a cut emoji leaves."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def storable_id(given: object) -> str:
    """A platform's id for something of ours, as a text, whatever an adapter makes of it: a number, say."""
    return storable(str(given))


def storable_name(text: str) -> str:
    """What rows are found by: where no index takes it, its digest."""
    name = storable(text)
    return name if len(name) <= LONGEST_NAME else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def storable_value(value: Any) -> Any:
    """A plain value, as JSON has them, of which all words are so; tuples become lists."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list | tuple):
        return [storable_value(item) for item in value]
    if isinstance(value, dict):
        return {storable_value(name): storable_value(item) for name, item in value.items()}
    return value
