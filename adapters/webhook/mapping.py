"""From anybody's payload to the fields of a message, by expressions in the configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.webhook.document import Document
from adapters.webhook.expressions import (
    Expression,
    Template,
    as_text,
    expression_from_text,
    template_from_text,
)
from adapters.webhook.plain import Unmappable

R = TypeVar("R")

_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "x-gitlab-token"})

OptionName = Literal[
    "additional_context", "agent_version", "expected_output", "instructions_override", "output_format", "think_mode"
]
UserName = Literal["id", "email", "name", "first_name", "last_name", "timezone"]


class RuleSettings(BaseModel):
    """One way of reading a payload. `text` and `title` take `{{ expressions }}`, the rest are expressions.

    They see `body`, `headers`, `query` and, for CloudEvents, `event`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: str | None = Field(default=None, description="the rule is used only where this holds")
    text: str | None = None
    title: str | None = None
    conversation: str | None = None
    task_id: str | None = None
    message: str | None = Field(default=None, description="what identifies the message; a second copy is dropped")
    files: str | None = None
    callback: str | None = Field(default=None, description="where to answer, if callback_allow allows it")
    user: dict[UserName, str] = Field(default_factory=dict)
    options: dict[OptionName, str] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)


class MapSettings(RuleSettings):
    """The table `[sources.x.map]`: a ready-made mapping to start from, a filter, and one rule or several.

    Its bare name, `map = "github"`, is enough for a ready-made one.
    """

    use: str | None = None
    filter: str | None = Field(default=None, description="what does not hold is declined: stored, never answered")
    rules: tuple[RuleSettings, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"use": data} if isinstance(data, str) else data


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What a mapping made of a document."""

    content: Any = None
    """The fields of a message, as the default body has them."""
    message: str | None = None
    declined: str | None = None


class Maps(Protocol):
    """Makes fields of a document."""

    def read(self, document: Document) -> Mapped:
        """Raises Unmappable."""
        ...


class DefaultMapping:
    """The body says it in our own words already."""

    def read(self, document: Document) -> Mapped:
        return Mapped(content=document.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A compiled rule."""

    when: Expression | None
    texts: Mapping[str, Template]
    values: Mapping[str, Expression]
    user: Mapping[str, Expression]
    metadata: Mapping[str, Expression]
    message: Expression | None

    def content(self, root: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {name: template.text(root) for name, template in self.texts.items()}
        found |= {name: value for name, expr in self.values.items() if (value := expr.value(root)) is not None}
        if self.user:
            found["user"] = {name: as_text(expr.value(root)) or None for name, expr in self.user.items()}
        found["metadata"] = {name: expr.value(root) for name, expr in self.metadata.items()}
        if isinstance(found.get("files"), str):
            found["files"] = [found["files"]]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMapping:
    """The rules of a source, tried in order."""

    filter: Expression | None = None
    rules: tuple[Rule, ...] = field(default=())

    def read(self, document: Document) -> Mapped:
        """The first rule that applies decides. Raises Unmappable where none does or its expressions do not fit."""
        root = _root(document)
        if self.filter is not None and not self.filter.holds(root):
            return Mapped(declined="filtered")
        for rule in self.rules:
            if rule.when is None or rule.when.holds(root):
                key = None if rule.message is None else as_text(rule.message.value(root)) or None
                return Mapped(content=rule.content(root), message=key)
        raise Unmappable("no rule of the map applies")


def mapping_from_settings(settings: MapSettings, ready_made: Mapping[str, MapSettings]) -> RuleMapping:
    """Compile. Raises ValueError with every problem, one line each."""
    if settings.use is not None and settings.use not in ready_made:
        raise ValueError(f"use: {settings.use!r} is not ready-made; there are {', '.join(sorted(ready_made))}")
    start = ready_made[settings.use] if settings.use else MapSettings()
    own = _given(settings)
    # What the table says beside `use` counts for every ready-made rule: another conversation key, say.
    rules = [*settings.rules, *(_merged(rule, own) for rule in start.rules)]
    if not start.rules and (own or not settings.rules):
        rules.append(RuleSettings.model_validate(own))
    compiler = _Compiler()
    compiled = tuple(compiler.rule(f"rules.{at}." if len(rules) > 1 else "", rule) for at, rule in enumerate(rules))
    wanted = compiler.expression("filter", settings.filter or start.filter)
    if compiler.problems:
        raise ValueError("\n".join(compiler.problems))
    return RuleMapping(filter=wanted, rules=compiled)


def _given(settings: RuleSettings) -> dict[str, Any]:
    return settings.model_dump(exclude_unset=True, include=set(RuleSettings.model_fields))


def _merged(rule: RuleSettings, own: Mapping[str, Any]) -> RuleSettings:
    given = _given(rule)
    for name, value in own.items():
        given[name] = {**given.get(name, {}), **value} if isinstance(value, dict) else value
    return RuleSettings.model_validate(given)


class _Compiler:
    """Compiles, noting what cannot be."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def rule(self, path: str, rule: RuleSettings) -> Rule:
        if rule.text is None and rule.files is None:
            self.problems.append(f"{path}text: missing, for example text = '{{{{ body.issue.title }}}}'")
        plain = {name: getattr(rule, name) for name in ("conversation", "task_id", "files", "callback")}
        return Rule(
            when=self.expression(f"{path}when", rule.when),
            texts=self._all(path, {"text": rule.text, "title": rule.title}, template_from_text),
            values=self._all(path, {**plain, **rule.options}, expression_from_text),
            user=self._all(f"{path}user.", rule.user, expression_from_text),
            metadata=self._all(f"{path}metadata.", rule.metadata, expression_from_text),
            message=self.expression(f"{path}message", rule.message),
        )

    def expression(self, path: str, text: str | None) -> Expression | None:
        return None if text is None else self._one(path, text, expression_from_text)

    def _all(self, path: str, texts: Mapping[Any, str | None], compile_: Callable[[str], R]) -> dict[str, R]:
        made = {name: self._one(f"{path}{name}", text, compile_) for name, text in texts.items() if text is not None}
        return {name: compiled for name, compiled in made.items() if compiled is not None}

    def _one(self, path: str, text: str, compile_: Callable[[str], R]) -> R | None:
        try:
            return compile_(text)
        except ValueError as error:
            self.problems.append(f"{path}: {error}")
            return None


def _root(document: Document) -> dict[str, Any]:
    """What expressions see. Each source of values has its own name, so a body can never pose as a header."""
    envelope = document.envelope
    query = dict(parse_qsl(envelope.query, keep_blank_values=True)) if envelope.query else {}
    return {
        "body": document.content,
        "headers": {name: value for name, value in envelope.headers if name not in _CREDENTIALS},
        "query": {name: value for name, value in query.items() if name not in _CREDENTIALS},
        "event": dict(document.event),
    }
