"""Keeps secrets out of what is written down. Pure."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, SecretStr

MASK: Final = "[redacted]"

_NAMES: Final = re.compile(
    r"authorization|cookie|password|passwd|secret|token|signature|credential|(api|private|access|signing)[_-]?key",
    re.IGNORECASE,
)
_PLAIN: Final = frozenset({str, int, float, bool, list, type(None)})
_SHORTEST: Final = 6  # what is shorter stands in too many innocent words

# The text in front of a secret, which stays, or the secret's own unmistakable form.
_IN_FRONT: Final = (
    r"[?&;](?:[\w-]*(?:token|secret|signature|password|api_?key)|sig|code)=",  # a query
    r"/files/",  # the links of attachments open for whoever has them
    r"\b(?:bearer|basic)[ ]+",
    r"://[^/\s:@\"]*:(?=[^/\s@\"]+@)",  # the password of an address
)
_SIGNS: Final = (
    *("token=", "secret=", "signature=", "password=", "apikey=", "api_key=", "sig=", "code="),
    *("/files/", "bearer", "basic", "://", "whs", "xox", "xapp-", "sk-"),
)
"""Each of the patterns here needs one of these."""
_FORMS: Final = (r"whs[ek]c?_[\w+/=-]{8,}", r"xox[a-z]-[\w-]{8,}", r"xapp-[\w-]{8,}", r"\bsk-[\w-]{16,}")


def redactor(secrets: Iterable[str] = ()) -> Callable[[str], str]:
    """A function that masks every one of these values, and whatever looks like a secret, in a line."""
    exact = {form for secret in secrets if len(secret) >= _SHORTEST for form in (secret, json.dumps(secret)[1:-1])}
    patterns = [rf"(?P<front>{'|'.join(_IN_FRONT)})[^\s&\"'/@;,]+", *_FORMS]
    patterns += [re.escape(secret) for secret in sorted(exact, key=len, reverse=True)]
    pattern = re.compile("|".join(patterns), re.IGNORECASE)
    signs = (*_SIGNS, *(form.casefold() for form in exact))

    def redact(line: str) -> str:
        folded = line.casefold()
        # Nearly every line has none of them, and looking for words costs a twentieth of looking for the pattern.
        for sign in signs:  # a third of what `any` takes for it
            if sign in folded:
                break
        else:
            return line
        return pattern.sub(lambda match: (match["front"] or "") + MASK, line)

    return redact


def secrets_in(value: object) -> Iterator[str]:
    """Every secret value within a configured table, however deep."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from secrets_in(item)


def without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, with the values of those masked whose name says that they are secret."""
    return {name: MASK if value and _is_secret(name) else _within(value) for name, value in fields.items()}


@functools.lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _NAMES.search(name) is not None


def _within(value: Any) -> Any:
    if type(value) in _PLAIN:  # nearly every one, and asking for a Mapping takes ten times as long
        return value
    if isinstance(value, Mapping):
        return without_secrets({str(name): item for name, item in value.items()})
    return value
