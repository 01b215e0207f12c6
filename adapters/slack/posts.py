"""Puts deliveries on Slack, looks them up, changes them and takes them back."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from adapters.slack.address import Address, load, place
from adapters.slack.below import Below, Posted, beginning
from adapters.slack.calls import Calls, Refusal
from adapters.slack.rendering import arguments, beginning_marker, client_msg_id, has_marker, is_beginning
from adapters.slack.settings import Settings
from adapters.slack.uploads import Uploads
from bridge.clock import Clock
from bridge.errors import Permanent, Retryable, SendError
from bridge.model import OutboundMessage

log = structlog.get_logger()

_TOO_LONG = frozenset({"msg_too_long", "msg_blocks_too_long", "markdown_text_too_long"})
_NOTHING_THERE = frozenset({"thread_not_found", "message_not_found", "channel_not_found"})
_NO_MEMBER = frozenset({"not_in_channel", "channel_not_found"})
_UNINVITED = "I cannot answer here: I am not in this conversation. Invite me, or write to me directly, and ask again."
_SKEW = timedelta(minutes=6)
"""Our clock may be five minutes before Slack's: until then its signatures are still taken."""
_PAGES = 50
_SETTLE_SECONDS = 1.0


class Posts:
    """One call for an answer without files. Knows nothing between calls."""

    def __init__(self, settings: Settings, calls: Calls, uploads: Uploads, clock: Clock) -> None:
        self._settings = settings
        self._calls = calls
        self._below = Below(settings, calls, uploads)
        self._clock = clock

    async def send(self, message: OutboundMessage) -> str:
        """Post it and return its remote id. Raises Retryable or Permanent."""
        address = load(message.return_address)
        is_whole = True
        try:
            given = arguments(message, address, self._settings)
            ts = await self._post(message, address, given)
        except (ValueError, Refusal) as error:
            if isinstance(error, Refusal) and error.error not in _TOO_LONG:
                await self._tell_who_asked(address, error)
                raise
            is_whole = False
            ts = await self._post_beginning(message, address)
        await self._below.put(Posted(message=message, address=address, ts=ts, is_whole=is_whole))
        return address.key(ts)

    async def _tell_who_asked(self, address: Address, error: Refusal) -> None:
        """A slash command can be used where the bot is no member, and then nothing can be posted there."""
        if not address.hook or error.error not in _NO_MEMBER:
            return
        try:
            await self._calls.respond(address.hook, {"response_type": "ephemeral", "text": _UNINVITED})
        except SendError as failed:
            log.info("slack_who_asked_not_told", error=str(failed))

    async def find(self, message: OutboundMessage) -> str | None:
        """The remote id of an earlier try. What of its files did not get through is shared now."""
        address = load(message.return_address)
        if address.ephemeral:
            return None  # nobody can look those up; a second one is a whisper to one person
        for attempt in range(2):  # Slack's reads may lag behind its writes for a moment
            if attempt:
                await self._clock.sleep(_SETTLE_SECONDS)
            found = [item async for item in self._since(message, address)]
            ours = next((item for item in found if has_marker(item, message)), None)
            if ours is not None:
                ts = str(ours["ts"])
                posted = Posted(message=message, address=address, ts=ts, is_whole=not is_beginning(ours))
                await self._below.put(posted, await self._below_of(posted, found))
                return address.key(ts)
        return None

    async def _below_of(self, posted: Posted, found: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """What stands below it: of a message outside of any thread that is a thread of its own."""
        owes = posted.message.files or not posted.is_whole
        if posted.address.root or not owes:
            return found
        return [item async for item in self._since(posted.message, replace(posted.address, root=posted.ts))]

    async def revise(self, remote_id: str, message: OutboundMessage) -> None:
        """Change what was sent. Raises Retryable or Permanent."""
        address = load(message.return_address)
        channel, ts, former = place(remote_id)
        try:
            given = arguments(message, address, self._settings)
        except ValueError as error:
            raise Permanent(str(error)) from error
        given.pop("unfurl_links")
        given.pop("unfurl_media")
        for other in former:  # before anybody can find the answer and look no further
            await self._delete(address, channel, other)
        try:
            await self._update(address, channel, ts, given)
        except Refusal as error:
            if error.error != "streaming_state_conflict":
                raise
            await self._calls.call("chat.stopStream", address.team, address.enterprise, channel=channel, ts=ts)
            await self._update(address, channel, ts, given)

    async def withdraw(self, remote_id: str, message: OutboundMessage) -> None:
        """Take it back; what is gone already is fine. Raises Retryable or Permanent."""
        address = load(message.return_address)
        channel, ts, former = place(remote_id)
        for each in (*former, ts):
            await self._delete(address, channel, each)

    async def _delete(self, address: Address, channel: str, ts: str) -> None:
        try:
            await self._calls.call("chat.delete", address.team, address.enterprise, channel=channel, ts=ts)
        except Refusal as error:
            if error.error != "message_not_found":
                raise

    async def _update(self, address: Address, channel: str, ts: str, given: Mapping[str, Any]) -> None:
        await self._calls.call("chat.update", address.team, address.enterprise, channel=channel, ts=ts, **given)

    async def _post(self, message: OutboundMessage, address: Address, given: Mapping[str, Any]) -> str:
        if address.ephemeral:
            given = {name: value for name, value in given.items() if name in {"text", "blocks"}}
            answer = await self._calls.call(
                "chat.postEphemeral",
                address.team,
                address.enterprise,
                channel=address.channel,
                user=address.user,
                thread_ts=address.root or None,
                **given,
            )
            return str(answer["message_ts"])
        answer = await self._calls.call(
            "chat.postMessage",
            address.team,
            address.enterprise,
            channel=address.channel,
            thread_ts=address.root or None,
            client_msg_id=client_msg_id(message),
            **given,
        )
        return str(answer["ts"])

    async def _post_beginning(self, message: OutboundMessage, address: Address) -> str:
        """Longer than a message: its beginning as one, and all of it below."""
        given = arguments(beginning(message), address, self._settings)
        return await self._post(message, address, {**given, "metadata": beginning_marker(message)})

    async def _since(self, message: OutboundMessage, address: Address) -> AsyncIterator[Mapping[str, Any]]:
        """What stands where the message belongs, from shortly before it was made."""
        method = "conversations.replies" if address.root else "conversations.history"
        cursor: str | None = None
        for _ in range(_PAGES):
            try:
                page = await self._calls.call(
                    method,
                    address.team,
                    address.enterprise,
                    channel=address.channel,
                    ts=address.root or None,
                    oldest=f"{(message.created_at - _SKEW).timestamp():.6f}",
                    include_all_metadata="true",
                    limit=200,
                    cursor=cursor,
                )
            except Refusal as error:
                if error.error in _NOTHING_THERE:
                    return
                raise
            for item in page.get("messages") or ():
                yield item
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return
        # What is not there must be known, not guessed: a guess would say it twice.
        raise Retryable("more was said since this was due than can be looked through", ambiguous=True)
