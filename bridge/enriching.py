"""What a platform tells of a message beyond what it sent, learnt before the agent is asked: people, history, files."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from bridge.adapter import Adapter, Enriches
from bridge.model import REF, InboundMessage, Said, Turn
from bridge.store.database import Store
from bridge.store.files import NOTE_USES, Uses

log = structlog.get_logger()

ENRICH_SECONDS = 10


class Enriching:
    """Asks the adapters that can tell more. A message that nothing more is told of goes on as it was."""

    def __init__(self, store: Store, adapters: Mapping[str, Adapter]) -> None:
        self._store = store
        # Worked out once: isinstance with a protocol costs as much as a row (measured: 15 us on Python 3.11).
        self._adapters = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Enriches)}

    async def complete(self, turn: Turn) -> Turn:
        """The turn with all that can be learnt of it in time; nothing is asked again once it has a task.

        Files that were fetched stand in no row of the turn, so that it uses them is noted. Raises Replaced.
        """
        if turn.task_id is not None or not any(one.source in self._adapters for one in turn.said):
            return turn
        said = tuple([await self._complete(one) for one in turn.said])
        complete = replace(turn, said=said)
        if file_ids := _files(complete) - _files(turn):
            await self._store.write(NOTE_USES, Uses(turn.lease, tuple(sorted(file_ids))))
        return complete

    async def _complete(self, said: Said) -> Said:
        """Asked where it was said: a turn may hold what came from several sources."""
        adapter = self._adapters.get(said.source)
        return said if adapter is None else replace(said, message=await _enrich(adapter, said.message))


def _files(turn: Turn) -> set[str]:
    urls = {ref.url for one in turn.said for ref in one.message.files}
    return {url.removeprefix(REF) for url in urls if url.startswith(REF)}


async def _enrich(adapter: Enriches, message: InboundMessage) -> InboundMessage:
    try:
        async with asyncio.timeout(ENRICH_SECONDS):
            return await adapter.enrich(message)
    except TimeoutError:
        log.warning("not_enriched", message=message.message_key)
        return message
