"""`${NAME}` and `${NAME:-default}` in the strings of a configuration."""

import re
from collections.abc import Mapping
from typing import Any, Final

from bridge.problems import Path, Problem

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:-(?P<default>[^}]*))?\})?")


def expand(value: Any, environ: Mapping[str, str], path: Path = ()) -> tuple[Any, list[Problem]]:
    """The value with every reference replaced, and what could not be.

    As in a shell, the default also replaces a variable that is set but empty. `$${` is a plain `${`.
    A string that could not be expanded stays as it is.
    """
    problems: list[Problem] = []
    if isinstance(value, Mapping):
        expanded: Any = {key: _into(problems, expand(item, environ, (*path, key))) for key, item in value.items()}
    elif isinstance(value, list):
        expanded = [_into(problems, expand(item, environ, (*path, index))) for index, item in enumerate(value)]
    elif isinstance(value, str):
        expanded = _into(problems, _expand_text(value, environ, path))
    else:
        expanded = value
    return expanded, problems


def _into(problems: list[Problem], result: tuple[Any, list[Problem]]) -> Any:
    problems.extend(result[1])
    return result[0]


def _expand_text(text: str, environ: Mapping[str, str], path: Path) -> tuple[str, list[Problem]]:
    problems: list[Problem] = []

    def replacement(match: re.Match[str]) -> str:
        name = match["name"]
        if match[0] == "$${":
            return "${"
        if name is None:
            problems.append(
                Problem(path, 'has a "${" that is no variable; write "${NAME}", or "$${" for the two signs')
            )
        elif (value := environ.get(name)) or (value is not None and match["rest"] is None):
            return value
        elif match["rest"] is not None:
            return match["default"] or ""
        else:
            problems.append(
                Problem(
                    path, f'needs the environment variable {name}, which is not set (or write "${{{name}:-default}}")'
                )
            )
        return match[0]

    expanded = _REFERENCE.sub(replacement, text)
    return (text, problems) if problems else (expanded, [])
