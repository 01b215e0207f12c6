"""JMESPath expressions and text with `{{ expressions }}` in it, compiled when the bridge starts.

JMESPath has no loops, no side effects and always ends. The text is logic-less: a value is put in, and
that is all; what a payload says is never evaluated.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from adapters.webhook.plain import Unmappable

MAX_EXPRESSION_CHARS = 4096
MAX_TEMPLATE_CHARS = 16_384
MAX_RESULT_CHARS = 1_048_576

# The library checks types before it calls a function, but not all of them: 'x' > 1 and merge({}, null) raise
# TypeError (jmespath 1.1, found by hypothesis).
_MISFITS = (JMESPathError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
_SLOT = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Expression:
    """One compiled expression."""

    text: str
    compiled: ParsedResult

    def value(self, root: Any) -> Any:
        """What it finds, None for nothing. Raises Unmappable."""
        try:
            return self.compiled.search(root)
        except _MISFITS as error:
            kind = type(error).__name__
            raise Unmappable(f"the expression {self.text!r} does not fit this document ({kind})") from None

    def holds(self, root: Any) -> bool:
        """Whether its value is true as JMESPath sees it: not empty, not false, not null."""
        value = self.value(root)
        return value is not None and value is not False and value not in ("", [], {})


def expression_from_text(text: str) -> Expression:
    """Compile. Raises ValueError for what is no JMESPath, or too long to be meant."""
    if len(text) > MAX_EXPRESSION_CHARS:
        raise ValueError(f"an expression has at most {MAX_EXPRESSION_CHARS} characters")
    try:
        return Expression(text.strip(), jmespath.compile(text.strip()))
    except RecursionError:
        raise ValueError("the expression is nested too deeply") from None
    except JMESPathError as error:
        problem = str(error).splitlines()[0]
        raise ValueError(f"{text!r} is no JMESPath expression, for example body.issue.title ({problem})") from None


@dataclass(frozen=True, slots=True)
class Template:
    """Text with slots; an odd piece is an expression, an even one stands as it is."""

    pieces: tuple[str | Expression, ...]

    def text(self, root: Any) -> str:
        """The text with every slot filled. Raises Unmappable, also where it grows too long."""
        written: list[str] = []
        size = 0
        for piece in self.pieces:
            written.append(piece if isinstance(piece, str) else as_text(piece.value(root)))
            size += len(written[-1])
            if size > MAX_RESULT_CHARS:
                raise Unmappable(f"the text would be longer than {MAX_RESULT_CHARS} characters")
        return "".join(written)


def template_from_text(text: str) -> Template:
    """Compile every slot. Raises ValueError."""
    if len(text) > MAX_TEMPLATE_CHARS:
        raise ValueError(f"a text has at most {MAX_TEMPLATE_CHARS} characters")
    pieces = _SLOT.split(text)
    if any("{{" in piece or "}}" in piece for piece in pieces[::2]):
        raise ValueError("a {{ has no }}, or the other way round")
    return Template(
        tuple(expression_from_text(piece) if at % 2 else piece for at, piece in enumerate(pieces)),
    )


def as_text(value: Any) -> str:
    """A value as it reads in a sentence: text as it is, nothing as nothing, all else as JSON. Raises Unmappable."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        raise Unmappable("a value cannot be written as JSON") from None
