"""The smallest JSON that fits a schema, for the brain that has nothing to say."""

from collections.abc import Mapping
from typing import Any, Final

_DEEPEST: Final = 20
_MOST: Final = 1000


def smallest_instance(schema: Mapping[str, Any]) -> Any:
    """Something small that fits a schema of ordinary words. What it cannot satisfy (a pattern) shows in validation."""
    return _Maker(schema).make(schema, 0)


class _Maker:
    """Makes at most so many values: a schema may ask for lists of lists of lists."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MOST

    def make(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > _DEEPEST or self._left < 0:
            return None
        found, value = _given(schema)
        if found:
            return value
        if isinstance(reference := schema.get("$ref"), str):
            return self.make(_referenced(reference, self._root), depth + 1)
        for word in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(word), list) and schema[word]:
                return self.make(schema[word][0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        kind = kind if isinstance(kind, str) else None
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array":
            wanted = min(_whole(schema.get("minItems")), max(self._left, 0))
            return [self.make(schema.get("items", {}), depth + 1) for _ in range(wanted)]
        if kind in {"integer", "number"}:
            return _number(schema)
        return {"string": "x" * min(_whole(schema.get("minLength")), _MOST), "boolean": False}.get(str(kind))

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        known = properties if isinstance(properties, Mapping) else {}
        required = schema.get("required")
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        return {name: self.make(known.get(name, {}), depth + 1) for name in names[: max(self._left, 0)]}


def _given(schema: Mapping[str, Any]) -> tuple[bool, Any]:
    """A value that the schema itself holds ready."""
    for word in ("const", "default"):
        if word in schema:
            return True, schema[word]
    for word in ("enum", "examples"):
        if isinstance(schema.get(word), list) and schema[word]:
            return True, schema[word][0]
    return False, None


def _number(schema: Mapping[str, Any]) -> int | float:
    lowest = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    if not isinstance(lowest, int | float):
        return 0
    return lowest + 1 if "exclusiveMinimum" in schema else max(lowest, 0)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _referenced(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found
