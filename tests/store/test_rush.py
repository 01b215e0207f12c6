import asyncio
from contextlib import ExitStack

from bridge.store.rush import MANY, Rush


async def test_what_can_wait_begins_when_many_arrivals_are_stored() -> None:
    rush = Rush(asyncio.get_running_loop())
    with ExitStack() as arrivals:
        for _ in range(MANY + 1):
            arrivals.enter_context(rush)
        waiting = asyncio.create_task(rush.over())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_a_few_arrivals_hold_nothing_up() -> None:
    rush = Rush(asyncio.get_running_loop())
    with ExitStack() as arrivals:
        for _ in range(MANY):
            arrivals.enter_context(rush)
        waiting = asyncio.create_task(rush.over())
        await asyncio.sleep(0)
        assert waiting.done()
