"""Fetches the files of a request and reads what they say: guarded, capped, and typed by what they hold."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx2

from bridge.adapter import Cpu
from bridge.agent.server.brains import Attachment, BrainFault
from bridge.agent.server.extraction import TooMuch, Unreadable, text_of
from bridge.errors import Denied
from bridge.sniffing import media_type_of, safe_name

_TOO_LARGE: Final = (
    "Error code: 413 - {'error': {'type': 'request_too_large', 'message': 'Request exceeds the maximum size'}}"
)
"""As the service itself answers a file that does not fit, in a normal 200 with status `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What the files of one request may cost."""

    file_bytes: int = 20 << 20
    request_bytes: int = 50 << 20
    text_chars: int = 400_000
    """Of one file."""
    fetch_seconds: float = 60.0
    """For all bytes of one file."""
    read_seconds: float = 30.0
    """For the text of one file."""


OwnFile = Callable[[str], Awaitable[bytes | None]]
"""The content behind one of our own links, or None for a foreign one: our own are opened, never dialled."""


class Attachments:
    """Reads files for brains. A file that cannot be had is told as such; one that is too large ends the turn."""

    def __init__(
        self, http: httpx2.AsyncClient, cpu: Cpu, *, own_file: OwnFile | None = None, caps: Caps | None = None
    ) -> None:
        """`http` dials addresses that come from outside, so it must be a guarded client."""
        self._http = http
        self._cpu = cpu
        self._own_file = own_file
        self._caps = caps or Caps()
        self._at_once = asyncio.Semaphore(8)

    async def __call__(self, urls: Sequence[str]) -> tuple[Attachment, ...]:
        """The files in the order of `urls`. Raises BrainFault where they are more than fits one request."""
        fetched = await asyncio.gather(*(self._fetch(url) for url in urls))
        total = sum(len(content) for content in fetched if isinstance(content, bytes))
        if total > self._caps.request_bytes:
            raise BrainFault(_TOO_LARGE)
        return tuple([await self._read(url, content) for url, content in zip(urls, fetched, strict=True)])

    async def _fetch(self, url: str) -> bytes | str:
        """The content, or a sentence about why there is none."""
        async with self._at_once:
            try:
                async with asyncio.timeout(self._caps.fetch_seconds):
                    own = await self._own_file(url) if self._own_file else None
                    return await self._download(url) if own is None else own
            except TimeoutError:
                return "it could not be fetched in time"
            except Denied:
                return "its address is not allowed here"
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
                return f"it could not be fetched: {type(error).__name__}"

    async def _download(self, url: str) -> bytes | str:
        if not url.lower().startswith(("http://", "https://")):
            return "its address is no http or https URL"
        content = bytearray()
        async with self._http.stream("GET", url, follow_redirects=True) as response:
            if not response.is_success:
                return f"it could not be fetched: its server answered {response.status_code}"
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > self._caps.file_bytes:
                    raise BrainFault(_TOO_LARGE)
        return bytes(content)

    async def _read(self, url: str, content: bytes | str) -> Attachment:
        name = _name(url)
        if isinstance(content, str):
            return Attachment(url=url, name=name, note=content)
        # A PDF may be pure ASCII, which would pass for text.
        media_type = "application/pdf" if content.startswith(b"%PDF-") else media_type_of(content, name=name)
        if media_type.startswith("image/") and media_type != "image/svg+xml":
            return Attachment(url=url, name=name, media_type=media_type, image=content)
        try:
            caps = self._caps
            text = await self._cpu.run(text_of, content, media_type, name, caps.text_chars, seconds=caps.read_seconds)
        except TooMuch as error:
            raise BrainFault(_TOO_LARGE) from error
        except Unreadable as error:
            return Attachment(url=url, name=name, media_type=media_type, note=f"it {error}")
        except (TimeoutError, MemoryError):
            return Attachment(url=url, name=name, media_type=media_type, note="it takes too much to be read")
        return Attachment(url=url, name=name, media_type=media_type, text=text)


def _name(url: str) -> str:
    try:
        return safe_name(unquote(PurePosixPath(urlsplit(url).path).name))
    except ValueError:
        return "file"
