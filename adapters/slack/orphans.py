"""Views that nobody knows any more: Slack has them, and whoever opened them died or was cut off before it heard so."""

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from adapters.slack.address import Address
from adapters.slack.caching import Remembered
from adapters.slack.calls import Calls, Refusal
from adapters.slack.rendering import MARKER
from bridge.clock import Clock
from bridge.errors import SendError
from bridge.model import OutboundMessage

log = structlog.get_logger()

_LOOKS_BACK = timedelta(minutes=10)
"""Before the view that looks: a stream lives five minutes."""
_REMEMBER_SECONDS = 3600.0


class Orphans:
    """Takes such views away, so that the answer stands alone. A turn is the only one in its thread."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._seen: Remembered[str, bool] = Remembered(clock, seconds=_REMEMBER_SECONDS)

    async def clear(
        self, message: OutboundMessage, address: Address, *, but: Collection[str | None] = (), lost: bool
    ) -> None:
        """Take away every view of this turn but those. Raises nothing: a view is worth less than its answer.

        Looks where one was `lost`, and once where the turn goes on that somebody else has begun.
        """
        begun = message.task_id is not None and not self._seen.get(message.turn_id)
        if not (lost or begun):
            return
        self._seen.put(message.turn_id, value=True)
        try:
            async for item in self._since(message.created_at, address):
                if (
                    str(item["ts"]) not in but
                    and item.get("app_id") == address.app
                    and await self._ours(item, message, address)
                ):
                    await self._call("chat.delete", address, ts=item["ts"])
        except SendError as error:
            log.info("slack_view_left", error=str(error))

    async def _ours(self, item: Mapping[str, Any], message: OutboundMessage, address: Address) -> bool:
        marked = item.get("metadata") or {}
        if marked.get("event_type") == MARKER:
            return bool((marked.get("event_payload") or {}).get("view") == message.turn_id)
        return not item.get("files") and await self._streams(item, address)

    async def _streams(self, item: Mapping[str, Any], address: Address) -> bool:
        """A stream carries no marker before its end, but only a live one can be stopped."""
        try:
            await self._call("chat.stopStream", address, ts=item["ts"])
        except Refusal:
            return False
        return True

    async def _since(self, opened_at: datetime, address: Address) -> AsyncIterator[Mapping[str, Any]]:
        page = await self._call(
            "conversations.replies" if address.root else "conversations.history",
            address,
            ts=address.root or None,
            oldest=f"{(opened_at - _LOOKS_BACK).timestamp():.6f}",
            include_all_metadata="true",
            limit=100,
        )
        for item in page.get("messages") or ():
            yield item

    async def _call(self, method: str, address: Address, **given: Any) -> Mapping[str, Any]:
        return await self._calls.call(method, address.team, address.enterprise, channel=address.channel, **given)
