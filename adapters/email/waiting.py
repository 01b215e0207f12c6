"""One mail that tells a person the work goes on, where it goes on for long."""

from datetime import timedelta
from typing import Any

from adapters.email.answers import Answers
from adapters.email.memory import Memory
from bridge.adapter import Kit
from bridge.errors import SendError
from bridge.model import OutboundMessage

TEXT = "I am still working on this. The answer follows in a mail of its own."


class Patience:
    """The view of a turn that mail allows: nothing, and after a while one sentence. It is never revised."""

    remote_id: str | None = None
    """Never set: a mail cannot be taken back, so the core has nothing to look after."""

    def __init__(
        self, message: OutboundMessage, after: timedelta, *, kit: Kit, answers: Answers, memory: Memory
    ) -> None:
        self._message = message
        self._due_at = message.created_at + after if after else None
        self._kit = kit
        self._answers = answers
        self._memory = memory

    async def show(self, kind: str, data: Any) -> None:  # noqa: ARG002 - that something happened is enough
        """Send the mail when it is due: once for a turn, also over crashes and nodes."""
        if self._due_at is None or self._kit.clock.now() < self._due_at:
            return
        self._due_at = None
        try:
            if await self._memory.is_first(f"still working {self._message.turn_id}"):
                await self._answers.send_notice(self._message, TEXT)
        except SendError:
            return  # the answer itself will tell

    async def close(self, final: OutboundMessage | None) -> str | None:  # noqa: ARG002 - the answer is a mail of its own
        """The answer is sent as any other."""
        return None
