"""The brain that is a Python function: an agent in five lines.

    async def agent(ask):
        yield f"Hello {ask.user.get('first_name', 'you')}. "
        yield f"You said: {ask.text}"

An async generator yields fragments (str), or a Told, File, Result or Pause; an async function returns the whole answer.
"""

import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from bridge.agent.server.brains import Ask, File, Pause, Result, Told
from bridge.errors import ConfigError

_STEPS = str | Told | Result | File | Pause


class Function:
    """What `package.module:function` names, called once per turn."""

    def __init__(self, function: Callable[[Ask], Any]) -> None:
        self._function = function
        self._streams = inspect.isasyncgenfunction(function)

    async def answer(self, ask: Ask) -> AsyncIterator[str | Told | Result | File | Pause]:
        """Whatever the function yields or returns; anything else than the known kinds is its fault."""
        if not self._streams:
            yield _known(await self._function(ask))
            return
        async with aclosing(self._function(ask)) as steps:
            async for step in steps:
                yield _known(step)


def load_function(target: str) -> Function:
    """The brain that `package.module:function` names, looked for in the working directory, too.

    Raises ConfigError with what to mend, also where the module itself fails as it is imported.
    """
    module_name, _, name = target.partition(":")
    example = "write it as package.module:function"
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # an installed command does not look there by itself
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        # Whatever a module of the operator does as it is imported, he gets one sentence about it.
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError([f"The brain {target!r} cannot be loaded ({reason}); {example}."]) from error
    if not (inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found)):
        raise ConfigError([f"The brain {target!r} is no async function and no async generator."])
    return Function(found)


def _known(step: object) -> str | Told | Result | File | Pause:
    if isinstance(step, _STEPS):
        return step
    raise TypeError(f"An agent function gave a {type(step).__name__}; it may give str, Told, Result, File or Pause.")
