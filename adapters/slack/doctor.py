"""Looks at a Slack app from outside and says what to click."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from slack_sdk.errors import SlackApiError

from adapters.slack.calls import Calls
from adapters.slack.manifest import BOT_SCOPES
from adapters.slack.sdk import UNANSWERED, Sdk, failure_of
from adapters.slack.settings import Settings
from bridge.clock import Clock
from bridge.egress import exchange_of, open_client
from bridge.errors import Permanent, Retryable, SendError

_SKEW_SECONDS = 60
_NEEDED = frozenset({"chat:write"})

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    what: str
    do: str = ""
    """What to do about it."""


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Everything that can be seen with the configured tokens. Raises nothing: what fails is a finding.

    Event subscriptions and the signing secret cannot be read with a bot token; those findings say how to see them.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_client())
        calls, sdk = Calls(settings.api_url, _NoTokens(), exchange_of(http)), Sdk(settings.api_url)
        stack.push_async_callback(sdk.close)
        findings = []
        if settings.bot_token is not None:
            findings += await _bot(calls, sdk, settings.bot_token.get_secret_value(), settings, clock)
        else:
            findings.append(
                Finding("ok", "Workspaces install the app themselves; open the source's install page to try.")
            )
        if settings.app_token is not None:
            findings.append(await _socket(calls, settings.app_token.get_secret_value()))
        findings.append(_subscriptions(settings))
        return findings


class _NoTokens:
    """Each call here names its token."""

    async def token(self, team: str, enterprise: str) -> str:
        raise Permanent(f"no workspace is asked for by id here ({team}{enterprise})")

    async def renewed(self, team: str, enterprise: str, old: str) -> None:  # noqa: ARG002 - there is no other
        return None


async def _bot(calls: Calls, sdk: Sdk, token: str, settings: Settings, clock: Clock) -> list[Finding]:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = await sdk.client.api_call("auth.test", params={}, headers=headers)
    except SlackApiError as error:
        return [
            Finding(
                "fail", str(failure_of("auth.test", error)), "Copy the Bot User OAuth Token (xoxb-…) into bot_token."
            )
        ]
    except UNANSWERED as error:
        return [Finding("fail", f"{settings.api_url} cannot be reached: {error}", "Check the network and api_url.")]
    data: dict[str, Any] = answer.data if isinstance(answer.data, dict) else {}
    findings = [Finding("ok", f"The bot is {data.get('user')} ({data.get('user_id')}) in {data.get('team')}.")]
    findings += _identity(settings, data)
    findings += _scopes(answer.headers.get("x-oauth-scopes", ""), settings)
    findings += _clock(answer.headers.get("Date", ""), clock)
    findings.append(await _agent(calls, token))
    return findings


def _identity(settings: Settings, data: dict[str, Any]) -> list[Finding]:
    user = data.get("user_id")
    if settings.bot_user_id and user and settings.bot_user_id != user:
        advice = f'Write bot_user_id = "{user}", or leave it out.'
        return [Finding("fail", f"bot_user_id is {settings.bot_user_id}, but the token belongs to {user}.", advice)]
    return []


def _scopes(header: str, settings: Settings) -> list[Finding]:
    everybody = settings.allow_guests and settings.allow_external
    needed = _NEEDED if everybody else _NEEDED | {"users:read"}  # who may be a guest is not heard before Slack says
    granted = {scope.strip() for scope in header.split(",")}
    missing = [scope for scope in BOT_SCOPES if scope not in granted]
    if not missing:
        return [Finding("ok", "All scopes are granted.")]
    advice = "OAuth & Permissions, Bot Token Scopes: add them, then Reinstall to Workspace."
    return [Finding("fail" if needed & set(missing) else "warn", f"Scopes are missing: {', '.join(missing)}.", advice)]


def _clock(date: str, clock: Clock) -> list[Finding]:
    try:
        off = abs((parsedate_to_datetime(date) - clock.now()).total_seconds())
    except (ValueError, TypeError):
        return []
    if off <= _SKEW_SECONDS:
        return [Finding("ok", "The clock agrees with Slack's.")]
    advice = "Run a time service: past five minutes every signed request is refused."
    return [Finding("fail", f"The clock is {off:.0f} seconds off Slack's.", advice)]


async def _agent(calls: Calls, token: str) -> Finding:
    """Asked with a channel that is none: the refusal tells whether the app may use the method at all."""
    given = {"channel_id": "C00000000", "thread_ts": "1.000000", "status": "active"}
    try:
        await calls.request("agents.sessions.setStatus", token, given)
    except Retryable as error:
        return Finding("warn", f"Whether the app is declared an agent could not be seen: {error}", "Try again.")
    except SendError as error:
        refusal = getattr(error, "error", "")
        if refusal in {
            "not_authorized",
            "feature_disabled",
            "unknown_method",
            "missing_scope",
            "not_allowed_token_type",
        }:
            advice = (
                "Declare it one in the app's settings, Agents (the manifest does). Until then the older status is used."
            )
            return Finding("warn", f"The app is not declared an agent ({refusal}).", advice)
    return Finding("ok", "The app is declared an agent.")


async def _socket(calls: Calls, token: str) -> Finding:
    try:
        await calls.request("apps.connections.open", token, {})
    except SendError as error:
        advice = "Basic Information, App-Level Tokens: make one with connections:write, and turn on Socket Mode."
        return Finding("fail", str(error), advice)
    return Finding("ok", "Socket Mode is on.")


def _subscriptions(settings: Settings) -> Finding:
    how = "Mention the bot in a channel it is in. "
    if settings.app_token is not None:
        return Finding("ok", "Events come over sockets; no address has to be reachable.", how)
    advice = (
        how
        + "Nothing arrives: Event Subscriptions must show Verified. 401 in the log: signing_secret is of another app."
    )
    return Finding("ok", "Event subscriptions can only be seen in the app's settings.", advice)
