"""The status and the title of a thread: agent sessions where the app is declared an agent, else the older calls."""

from contextlib import suppress
from typing import Any, Literal

import structlog

from adapters.slack.address import Address, load
from adapters.slack.caching import Remembered
from adapters.slack.calls import Calls, Refusal
from bridge.clock import Clock
from bridge.errors import SendError
from bridge.model import InboundMessage, OutboundMessage

log = structlog.get_logger()

_NOT_AN_AGENT = frozenset({"not_authorized", "feature_disabled", "unknown_method", "missing_scope", "not_allowed"})
_REMEMBER_SECONDS = 3600.0
_WEEK = 7 * 86400.0
_TITLE = 80
"""Slack takes 200; a list of sessions shows fewer."""

Phase = Literal["processing", "suspended", "active"]


class Statuses:
    """What people see beside a thread. What is remembered here may be lost: a title or a mark then stays as it is."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._older: Remembered[str, bool] = Remembered(clock, seconds=_REMEMBER_SECONDS)
        self._titles: Remembered[str, str] = Remembered(clock, seconds=_REMEMBER_SECONDS)
        self._suspended: Remembered[str, bool] = Remembered(clock, seconds=_WEEK)

    def note(self, message: InboundMessage, address: Address) -> None:
        """Keep the first words of a thread as its title, until it is shown for the first time."""
        if address.root and message.text and message.message_key.endswith(f":{address.root}"):
            self._titles.put(address.key(address.root), title(message.text))

    async def set(self, address: Address, phase: Phase, words: str = "is working on it…") -> None:
        """Show a phase. Raises Retryable or Permanent."""
        named = self._titles.pop(address.key(address.root)) if phase == "processing" else None
        status = {"status": phase, "title": named, "initiator_user_id": address.user or None}
        if await self._as_agent("agents.sessions.setStatus", address, **status):
            return
        await self._call("assistant.threads.setStatus", address, status=words if phase == "processing" else "")
        if named:
            await self._call("assistant.threads.setTitle", address, title=named)

    async def name(self, address: Address) -> None:
        """Show the title alone, where one is still to be shown: a stream sets the status by itself."""
        named = self._titles.pop(address.key(address.root)) if address.root else None
        if named:
            with suppress(SendError):  # a title is worth less than the stream
                if not await self._as_agent("agents.sessions.rename", address, title=named):
                    await self._call("assistant.threads.setTitle", address, title=named)

    async def follow(self, message: OutboundMessage) -> None:
        """After what was posted: the session waits for a person, or does not any more. Raises nothing."""
        address = load(message.return_address)
        if not address.root or not address.app or address.ephemeral:
            return
        key = address.key(address.root)
        with suppress(SendError):  # it is only a mark beside the thread
            if message.status == "paused":
                self._suspended.put(key, value=True)
                await self._as_agent("agents.sessions.setStatus", address, status="suspended")
            elif self._suspended.pop(key):
                await self._as_agent("agents.sessions.setStatus", address, status="active")

    async def _as_agent(self, method: str, address: Address, **given: Any) -> bool:
        """False where this workspace does not take the app for an agent, which is remembered for an hour."""
        if self._older.get(address.team):
            return False
        try:
            await self._call(method, address, **given)
        except Refusal as error:
            if error.error not in _NOT_AN_AGENT:
                raise
            self._older.put(address.team, value=True)
            return False
        return True

    async def _call(self, method: str, address: Address, **given: Any) -> None:
        where = {"channel_id": address.channel, "thread_ts": address.root}
        await self._calls.call(method, address.team, address.enterprise, **where, **given)


def title(text: str) -> str:
    """The first words of a text, in one line."""
    words = " ".join(text.split())
    if len(words) <= _TITLE:
        return words
    room = words[: _TITLE - 1]
    return (room.rpartition(" ")[0].rstrip(" ,.;:") or room) + "…"
