"""What Slack's own SDK does for us: OAuth, sockets, uploads. Its Web API calls cost twice as much as ours (`calls`)."""

from typing import Final

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.calls import failure
from bridge.errors import Permanent, Retryable

UNANSWERED: Final = (aiohttp.ClientError, TimeoutError, OSError, AttributeError)
"""What the SDK raises where Slack itself said nothing; the last where a gateway put a text in place of its answer."""

_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)


class Sdk:
    """One client over one pool for all workspaces of a source, without a token and without any retry of its own."""

    def __init__(self, api_url: str) -> None:
        self._api_url = api_url
        self._client: AsyncWebClient | None = None

    @property
    def client(self) -> AsyncWebClient:
        """Made on the running loop, because aiohttp binds to it."""
        if self._client is None or self._client.session is None or self._client.session.closed:
            pool = aiohttp.ClientSession(
                timeout=_TIMEOUT, connector=aiohttp.TCPConnector(limit=100), cookie_jar=aiohttp.DummyCookieJar()
            )
            # retry_handlers: the default one repeats a call whose answer was cut off.
            self._client = AsyncWebClient(base_url=self._api_url, session=pool, retry_handlers=[])
        return self._client

    @property
    def http(self) -> aiohttp.ClientSession:
        """The pool itself, for files."""
        session = self.client.session
        if session is None:
            raise RuntimeError("the Slack client was made without a pool")
        return session

    async def close(self) -> None:
        """Close the pool; the next call opens another."""
        if self._client is not None and self._client.session is not None:
            await self._client.session.close()
        self._client = None


def failure_of(method: str, error: SlackApiError) -> Retryable | Permanent:
    """What a refused call of the SDK means for whoever made it."""
    response = error.response
    status: int = getattr(response, "status_code", 0) or getattr(response, "status", 0)
    return failure(method, status, getattr(response, "headers", None) or {}, getattr(response, "data", None))
