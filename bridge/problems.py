"""What is wrong with a configuration, said so that the reader can mend it: where, what, and a right value."""

import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of a report."""

    path: Path
    text: str

    def __str__(self) -> str:
        return f"{path_text(self.path)}: {self.text}" if self.path else self.text

    def lies_within(self, paths: Iterable[Path]) -> bool:
        """Whether it speaks of one of these places or of something inside."""
        return any(self.path[: len(path)] == path for path in paths)


def path_text(path: Path) -> str:
    """`sources.orders.secrets[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def problems_of(
    error: ValidationError, model: type[BaseModel], raw: Mapping[str, Any], path: Path, also_known: Iterable[str] = ()
) -> Iterator[Problem]:
    """Each finding of pydantic, in our words. No value is repeated: it may be a secret."""
    seen: set[Path] = set()
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        where = _present(detail["loc"], raw)
        if detail["type"] == "extra_forbidden":
            known = _known_names(model, where[:-1]) + (tuple(also_known) if len(where) == 1 else ())
            yield Problem(path + where, "is not an option" + _nearest(str(where[-1]), known))
        elif where not in seen:  # a union reports each of its members
            seen.add(where)
            yield Problem(path + where, _said(detail["type"], detail["msg"]) + _example_text(model, where))


def unknown_name(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that says which names there are."""
    return _nearest(name, tuple(known))


def _said(kind: str, message: str) -> str:
    if kind == "missing":
        return "is required"
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if text.startswith("Value should"):  # pydantic's word for the length of a secret
        text = text.replace("items", "characters").replace("item", "character")
    text = re.sub(r"^(Input|Value|String|Tuple|List|Dictionary) should", "should", text).replace(
        " after validation", ""
    )
    return text[:1].lower() + text[1:]


def _nearest(name: str, known: Sequence[str]) -> str:
    if near := get_close_matches(name, known, n=1, cutoff=0.6):
        return f'; did you mean "{near[0]}"?'
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _present(location: Path, raw: Any) -> Path:
    """The part of pydantic's location that is in the file: it also names members of unions."""
    where: list[str | int] = []
    for part in location:
        if isinstance(raw, Mapping) and isinstance(part, str):
            where.append(part)
            raw = raw.get(part)
        elif isinstance(raw, list | tuple) and isinstance(part, int):
            where.append(part)
            raw = raw[part] if part < len(raw) else None
    return tuple(where)


def _known_names(model: type[BaseModel], where: Path) -> tuple[str, ...]:
    current: type[BaseModel] | None = model
    for part in where:
        field = current.model_fields.get(str(part)) if current else None
        if field:
            current = _model_in(field.annotation)
    return tuple(current.model_fields) if current else ()


def _example_text(model: type[BaseModel], where: Path) -> str:
    current, field = model, None
    names = [part for part in where if isinstance(part, str)]
    for name in names:
        field = current.model_fields.get(name)
        if field is None:
            return ""
        current = _model_in(field.annotation) or current
    example = _example(field) if field else None
    return "" if example is None else f"; for example {names[-1]} = {_toml(example)}"


def _example(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return get_args(annotation)[0]
    if annotation is bool:
        return True
    return None if isinstance(field.default, SecretStr) or not isinstance(field.default, str | int) else field.default


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, types.UnionType, tuple, list, dict, Mapping}:
        return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
    return None


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
