"""What belongs below a posted message: its files, and all of a text of which only the beginning stands there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import structlog

from adapters.slack.address import Address
from adapters.slack.calls import Calls, Refusal
from adapters.slack.rendering import arguments, has_marker, words
from adapters.slack.settings import Settings
from adapters.slack.uploads import Content, Uploads
from adapters.slack.writing import escaped
from bridge.errors import Retryable, SendError
from bridge.markdown import split
from bridge.model import OutboundMessage

log = structlog.get_logger()

Found: TypeAlias = Sequence[Mapping[str, Any]]

WHOLE_TEXT = "answer.md"
_PIECE = 1500
"""Characters that fit into a message whatever has to be escaped among them."""


def beginning(message: OutboundMessage) -> OutboundMessage:
    """What is posted of a text that is longer than a message."""
    return replace(message, text=f"{_pieces(message)[0]}\n\n… all of it is in {WHOLE_TEXT} below.", files=())


def _pieces(message: OutboundMessage) -> Sequence[str]:
    return split(words(message), _PIECE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A message that stands in Slack."""

    message: OutboundMessage
    address: Address
    ts: str
    is_whole: bool
    """False: only its beginning stands there."""


class Below:
    """Puts it there, each once. Knows nothing between calls."""

    def __init__(self, settings: Settings, calls: Calls, uploads: Uploads) -> None:
        self._settings = settings
        self._calls = calls
        self._uploads = uploads

    async def put(self, posted: Posted, found: Found = ()) -> None:
        """All that `found` does not show already. Raises a Retryable that says that something was posted, always.

        What Slack will never take, as without files:write, is done without: to try it again would keep the later
        answers of the thread waiting for nothing.
        """
        contents = [] if posted.is_whole else [Content(WHOLE_TEXT, words(posted.message).encode())]
        contents += await self._uploads.load(posted.message.files)
        try:
            refused = await self._uploads.share(contents, posted.address, posted.ts, found)
            if refused:
                await self._do_without(refused, posted, found)
        except SendError as error:  # by itself it says that nothing was sent, or dies so: the words were posted again
            after = error.after if isinstance(error, Retryable) else None
            raise Retryable(
                f"The words stand there, what belongs below does not: {error}", after=after, ambiguous=True
            ) from error

    async def _do_without(self, refused: Sequence[str], posted: Posted, found: Found) -> None:
        if posted.is_whole:
            await self._note(refused, posted.message, posted)
        elif WHOLE_TEXT in refused:
            first, *others = _pieces(posted.message)
            for number, text in enumerate(others, 1):
                await self._go_on(replace(posted.message, text=text, files=()), number, posted, found)
            others = [name for name in refused if name != WHOLE_TEXT]
            await self._note(others, replace(posted.message, text=first, files=()), posted)
        else:
            await self._note(refused, beginning(posted.message), posted)

    async def _go_on(self, piece: OutboundMessage, number: int, posted: Posted, found: Found) -> None:
        """Under an id of its own, so that what a try before has left is known again."""
        piece = replace(piece, delivery_id=f"{piece.delivery_id}:{number}", parts=piece.parts + 1)
        if any(has_marker(item, piece) for item in found):
            return
        given = arguments(piece, posted.address, self._settings)
        await self._call("chat.postMessage", posted, thread_ts=posted.address.root or posted.ts, **given)

    async def _note(self, names: Sequence[str], said: OutboundMessage, posted: Posted) -> None:
        """Within the message, where saying it twice says it once."""
        given = arguments(said, posted.address, self._settings)
        blocks = list(given["blocks"])
        if names:
            note = escaped(f"Not attached, since Slack takes no such file from this app: {', '.join(names)}")
            blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": note}]})
        try:
            await self._call("chat.update", posted, ts=posted.ts, text=given["text"], blocks=blocks)
        except Refusal as error:
            log.warning("slack_file_not_noted", error=str(error))

    async def _call(self, method: str, posted: Posted, **given: Any) -> None:
        where = posted.address
        await self._calls.call(method, where.team, where.enterprise, channel=where.channel, **given)
