"""Calls Slack's Web API through slack_sdk, and says in our words what went wrong."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, cast

import aiohttp
import httpx2
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.wire import Wire
from bridge.egress import NEVER_SENT, Exchange
from bridge.errors import Permanent, Retryable

Answer: TypeAlias = Mapping[str, Any]


class BotTokens(Protocol):
    """Knows which token speaks for a workspace."""

    async def token(self, team: str, enterprise: str) -> str:
        """The bot token. Raises Retryable or Permanent."""
        ...

    async def renewed(self, team: str, enterprise: str, old: str) -> str | None:
        """A token instead of one that Slack did not take, or None where there is no other.

        Raises Retryable or Permanent.
        """
        ...


GETS = frozenset(
    {
        "conversations.replies", "conversations.history", "conversations.info", "users.info", "files.info",
        "team.info", "bots.info", "chat.getPermalink",
    }
)  # fmt: skip
QUERIES = frozenset(
    {
        "assistant.threads.setTitle", "auth.test", "chat.delete", "conversations.open", "files.getUploadURLExternal",
        "apps.connections.open",
    }
)  # fmt: skip
"""POST with the arguments in the query, as slack_sdk's own methods do; all others take JSON."""

PERHAPS_DONE = frozenset(
    {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}
)
"""Slack documents that part of the operation may have succeeded."""
LIMITED = frozenset({"ratelimited", "rate_limited", "accesslimited", "message_limit_exceeded"})
STALE_TOKEN = frozenset({"token_expired", "invalid_auth", "token_revoked"})
HINTS = {
    "not_in_channel": "invite the bot to the channel",
    "missing_scope": "add the scope and install the app again; `agent-bridge slack doctor` names what is missing",
    "invalid_auth": "check bot_token",
    "token_revoked": "install the app again",
    "account_inactive": "the app was removed from the workspace; install it again",
    "messages_tab_disabled": "enable the Messages tab in the app's settings (App Home)",
    "is_archived": "the channel is archived",
    "restricted_action_thread_locked": "the thread is locked",
}
_AFTER_UNSAID = 30.0
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)


class Refusal(Permanent):
    """Slack said `ok: false` for a reason that does not pass by itself. `error` is Slack's word for it."""

    def __init__(self, method: str, error: str) -> None:
        hint = f" ({HINTS[error]})" if error in HINTS else ""
        super().__init__(f"Slack refused {method}: {error}{hint}")
        self.error = error


class Calls:
    """One shared connection pool for all workspaces of a source, without any retry of its own."""

    def __init__(self, api_url: str, tokens: BotTokens, exchange: Exchange | None = None) -> None:
        """With an `exchange`, what is called often goes by it."""
        self._api_url = api_url
        self._tokens = tokens
        self._exchange = exchange
        self._client: AsyncWebClient | None = None
        self._pool: aiohttp.ClientSession | None = None

    @property
    def client(self) -> AsyncWebClient:
        """The SDK's client, without a token. Made on the running loop, because aiohttp binds to it."""
        if self._client is None or self._pool is None or self._pool.closed:
            session = Wire(self._exchange, self.http) if self._exchange else self.http
            # retry_handlers: the default one repeats a chat.postMessage whose answer was cut off.
            self._client = AsyncWebClient(
                base_url=self._api_url, session=cast("aiohttp.ClientSession", session), retry_handlers=[]
            )
        return self._client

    @property
    def http(self) -> aiohttp.ClientSession:
        """The SDK's usual pool, for sockets and uploads."""
        if self._pool is None or self._pool.closed:
            self._client = None
            self._pool = aiohttp.ClientSession(
                timeout=_TIMEOUT, connector=aiohttp.TCPConnector(limit=100), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._pool

    async def close(self) -> None:
        """Close the pool; the next call opens another."""
        if self._pool is not None:
            await self._pool.close()
        self._client = self._pool = None

    async def call(self, method: str, team: str, enterprise: str = "", **arguments: Any) -> Answer:
        """Call a method with the workspace's token; None leaves an argument out. Raises Retryable or Permanent."""
        token = await self._tokens.token(team, enterprise)
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            return await self.request(method, token, dict(given))
        except Refusal as error:
            if error.error not in STALE_TOKEN:
                raise
            fresh = await self._tokens.renewed(team, enterprise, token)
            if fresh is None:
                raise
            return await self.request(method, fresh, given)  # a refused call has done nothing

    async def request(self, method: str, token: str, given: dict[str, Any]) -> Answer:
        """Call a method with any token. Raises Retryable or Permanent."""
        headers = {"Authorization": f"Bearer {token}"}
        try:
            if method in GETS:
                answer = await self.client.api_call(method, http_verb="GET", params=given, headers=headers)
            elif method in QUERIES:
                answer = await self.client.api_call(method, params=given, headers=headers)
            else:
                answer = await self.client.api_call(method, json=given, headers=headers)
        except SlackApiError as error:
            raise failure(method, error) from None  # its text repeats the whole answer
        except (*NEVER_SENT, aiohttp.ClientConnectorError) as error:
            raise Retryable(f"Slack cannot be reached for {method}: {error}") from error
        except (httpx2.TransportError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Retryable(f"The answer to {method} was cut off: {error!r}", ambiguous=True) from error
        data = answer.data
        return data if isinstance(data, dict) else {}


def failure(method: str, error: SlackApiError) -> Retryable | Permanent:
    """What a refused call means for whoever made it."""
    response = error.response
    status: int = getattr(response, "status_code", 0) or getattr(response, "status", 0)
    data = getattr(response, "data", None)
    name = str(data.get("error") or "") if isinstance(data, dict) else ""
    if status == 429 or name in LIMITED:  # noqa: PLR2004 - HTTP's number for it
        return Retryable(f"Slack limits {method}", after=_retry_after(response))
    if not name or status >= 500 or name in PERHAPS_DONE:  # noqa: PLR2004
        return Retryable(f"Slack had a problem with {method}: {name or status}", ambiguous=True)
    return Refusal(method, name)


def _retry_after(response: Any) -> float:
    headers = getattr(response, "headers", None) or {}
    given = headers.get("Retry-After") or headers.get("retry-after") or ""
    return float(given) if str(given).isdigit() else _AFTER_UNSAID
