"""Calls Slack's Web API, and says in our words what went wrong.

The method's name is in the path, its arguments in a query or in JSON: https://docs.slack.dev/apis/web-api. slack_sdk's
client does no more for one call and costs twice as much (measured, with the same connections below it).
"""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlencode

import httpx2

from bridge.documents import read, written
from bridge.egress import NEVER_SENT, USER_AGENT, Exchange
from bridge.egress import Answer as Reply
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
_LIMITS = {"connect": 10.0, "pool": 30.0, "read": 30.0, "write": 30.0}
_OK = 200


class Refusal(Permanent):
    """Slack said `ok: false` for a reason that does not pass by itself. `error` is Slack's word for it."""

    def __init__(self, method: str, error: str) -> None:
        hint = f" ({HINTS[error]})" if error in HINTS else ""
        super().__init__(f"Slack refused {method}: {error}{hint}")
        self.error = error


class Calls:
    """The Web API for all workspaces of a source, without any retry of its own."""

    def __init__(self, api_url: str, tokens: BotTokens, exchange: Exchange) -> None:
        self._api_url = api_url
        self._tokens = tokens
        self._exchange = exchange

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

    async def respond(self, hook: str, said: Mapping[str, Any]) -> None:
        """Use a `response_url`, which works for half an hour. Raises Retryable or Permanent."""
        if not hook.startswith(("https://", self._api_url.removesuffix("api/"))):
            raise Permanent(f"not an address of Slack: {hook[:100]!r}")
        headers = {"Content-Type": "application/json;charset=utf-8", "User-Agent": USER_AGENT}
        try:
            answer = await self._exchange("POST", hook, headers=headers, content=written(said), seconds=_LIMITS)
            await answer.aclose()
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Retryable(f"The response_url cannot be reached: {error!r}", ambiguous=True) from error
        if answer.status != _OK:
            raise Permanent(f"Slack took no response: {answer.status}")

    async def request(self, method: str, token: str, given: dict[str, Any]) -> Answer:
        """Call a method with any token. Raises Retryable or Permanent."""
        headers = {"Authorization": f"Bearer {token}", "User-Agent": USER_AGENT}
        address, content = self._api_url + method, None
        if method in GETS or method in QUERIES:
            address = f"{address}?{urlencode({name: _plain(value) for name, value in given.items()})}"
        else:
            headers["Content-Type"] = "application/json;charset=utf-8"
            content = written(given)
        verb = "GET" if method in GETS else "POST"
        try:
            answer = await self._exchange(verb, address, headers=headers, content=content, seconds=_LIMITS)
            async with aclosing(answer):
                body = b"".join([chunk async for chunk in answer.chunks])
        except NEVER_SENT as error:
            raise Retryable(f"Slack cannot be reached for {method}: {error}") from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Retryable(f"The answer to {method} was cut off or garbled: {error!r}", ambiguous=True) from error
        return _understood(method, answer, body)


def _plain(value: Any) -> str:
    """As Slack reads a value in a query."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return value if isinstance(value, str) else written(value).decode()


def _understood(method: str, answer: Reply, body: bytes) -> Answer:
    try:
        said = read(body)
    except ValueError:  # a page of some gateway before Slack
        said = {}
    if isinstance(said, dict) and said.get("ok") and answer.status == _OK:
        return said
    raise failure(method, answer.status, answer.headers, said)


def failure(method: str, status: int, headers: Mapping[str, str], said: object) -> Retryable | Permanent:
    """What a refused call means for whoever made it."""
    name = str(said.get("error") or "") if isinstance(said, Mapping) else ""
    if status == 429 or name in LIMITED:  # noqa: PLR2004 - HTTP's number for it
        return Retryable(f"Slack limits {method}", after=_retry_after(headers))
    if not name or status >= 500 or name in PERHAPS_DONE:  # noqa: PLR2004
        return Retryable(f"Slack had a problem with {method}: {name or status}", ambiguous=True)
    return Refusal(method, name)


def _retry_after(headers: Mapping[str, str]) -> float:
    given = headers.get("Retry-After") or headers.get("retry-after") or ""
    return float(given) if str(given).isdigit() else _AFTER_UNSAID
