"""A Slack source's table in the configuration."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}; write for example '(?i)deploy|rollback'") from error
    return value


def _base(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("must be an address such as https://slack.com/api/")
    return value if value.endswith("/") else value + "/"


class Channel(BaseModel):
    """What is different in one channel: `[sources.team.channels.C0123]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str | None = None
    """Another configured agent answers here."""
    allow: bool = True
    """False: the bot is deaf in this channel."""
    engage: Annotated[str, AfterValidator(_pattern)] | tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """A top-level message in which this regular expression, or any of these words, is found counts as a mention."""
    ask: str | None = Field(default=None, pattern=r"^[\w.]+:[\w.]+$", examples=["my_rules:concerns_us"])
    """An async function that is asked, too, before such a message counts; without `engage` of every one."""


class Settings(BaseModel):
    """Options of a Slack source. `signing_secret` with `bot_token`, or with client id and secret, is enough."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signing_secret: SecretStr = Field(examples=["${SLACK_SIGNING_SECRET}"])
    bot_token: SecretStr | None = None
    bot_user_id: str | None = None
    """Only needed where events come without `authorizations`; Slack sends them."""
    app_token: SecretStr | None = None
    """`xapp-…`: receive over Socket Mode instead of HTTP."""
    client_id: str | None = None
    client_secret: SecretStr | None = None
    """With `client_id`: many workspaces, each installed through `/in/{source}/install`."""
    api_url: Annotated[str, AfterValidator(_base)] = "https://slack.com/api/"
    file_hosts: tuple[str, ...] = ("slack.com", "slack-files.com", "slack-edge.com")
    """Where files are fetched from, subdomains included; the bot token is sent nowhere else."""

    dm: Literal["thread", "person"] = "thread"
    """In direct messages: a conversation for each thread, or a single one for each person."""
    channels: dict[str, Channel] = Field(default_factory=dict)
    only_channels: frozenset[str] = frozenset()
    """Channel ids the bot serves; empty: all it is in. Direct messages are always served."""
    allow_bots: frozenset[str] = frozenset()
    """Bot, app or user ids of other bots that may talk to the agent."""
    bot_budget: int = Field(default=20, ge=1)
    """Messages a minute that one allowed bot gets through in one channel, so that two bots cannot keep at it."""
    allow_external: bool = False
    """People of other organisations, in shared channels."""
    allow_guests: bool = False
    allow_mentions: frozenset[str] = frozenset()
    """What an answer may ping besides who asked: user ids, user group ids, `here`, `channel`, `everyone`."""

    max_chars: int = Field(default=10_000, ge=200, le=11_500)
    """Where answers are split. Slack takes 12,000 in all the blocks of a message, escapes included."""
    progress: Literal["auto", "stream", "plan", "status", "off"] = "auto"
    """While the agent works. auto: a live stream in direct messages, a status elsewhere."""
    progress_after: float = Field(default=2.5, ge=0)
    """Seconds a turn stays silent before anything is shown."""
    feedback: bool = False
    """Good and bad buttons below the last part of an answer."""
    history: int = Field(default=50, ge=0, le=500)
    """Messages of a thread handed on when the bot is first mentioned in its middle; 0: none."""
    history_chars: int = Field(default=20_000, ge=0)
    max_file: int = Field(default=25 * 1024 * 1024, ge=0)
    """Bytes of the largest file that is fetched; larger ones are named to the agent only."""
    empty_prompt: str = "Hello! What can you do?"
    """What the agent reads when someone mentions the bot and says nothing."""
    suggested_prompts: tuple[str, ...] = Field(default=(), max_length=4)
    """Offered where someone mentions the bot and says nothing."""
    stop_reaction: str = "octagonal_sign"
    budgets: dict[str, tuple[float, int]] = Field(default_factory=dict)
    """Calls a minute and burst by API method, where they differ from Slack's documented tiers."""
    name: str = "Agent"
    """What the manifest calls the app."""

    def serves(self, channel: str) -> bool:
        """Whether what is said in a channel, or asked for there, is for the agent at all."""
        rule = self.channels.get(channel)
        listed = channel.startswith("D") or not self.only_channels or channel in self.only_channels
        return listed and (rule is None or rule.allow)

    @model_validator(mode="after")
    def _has_a_way_to_post(self) -> Self:
        if self.bot_token is None and self.client_id is None:
            raise ValueError('set bot_token = "xoxb-…" for one workspace, or client_id and client_secret for many')
        if (self.client_id is None) != (self.client_secret is None):
            raise ValueError("client_id and client_secret go together")
        return self
