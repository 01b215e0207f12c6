"""When the bot joins in without being mentioned: words, a regular expression, or a function that is asked."""

import asyncio
import pkgutil
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from adapters.slack.settings import Channel
from bridge.errors import ConfigError
from bridge.model import InboundMessage

log = structlog.get_logger()

ENGAGED: Final = "engaged"
"""How the conversation of such a message was found."""
JUDGE_SECONDS: Final = 8.0

Judge: TypeAlias = Callable[[InboundMessage], Awaitable[bool]]
"""Says whether the agent should take a message up. May ask whom it likes, the agent for instance."""


def pattern(rule: str | tuple[str, ...]) -> re.Pattern[str]:
    """A regular expression as it is; of words any, as a whole word in whatever case."""
    if isinstance(rule, str):
        return re.compile(rule)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, rule))})(?!\w)", re.IGNORECASE)


def joins(channels: Mapping[str, Channel]) -> dict[str, re.Pattern[str]]:
    """By channel: what a top-level message must hold; everything where a function alone decides."""
    rules = {name: channel.engage or ("" if channel.ask else None) for name, channel in channels.items()}
    return {name: pattern(rule) for name, rule in rules.items() if rule is not None}


class Judges:
    """The functions that channels name, asked in the worker, long after Slack has its 200."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._judges = {name: load(channel.ask) for name, channel in channels.items() if channel.ask}

    def __contains__(self, channel: str) -> bool:
        return channel in self._judges

    async def refusal(self, message: InboundMessage, channel: str) -> str | None:
        """Why a message that nobody addressed to us is left alone. Who cannot decide does not join in."""
        judge = self._judges.get(channel)
        if judge is None or message.conversation[-1].matched_by != ENGAGED:
            return None
        (verdict,) = await asyncio.gather(asyncio.wait_for(judge(message), JUDGE_SECONDS), return_exceptions=True)
        if isinstance(verdict, BaseException):
            log.warning("slack_engagement_undecided", channel=channel, error=repr(verdict))
        return None if verdict is True else "not_engaged"


def load(target: str) -> Judge:
    """What `package.module:function` names, looked for where the bridge is started, too. Raises ConfigError."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        judge: Judge = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            [f"ask = {target!r} cannot be loaded ({error}); write it as package.module:function."]
        ) from error
    if not asyncio.iscoroutinefunction(judge):
        raise ConfigError([f"ask = {target!r} is no async function."])
    return judge
