"""A live stream in Slack: text as it comes, steps as cards. The final text is the record, this is a view of it."""

from contextlib import suppress
from typing import Any

import structlog

from adapters.slack.address import AND, Address
from adapters.slack.calls import Refusal
from adapters.slack.cards import Cards
from adapters.slack.rendering import MAX_MARKDOWN, arguments, marker
from adapters.slack.showing import StatusView, World
from adapters.slack.writing import safe
from bridge.errors import Retryable, SendError
from bridge.model import OutboundMessage

log = structlog.get_logger()

FLUSH_CHARS = 256
FLUSH_SECONDS = 0.75
ROTATE_SECONDS = 240.0
"""Slack ends a stream about five minutes after its start, whatever is appended."""
STREAMS_A_MINUTE = 18
"""chat.startStream is documented with 20 a minute for a whole workspace."""
_GONE = frozenset({"message_not_in_streaming_state", "message_not_found"})


class StreamView:
    """One streamed message at a time. Before Slack ends it another one takes over, with all of the text so far."""

    def __init__(self, world: World, message: OutboundMessage, address: Address, waiting: StatusView) -> None:
        self._world = world
        self._message = message
        self._address = address
        self._waiting = waiting
        self._cards = Cards()
        self._chunks: list[dict[str, Any]] = []
        self._said = ""
        self._sent = ""
        self._ts: str | None = None
        self._former: str | None = None
        self._began = self._flushed = self._world.now()
        self._broken = False
        self._lost = False
        """A stream may stand there whose id we never heard."""

    @property
    def remote_id(self) -> str | None:
        """The message that streams now, with the one that it replaces until that is gone."""
        return self._address.key(AND.join(filter(None, (self._ts, self._former)))) if self._ts else None

    async def show(self, kind: str, data: Any) -> None:
        """Text is sent by 256 characters or 0.75 seconds, whichever comes first; a step at once."""
        if self._broken:
            return
        if kind == "task_created":
            self._said = ""  # the agent begins anew: nothing is appended until it has said what is shown already
        if kind == "chunk" and isinstance(data, str):
            self._said += data
        changed = self._cards.take(kind, data)
        self._chunks += [card.chunk() for card in changed]
        waits = len(self._said) - len(self._sent) < FLUSH_CHARS and self._world.now() - self._flushed < FLUSH_SECONDS
        if (kind == "chunk" and not waits) or changed:
            await self._attempt()

    def leave(self) -> None:
        """Stop waiting for the time to show a status."""
        self._waiting.leave()

    async def close(self, final: OutboundMessage | None) -> str | None:
        """Become the answer where it is one message; else disappear, so that it is said once."""
        await self._waiting.close(None)
        await self._clear()
        if self._ts is None:
            return None
        try:
            if final is None:
                await self._delete(self._ts)
                self._ts = None
                return None
            await self._finish(self._ts, final)
        except (SendError, ValueError) as error:
            log.warning("slack_stream_not_finished", error=str(error))
            return None
        return self.remote_id

    async def _attempt(self) -> None:
        try:
            await self._flush()
        except SendError as error:
            # The answer still comes, as a message of its own.
            log.info("slack_stream_broken", error=str(error))
            self._broken = True
            self._lost = isinstance(error, Retryable) and error.ambiguous
            if self._lost:
                await self._clear()  # at once, and again at the end: it may not be there yet

    async def _clear(self) -> None:
        """Take away what streams there and is not ours to end; once Slack has ended it, nothing tells what it was."""
        known = (self._ts, self._former)
        await self._world.orphans.clear(self._message, self._address, but=known, lost=self._lost)

    async def _flush(self) -> None:
        fresh = self._fresh()
        if not (fresh or self._chunks):
            return
        if self._ts is None or self._world.now() - self._began > ROTATE_SECONDS:
            await self._start()
        else:
            await self._append(fresh)
        self._chunks = []
        self._flushed = self._world.now()

    def _fresh(self) -> str:
        """What may be appended: whole words only, and nothing once the text so far would read differently."""
        whole = self._said[: max(self._said.rfind(" "), self._said.rfind("\n")) + 1]
        shown = safe(whole, self._allowed)
        return shown[len(self._sent) :] if shown.startswith(self._sent) and len(shown) < MAX_MARKDOWN else ""

    async def _start(self) -> None:
        own = self._world.settings.budgets.get("chat.startStream", (STREAMS_A_MINUTE, 0))
        if not await self._world.minutes.passes(f"{self._address.team}:stream", int(own[0])):
            raise Retryable("the workspace has started as many streams as Slack takes in a minute")
        await self._waiting.settle()
        await self._clear()
        shown = self._sent + self._fresh()
        chunks = [card.chunk() for card in self._cards.all.values()]
        if shown:
            chunks.append({"type": "markdown_text", "text": shown})
        abroad = not self._address.is_direct
        answer = await self._world.calls.call(
            "chat.startStream",
            self._address.team,
            self._address.enterprise,
            channel=self._address.channel,
            thread_ts=self._address.root or None,
            recipient_user_id=self._address.user if abroad else None,
            recipient_team_id=self._address.user_team if abroad else None,
            chunks=chunks,
        )
        self._former, self._ts = self._ts, str(answer["ts"])
        self._sent, self._began = shown, self._world.now()
        await self._world.statuses.name(self._address)

    async def _append(self, fresh: str) -> None:
        if self._former is not None:  # by now the caller has noted the id that follows it
            await self._delete(self._former)
            self._former = None
        chunks = [*self._chunks, *([{"type": "markdown_text", "text": fresh}] if fresh else [])]
        try:
            await self._call("chat.appendStream", ts=self._ts, chunks=chunks)
        except Refusal as error:
            if error.error not in _GONE:
                raise
            await self._start()  # ended sooner than expected
            return
        self._sent += fresh

    async def _finish(self, ts: str, final: OutboundMessage) -> None:
        if self._former is not None:
            await self._delete(self._former)
            self._former = None
        given = arguments(final, self._address, self._world.settings)
        whole = str(given["blocks"][0]["text"])
        # A stream that broke may hold more than we know: then all of its text is replaced.
        rest = whole[len(self._sent) :] if whole.startswith(self._sent) and not self._broken else None
        chunks = [card.chunk() for card in self._cards.finished()]
        if rest:
            chunks.append({"type": "markdown_text", "text": rest})
        extra = [block for block in given["blocks"] if block["type"] != "markdown"]
        # The marker says that all of the answer stands there: where an update follows, it comes with that.
        mark = None if rest is None else marker(final)
        try:
            await self._call("chat.stopStream", ts=ts, chunks=chunks or None, blocks=extra or None, metadata=mark)
        except Refusal as error:
            if error.error not in _GONE:
                raise
            rest = None  # Slack ended it before we did: only an update can still change it
        if rest is None:
            fields = {name: given[name] for name in ("text", "blocks", "metadata")}
            await self._call("chat.update", ts=ts, **fields)

    async def _delete(self, ts: str) -> None:
        with suppress(Refusal):  # it may have ended already
            await self._call("chat.stopStream", ts=ts)
        try:
            await self._call("chat.delete", ts=ts)
        except Refusal as error:
            if error.error != "message_not_found":
                raise

    async def _call(self, method: str, **given: Any) -> None:
        await self._world.calls.call(
            method, self._address.team, self._address.enterprise, channel=self._address.channel, **given
        )

    @property
    def _allowed(self) -> frozenset[str]:
        return self._world.settings.allow_mentions | {self._address.user}
