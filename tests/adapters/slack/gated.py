"""An agent that says half of its answer, waits for the test, and says the rest."""

import asyncio
from collections.abc import AsyncIterator

from bridge.agent.server.brains import Ask, Told

HALF = "Half of the answer is said in many words that come one after the other. " * 10
REST = "And this is the rest."

_gates: list[asyncio.Event] = []


def close() -> asyncio.Event:
    """From now on an answer waits in its middle until this is set."""
    _gates.append(asyncio.Event())
    return _gates[-1]


async def answer(ask: Ask) -> AsyncIterator[str]:
    del ask
    yield HALF
    await _gates[-1].wait()
    yield REST


async def step(ask: Ask) -> AsyncIterator[Told | str]:
    """One step, and the answer."""
    del ask
    yield Told("tool_call_request", {"tool_call_id": "1", "tool_name": "search"})
    yield "The steps are done."
