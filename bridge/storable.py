"""Words as every database and every encoder takes them."""

from typing import Any


def storable(text: str) -> str:
    """With a mark (U+FFFD) in place of a NUL, and of half a surrogate pair, which a cut emoji leaves."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def storable_value(value: Any) -> Any:
    """A plain value, as JSON has them, of which all words are so; tuples become lists."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list | tuple):
        return [storable_value(item) for item in value]
    if isinstance(value, dict):
        return {storable_value(name): storable_value(item) for name, item in value.items()}
    return value
