"""Whether the methods of an adapter can be called as the protocols have it: found out before the first message is."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

from bridge import adapter as protocols
from bridge.adapter import Adapter

_ABILITIES: Final = (
    protocols.Adapter,
    protocols.Reads,
    protocols.Connects,
    protocols.Admits,
    protocols.Enriches,
    protocols.Shows,
    protocols.Finds,
    protocols.Revises,
    protocols.Withdraws,
    protocols.Addresses,
    protocols.Serves,
    protocols.Answers,
    protocols.Refuses,
    protocols.Budgets,
    protocols.Destines,
    protocols.Closes,
)


def misfits(adapter: Adapter) -> Iterator[str]:
    """A sentence for each method that is not what will be called."""
    most: object = adapter.max_chars
    if not isinstance(most, int) or most < 1:
        yield "max_chars is no number of characters"
    for ability in filter(lambda one: isinstance(adapter, one), _ABILITIES):
        for name, promised in inspect.getmembers(ability, inspect.isfunction):
            if not name.startswith("_") and (misfit := _misfit(getattr(adapter, name), promised)):
                yield f"{name} {misfit}"


def _misfit(own: Callable[..., Any], promised: Callable[..., Any]) -> str | None:
    if inspect.iscoroutinefunction(own) != inspect.iscoroutinefunction(promised):
        return (
            "is no `async def`" if inspect.iscoroutinefunction(promised) else "is an `async def` and should be a `def`"
        )
    names = list(inspect.signature(promised).parameters)[1:]  # without self
    try:
        inspect.signature(own).bind(*names)
    except TypeError:
        return f"is called with ({', '.join(names)})"
    return None
