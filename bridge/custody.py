"""Files that agents hand back, taken into our keeping, so that whoever gets the answer gets a link that opens.

An agent's own address may be known to nobody but the bridge, may ask for a login, and may be gone tomorrow.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx2
import structlog

from bridge.errors import BridgeError
from bridge.files import Attachments
from bridge.model import FileRef, StoredFile

log = structlog.get_logger()

AT_A_TIME: Final = 5
SECONDS: Final = 20.0
"""For all files of an answer, which waits for them."""


class Custody:
    """Takes what can be had, within `max_bytes` each; what cannot keeps the address the agent gave it."""

    def __init__(
        self,
        files: Attachments,
        guarded: httpx2.AsyncClient,
        at_home: httpx2.AsyncClient,
        *,
        ours: str,
        homes: Mapping[str, str],
        max_bytes: int,
        seconds: float = SECONDS,
    ) -> None:
        """`ours` is how links of ours begin, `homes` where each agent is by the configuration.

        `at_home` is for what an agent keeps beside itself: the operator wrote that address, wherever it leads.
        """
        self._files = files
        self._guarded = guarded
        self._at_home = at_home
        self._ours = ours
        self._homes = {agent: _origin(url) for agent, url in homes.items()}
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def take(self, agent: str, refs: Sequence[FileRef]) -> tuple[FileRef, ...]:
        """The same files, by our own names where they are here now. Never raises; the same content is the same file."""
        slots = asyncio.Semaphore(AT_A_TIME)
        tasks = [asyncio.create_task(self._taken(agent, ref, slots)) for ref in refs]
        try:
            await asyncio.wait(tasks, timeout=self._seconds) if tasks else None
        finally:
            for task in tasks:
                task.cancel()  # nothing happens to those that are done
        await asyncio.gather(*tasks, return_exceptions=True)
        return tuple(ref if task.cancelled() else task.result() for task, ref in zip(tasks, refs, strict=True))

    async def own_content(self, url: str) -> bytes | None:
        """The content behind a link of ours, opened without dialling; None where it is none, or expired."""
        file = await self._behind(url)
        return None if file is None else await self._files.load(file.ref)

    async def _taken(self, agent: str, ref: FileRef, slots: asyncio.Semaphore) -> FileRef:
        try:
            if ref.url.startswith(self._ours):
                file = await self._behind(ref.url)
                return ref if file is None else file.ref
            async with slots:
                content, declared = await self._content(agent, ref.url)
            return await self._files.store(ref.name, ref.media_type or declared, content, origin="agent")
        except (BridgeError, httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            log.warning("file_left_at_agent", agent=agent, name=ref.name, error=str(error)[:200])
            return ref

    async def _behind(self, url: str) -> StoredFile | None:
        if not url.startswith(self._ours):
            return None
        return await self._files.behind(url.removeprefix(self._ours).partition("/")[0])

    async def _content(self, agent: str, url: str) -> tuple[bytes, str | None]:
        """Every hop of a redirect passes the guard; beside the agent none is followed, it could lead anywhere."""
        is_home = _origin(url) == self._homes.get(agent)
        client = self._at_home if is_home else self._guarded
        limits = {"max_response_bytes": self._max_bytes, "deadline_seconds": self._seconds}
        async with client.stream("GET", url, follow_redirects=not is_home, extensions=limits) as response:
            response.raise_for_status()
            declared = response.headers.get("content-type", "").partition(";")[0].strip()
            return await response.aread(), declared or None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


async def as_named(_agent: str, refs: Sequence[FileRef]) -> tuple[FileRef, ...]:
    """Where nothing is taken into custody: the files stay where the agent says they are."""
    return tuple(refs)
