"""The steps of a turn as one message that everybody in the channel sees, updated now and then."""

from typing import Any

import structlog

from adapters.slack.address import Address
from adapters.slack.calls import Refusal
from adapters.slack.cards import Cards
from adapters.slack.rendering import stop_button, view_marker
from adapters.slack.showing import StatusView, World
from bridge.errors import Retryable, SendError
from bridge.model import OutboundMessage

log = structlog.get_logger()

UPDATE_SECONDS = 3.0
UPDATES_A_MINUTE = 40
"""chat.update has 50 a minute for a whole workspace; some are left for answers."""


class PlanView:
    """A plan block with a card for each step, gone when the answer comes.

    The answer is a message of its own, because an edit notifies nobody.
    """

    def __init__(self, world: World, message: OutboundMessage, address: Address, waiting: StatusView) -> None:
        self._world = world
        self._message = message
        self._address = address
        self._waiting = waiting
        self._cards = Cards()
        self._ts: str | None = None
        self._at = 0.0
        self._broken = False
        self._lost = False
        """One may stand there whose id we never heard."""

    @property
    def remote_id(self) -> str | None:
        """The message with the plan."""
        return self._address.key(self._ts) if self._ts else None

    async def show(self, kind: str, data: Any) -> None:
        """Post or update the plan, at most every three seconds."""
        if self._broken or not self._cards.take(kind, data):
            return
        now = self._world.now()
        if self._ts is not None and now - self._at < UPDATE_SECONDS:
            return
        if not await self._world.minutes.passes(f"{self._address.team}:plan", UPDATES_A_MINUTE):
            return
        self._at = now
        try:
            await self._put()
        except SendError as error:
            log.info("slack_plan_broken", error=str(error))
            self._broken = True
            self._lost = self._lost or (self._ts is None and isinstance(error, Retryable) and error.ambiguous)

    def leave(self) -> None:
        """Stop waiting for the time to show a status."""
        self._waiting.leave()

    async def close(self, final: OutboundMessage | None) -> str | None:  # noqa: ARG002 - never becomes the answer
        """Take the plan away."""
        await self._waiting.close(None)
        await self._world.orphans.clear(self._message, self._address, but=(self._ts,), lost=self._lost)
        if self._ts is None:
            return None
        try:
            await self._call("chat.delete", ts=self._ts)
            self._ts = None
        except Refusal as error:
            if error.error == "message_not_found":
                self._ts = None
        except SendError as error:
            log.info("slack_plan_left", error=str(error))
        return None

    async def _put(self) -> None:
        tasks = [card.block() for card in self._cards.all.values()]
        key = self._message.conversation
        blocks = [{"type": "plan", "title": "Working on it", "tasks": tasks}, stop_button(key, self._address)]
        text = f"Working on it: {len(tasks)} steps"
        if self._ts is not None:
            await self._call("chat.update", ts=self._ts, text=text, blocks=blocks)
            return
        answer = await self._world.calls.call(
            "chat.postMessage",
            self._address.team,
            self._address.enterprise,
            channel=self._address.channel,
            thread_ts=self._address.root or None,
            text=text,
            blocks=blocks,
            metadata=view_marker(self._message),
            unfurl_links=False,
        )
        self._ts = str(answer["ts"])

    async def _call(self, method: str, **given: Any) -> None:
        await self._world.calls.call(
            method, self._address.team, self._address.enterprise, channel=self._address.channel, **given
        )
