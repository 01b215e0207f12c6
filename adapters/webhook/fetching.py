"""Files that a message names by address: fetched through the guard, and stored, before the agent is asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import httpx2
import structlog

from bridge.adapter import Kit
from bridge.egress import ResponseTooLarge
from bridge.errors import Denied, TooLarge
from bridge.model import FileRef, InboundMessage

log = structlog.get_logger()

AT_A_TIME: Final = 5
SECONDS: Final = 8.0
"""For all files of a message; below what the core allows for looking things up."""


@dataclass(frozen=True, slots=True)
class _Left:
    """A file that does not go to the agent, and why, for the agent to pass on."""

    why: str


async def with_files(kit: Kit, message: InboundMessage, *, max_bytes: int) -> InboundMessage:
    """The message with its files stored here.

    One that cannot be had now keeps its address, for the agent to try. One whose address may not be called, or that
    is too large, is left out, and the agent is told.
    """
    slots = asyncio.Semaphore(AT_A_TIME)
    tasks = [asyncio.create_task(_fetched(kit, ref, max_bytes, slots)) for ref in message.files]
    try:
        await asyncio.wait(tasks, timeout=SECONDS)
    finally:
        for task in tasks:
            task.cancel()  # nothing happens to those that are done
    found = [
        task.result() if task.done() and not task.cancelled() else ref
        for task, ref in zip(tasks, message.files, strict=True)
    ]
    await asyncio.gather(*tasks, return_exceptions=True)
    files = tuple(one for one in found if isinstance(one, FileRef))
    return replace(
        message, files=files, context=_told(message.context, [one for one in found if isinstance(one, _Left)])
    )


async def _fetched(kit: Kit, ref: FileRef, max_bytes: int, slots: asyncio.Semaphore) -> FileRef | _Left:
    if ref.url.startswith("file:"):
        return ref
    async with slots:
        try:
            content, media_type = await _content(kit.guarded_http, ref.url, max_bytes)
            return await kit.files.store(ref.name, ref.media_type or media_type, content, origin=kit.source)
        except Denied:
            return _Left(f"The file {ref.name} was not fetched: its address may not be called from here.")
        except (ResponseTooLarge, TooLarge):
            return _Left(f"The file {ref.name} was not fetched: it is too large.")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            log.warning("file_not_fetched", source=kit.source, name=ref.name, error=type(error).__name__)
            return ref


async def _content(client: httpx2.AsyncClient, url: str, max_bytes: int) -> tuple[bytes, str | None]:
    """Raises what httpx2 raises, also for an answer that is none; every hop of a redirect passes the guard."""
    limits = {"max_response_bytes": max_bytes, "deadline_seconds": SECONDS}
    async with client.stream("GET", url, follow_redirects=True, extensions=limits) as response:
        response.raise_for_status()
        declared = response.headers.get("content-type", "").partition(";")[0].strip()
        return await response.aread(), declared or None


def _told(context: str, left: Sequence[_Left]) -> str:
    return "\n".join([*([context] if context else []), *(one.why for one in left)])
