"""Files out: uploaded, then shared into the thread, each once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog

from adapters.slack.address import Address
from adapters.slack.calls import Calls
from adapters.slack.sdk import Sdk
from bridge.adapter import Files
from bridge.errors import Permanent, Retryable
from bridge.model import FileRef

log = structlog.get_logger()

_WHO = ("app_id", "bot_id", "user")


@dataclass(frozen=True, slots=True)
class Content:
    """A file by its bytes."""

    name: str
    body: bytes


class Uploads:
    """Slack's external upload: ask for an address, put the bytes there, share them."""

    def __init__(self, calls: Calls, sdk: Sdk, files: Files) -> None:
        self._calls = calls
        self._sdk = sdk
        self._files = files

    async def load(self, refs: Iterable[FileRef]) -> list[Content]:
        """The stored ones among `refs`. One that is gone is left out: the text gets through without it."""
        contents = []
        for ref in refs:
            if ref.url.startswith("file:"):
                try:
                    contents.append(Content(ref.name, await self._files.load(ref)))
                except KeyError:
                    continue
        return contents

    async def share(
        self, contents: Sequence[Content], address: Address, ts: str, found: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[str, ...]:
        """Share below the message `ts`, but for what `found` shows there already. Raises Retryable.

        Returns the names of those that Slack refuses for good; the others are shared without them.
        """
        there = _shared_after(found, ts)
        missing = [content for content in contents if content.name not in there]
        uploaded = [(content.name, await self._taken(content, address)) for content in missing]
        refused = [name for name, file_id in uploaded if file_id is None]
        taken = [{"id": file_id, "title": name} for name, file_id in uploaded if file_id is not None]
        if taken and not await self._shared(taken, address, ts):
            refused += [file["title"] for file in taken]
        return tuple(refused)

    async def _taken(self, content: Content, address: Address) -> str | None:
        if not content.body:
            return None  # Slack refuses what has no length
        try:
            return await self._upload(content, address)
        except Permanent as error:
            log.warning("slack_file_refused", name=content.name, error=str(error))
            return None

    async def _shared(self, files: Sequence[Mapping[str, str]], address: Address, ts: str) -> bool:
        try:
            await self._calls.call(
                "files.completeUploadExternal",
                address.team,
                address.enterprise,
                files=files,
                channel_id=address.channel,
                thread_ts=address.root or ts,
            )
        except Permanent as error:
            log.warning("slack_files_refused", names=[file["title"] for file in files], error=str(error))
            return False
        return True

    async def _upload(self, content: Content, address: Address) -> str:
        """Nobody sees an upload before it is shared, so repeating one is harmless."""
        given = await self._calls.call(
            "files.getUploadURLExternal",
            address.team,
            address.enterprise,
            filename=content.name,
            length=len(content.body),
        )
        try:
            async with self._sdk.http.post(str(given["upload_url"]), data=content.body) as answer:
                if answer.status >= 500:  # noqa: PLR2004 - HTTP's line between their fault and ours
                    raise Retryable(f"Slack could not take {content.name}: {answer.status}", ambiguous=True)
                if answer.status != 200:  # noqa: PLR2004
                    raise Permanent(f"Slack refused to take {content.name}: {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Retryable(f"The upload of {content.name} was cut off: {error!r}", ambiguous=True) from error
        return str(given["file_id"])


def _shared_after(found: Iterable[Mapping[str, Any]], ts: str) -> frozenset[str]:
    """Names of the files that whoever said `ts` has shared since; a person may have shared one of the same name."""
    after = [message for message in found if str(message["ts"]) >= ts]
    said = next((message for message in after if str(message["ts"]) == ts), {})
    ours = [message for message in after if any(said.get(who) and message.get(who) == said[who] for who in _WHO)]
    return frozenset(str(item.get("name")) for message in ours for item in message.get("files") or ())
