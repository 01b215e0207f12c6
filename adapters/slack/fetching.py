"""Files in: fetched with the bot's token from Slack's hosts only, and kept by content."""

from dataclasses import replace
from urllib.parse import urljoin, urlsplit

import aiohttp
import structlog

from adapters.slack.address import Address
from adapters.slack.calls import Calls
from adapters.slack.installations import Installations
from adapters.slack.settings import Settings
from bridge.adapter import Kit
from bridge.errors import SendError, TooLarge
from bridge.model import FileRef

log = structlog.get_logger()

_REDIRECTS = 4
_CHUNK = 65536
_LOGIN_PAGE = (b"<!doctype html", b"<html")


class NotFetched(Exception):
    """A file that stays at Slack; the text says why, for the agent to pass on."""


class Fetching:
    """Fetches what came with a message. Twice the same file is stored once."""

    def __init__(self, settings: Settings, calls: Calls, installations: Installations, kit: Kit) -> None:
        self._settings = settings
        self._calls = calls
        self._installations = installations
        self._files = kit.files
        self._source = kit.source

    async def fetch(self, address: Address, ref: FileRef) -> FileRef:
        """The stored file. Raises NotFetched."""
        if ref.url.startswith("slack-file:"):
            ref = await self._asked(address, ref)
        if ref.size is not None and ref.size > self._settings.max_file:
            raise NotFetched(f"{ref.name} is larger than {self._settings.max_file} bytes")
        try:
            token = await self._installations.token(address.team, address.enterprise)
            body, media_type = await self._download(ref, token)
        except (SendError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:  # one redirected to no URL
            log.warning("slack_file_not_fetched", name=ref.name, error=repr(error))
            raise NotFetched(f"{ref.name} could not be fetched from Slack") from error
        try:
            return await self._files.store(ref.name, ref.media_type or media_type, body, origin=self._source)
        except TooLarge as error:
            raise NotFetched(f"{ref.name} is larger than the bridge takes") from error

    async def _asked(self, address: Address, ref: FileRef) -> FileRef:
        """Files of other organisations come without an address at first."""
        try:
            answer = await self._calls.call(
                "files.info", address.team, address.enterprise, file=ref.url.removeprefix("slack-file:")
            )
        except SendError as error:
            raise NotFetched(f"Slack does not show {ref.name} to the bot") from error
        found = answer.get("file") or {}
        url = found.get("url_private_download") or found.get("url_private")
        if not url:
            raise NotFetched(f"Slack does not show {ref.name} to the bot")
        return replace(ref, url=str(url), media_type=found.get("mimetype"), size=found.get("size"))

    async def _download(self, ref: FileRef, token: str) -> tuple[bytes, str | None]:
        url = ref.url
        for _ in range(_REDIRECTS):
            if not self._is_slack(url):
                raise NotFetched(f"{ref.name} is not stored at Slack but at {url[:500]}")
            headers = {"Authorization": f"Bearer {token}"}
            async with self._installations.sdk.http.get(url, headers=headers, allow_redirects=False) as answer:
                if answer.status in {301, 302, 303, 307, 308}:
                    url = urljoin(url, answer.headers.get("Location", ""))
                    continue
                if answer.status != 200:  # noqa: PLR2004 - HTTP's number for it
                    raise NotFetched(f"Slack answered {answer.status} for {ref.name}")
                body = await self._body(answer, ref)
                self._refuse_login_page(answer, body, ref)
                return body, answer.content_type
        raise NotFetched(f"{ref.name} is redirected too often")

    async def _body(self, answer: aiohttp.ClientResponse, ref: FileRef) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > self._settings.max_file:
                raise NotFetched(f"{ref.name} is larger than {self._settings.max_file} bytes")
        return bytes(body)

    def _refuse_login_page(self, answer: aiohttp.ClientResponse, body: bytes, ref: FileRef) -> None:
        """Without files:read, or with a dead token, Slack answers 200 and its login page."""
        expected = "html" in (ref.media_type or "") or ref.name.lower().endswith((".html", ".htm"))
        page = answer.content_type == "text/html" or body[:64].lstrip().lower().startswith(_LOGIN_PAGE)
        if page and not expected:
            raise NotFetched(f"Slack shows a login page instead of {ref.name}: the bot lacks the scope files:read")

    def _is_slack(self, url: str) -> bool:
        """Https on a host of the list or below it; plain http only where the operator's own api_url is plain."""
        try:
            parts, api = urlsplit(url), urlsplit(self._settings.api_url)
            host = (parts.hostname or "").lower()
            if (parts.scheme, parts.netloc) == (api.scheme, api.netloc):
                return True
        except ValueError:
            return False
        return parts.scheme == "https" and any(
            host == name or host.endswith("." + name) for name in self._settings.file_hosts
        )
