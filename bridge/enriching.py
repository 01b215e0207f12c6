"""What a platform tells of a message beyond what it sent, learnt before the agent is asked: people, history, files."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import structlog

from bridge.adapter import Adapter, Admits, Enriches
from bridge.errors import ReceiveError, Retryable, SendError
from bridge.model import REF, InboundMessage, Said, Turn
from bridge.store.database import Store
from bridge.store.files import NOTE_USES, Uses
from bridge.store.turns import Stopping
from bridge.store.waiting import POSTPONE, Postponement

log = structlog.get_logger()

ADMIT_SECONDS = 20
ENRICH_SECONDS = 10
SOONEST = timedelta(seconds=2)
LATEST = timedelta(minutes=5)


class PutOff(Stopping):
    """Whether the turn is for the agent cannot be told yet. It is in its row again, and the next look finds it so."""


class Enriching:
    """Asks the adapters that can tell more. A message that nothing more is told of goes on as it was."""

    def __init__(self, store: Store, adapters: Mapping[str, Adapter]) -> None:
        self._store = store
        # Worked out once: isinstance with a protocol costs as much as a row (measured: 15 us on Python 3.11).
        self._adapters = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Enriches)}
        self._admitting = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Admits)}

    async def complete(self, turn: Turn) -> Turn:
        """The turn with all that can be learnt of it in time; nothing is asked again once it has a task.

        Files that were fetched stand in no row of the turn, so that it uses them is noted. Raises Replaced, PutOff,
        or Permanent where whether it is for the agent will not be told.
        """
        if turn.task_id is not None or not any(
            one.source in self._adapters or one.source in self._admitting for one in turn.said
        ):
            return turn
        try:
            said = tuple([await self._admit(one) for one in turn.said])
        except Retryable as error:
            raise await self._put_off(turn, error) from error
        said = tuple([await self._complete(one) for one in said])
        complete = replace(turn, said=said)
        if file_ids := _files(complete) - _files(turn):
            await self._store.write(NOTE_USES, Uses(turn.lease, tuple(sorted(file_ids))))
        return complete

    async def _admit(self, said: Said) -> Said:
        """Raises Retryable; who cannot say that a message is for the agent has not said that it is."""
        adapter = self._admitting.get(said.source)
        if adapter is None or said.message.declined:
            return said
        try:
            async with asyncio.timeout(ADMIT_SECONDS):
                message = await adapter.admit(said.message)
        except TimeoutError as error:
            raise Retryable(f"whether it is for the agent could not be told within {ADMIT_SECONDS} seconds") from error
        return said if message is said.message else replace(said, message=message)

    async def _put_off(self, turn: Turn, error: Retryable) -> PutOff:
        """Waits longer the older it is; once it is too old to be answered, the turn ends as every one that is."""
        log.warning("not_admitted_yet", turn=turn.id, error=str(error))
        now = self._store.now()
        wait = max(SOONEST, min((now - turn.created_at) / 2, LATEST), timedelta(seconds=error.after or 0))
        await self._store.write(POSTPONE, Postponement(turn=turn, until=now + wait, error=str(error), spent=0))
        return PutOff()

    async def _complete(self, said: Said) -> Said:
        """Asked where it was said: a turn may hold what came from several sources."""
        adapter = self._adapters.get(said.source)
        return (
            said
            if adapter is None or said.message.declined
            else replace(said, message=await _enrich(adapter, said.message))
        )


def _files(turn: Turn) -> set[str]:
    urls = {ref.url for one in turn.said for ref in one.message.files}
    return {url.removeprefix(REF) for url in urls if url.startswith(REF)}


async def _enrich(adapter: Enriches, message: InboundMessage) -> InboundMessage:
    try:
        async with asyncio.timeout(ENRICH_SECONDS):
            return await adapter.enrich(message)
    except (TimeoutError, SendError, ReceiveError) as error:
        log.warning("not_enriched", message=message.message_key, error=repr(error))
        return message
