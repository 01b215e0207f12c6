"""A task at the agent, as its caller holds it: what is known of it, and what happens to it."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from bridge.model import FileRef, Json

TERMINAL: Final = frozenset({"completed", "error", "failed", "stopped"})
"""Statuses that end a turn. `paused` does not: a person must do something first."""

MOST_FILES: Final = 100

_IMAGES: Final = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tiff", ".webp", ".heic", ".avif"})


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One thing that happened to a task."""

    type: str
    """`chunk`, `think`, `tool_call_request`, `plan_updated`, `auth_event`, `ask_user_questions`, `task_finished`, …"""
    task_id: str
    data: Any
    """A fragment of the answer for `chunk`, the task's record for `task_…`, otherwise what the agent sends."""
    time: str = ""
    """As the agent wrote it."""
    cursor: str | None = None
    """The place behind this event in the agent's own stream, where it tells one."""


class Task:
    """The handle of one turn at the agent. `record` is the newest state seen; nothing here is stored."""

    __slots__ = ("_feed", "_polling", "_read", "_stop", "record")

    def __init__(
        self,
        record: Json,
        *,
        read: Callable[[str], Awaitable[Json]],
        stop: Callable[[str], Awaitable[Json]],
        polling: "Callable[[Task], AsyncGenerator[TaskEvent, None]]",
    ) -> None:
        self.record = record
        self._read = read
        self._stop = stop
        self._polling = polling
        self._feed: AsyncGenerator[TaskEvent, None] | None = None

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, status={self.status!r})"

    @property
    def id(self) -> str:
        """The task id, which is the thread id: send it as `existing_task_id` to go on."""
        return str(self.record["id"])

    @property
    def status(self) -> str:
        """The agent's word, verbatim; a record without one is pending."""
        return str(self.record.get("status") or "pending")

    @property
    def result(self) -> str | None:
        """The answer, or the error's text where the status is `error` or `failed`. JSON answers are JSON text."""
        result = self.record.get("result")
        return result if result is None or isinstance(result, str) else json.dumps(result)

    @property
    def files(self) -> tuple[FileRef, ...]:
        """What the agent hands back beside its words, as its record names it: addresses, or objects with a `url`."""
        given = self.record.get("files")
        found = [_file(one) for one in given[:MOST_FILES]] if isinstance(given, list) else []
        return tuple(ref for ref in found if ref is not None)

    @property
    def finished(self) -> bool:
        """Whether the turn is over."""
        return self.status in TERMINAL

    def feed(self, events: AsyncGenerator[TaskEvent, None]) -> None:
        """Follow a stream that is open already; the next `aevents` goes on from there."""
        self._feed = events

    async def aevents(self) -> AsyncIterator[TaskEvent]:
        """What happens until the turn is over or waits for a person; then `status` is terminal or `paused`.

        A cut stream goes on where it was cut, if the service numbers its events; else by polling, and chunks are
        missing from then on: `result` is what counts.
        Raises Interrupted when the time allowed for the turn is over, or Refused if the key stops working.
        """
        feed, self._feed = self._feed, None
        async with aclosing(feed or self._polling(self)) as events:
            async for event in events:
                yield event

    async def areload(self) -> None:
        """Read the task anew. It shows the latest turn of its thread."""
        self.record = await self._read(self.id)

    async def astop(self) -> None:
        """Stop what the agent is doing. Stopping a finished task changes nothing."""
        self.record = await self._stop(self.id)

    def get_files(self) -> list[str]:
        """The PDF files of the input, as URLs."""
        return [url for url in self._urls() if _extension(url) == ".pdf"]

    def get_images(self) -> list[str]:
        """The images of the input, as URLs."""
        return [url for url in self._urls() if _extension(url) in _IMAGES]

    def to_message(self, *, with_timestamp: bool = True) -> str:
        """The input as one text: what was said, the files, when. A JSON object or array stays untouched."""
        text = str(self._input().get("text") or "")
        if _is_json(text):
            return text
        if urls := self._urls():
            text += ("\n" if text else "") + "Files: " + ", ".join(urls)
        if with_timestamp:
            text += f"\n\nMessage timestamp (UTC): {self._created_at():%Y-%m-%d %H:%M}"
        return text

    def _input(self) -> Mapping[str, Any]:
        given = self.record.get("input")
        return given if isinstance(given, Mapping) else {}

    def _urls(self) -> list[str]:
        return [url for url in self._input().get("files") or () if isinstance(url, str)]

    def _created_at(self) -> datetime:
        given = self.record.get("created_at")
        if isinstance(given, int | float):
            return datetime.fromtimestamp(given, UTC)
        try:
            at = datetime.fromisoformat(str(given))
        except ValueError:
            return datetime.now(UTC)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _file(given: object) -> FileRef | None:
    """None for what names no file that anybody could fetch: only http and https lead somewhere."""
    told = given if isinstance(given, Mapping) else {"url": given}
    url, name, media_type, size = (told.get(key) for key in ("url", "name", "media_type", "size"))
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return FileRef(
        url=str(url),
        name=(name if isinstance(name, str) and name else unquote(PurePosixPath(parts.path).name) or "file")[:255],
        media_type=media_type if isinstance(media_type, str) else None,
        size=size if isinstance(size, int) and size >= 0 else None,
    )


def _extension(url: str) -> str:
    try:
        return PurePosixPath(urlsplit(url).path).suffix.lower()
    except ValueError:  # not a URL at all, whoever put it there
        return ""


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
