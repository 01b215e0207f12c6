"""The options of `bridge.toml`, apart from those that belong to one adapter."""

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from bridge.addresses import Guard
from bridge.places import DatabaseUrl, Exempt, HttpUrl, Listen, ListenAddress, PublicUrl
from bridge.units import Duration, Size

Busy = Literal["collect", "queue", "interrupt", "steer"]


class Options(BaseModel):
    """A table of the configuration: frozen, and every unknown name is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


FunctionName = Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
LongSecret = Annotated[SecretStr, Field(min_length=16)]
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""The name of an agent or a source: it is part of an address, of metrics and of keys."""


class Limits(Options):
    """How long things are tried and kept."""

    attempts: int = Field(default=8, ge=1, le=100)
    """Tries of a call to the agent, or of a delivery, before it is dead."""
    answer_age: Duration = timedelta(hours=24)
    """An answer older than this is not delivered any more."""
    stuck: Duration = Field(default=timedelta(hours=1), examples=["1h"])
    """A turn without any sign of life for this long is dead, and its conversation goes on."""
    pause: Duration = Field(default=timedelta(days=7), examples=["7d"])
    """How long the agent may wait for a person."""
    payloads: Duration = Field(default=timedelta(days=30), examples=["30d"])
    """How long raw arrivals are kept."""
    rows: Duration = Field(default=timedelta(days=90), examples=["90d"])
    """How long messages and all that became of them are kept."""
    dedupe: Duration = Field(default=timedelta(days=14), examples=["14d"])
    """How long a second copy of an arrival is recognised."""


class BridgeOptions(Options):
    """`[bridge]`."""

    name: str = Field(default="Agent Bridge", examples=["Ask Acme"])
    """What people see in pages and manifests."""
    listen: ListenAddress = Field(default=Listen("127.0.0.1", 8080), examples=["127.0.0.1:8080"])
    public_url: PublicUrl = Field(default="", examples=["https://bridge.example.com"])
    database_url: DatabaseUrl = Field(
        default="sqlite:///data/bridge.db", examples=["postgresql://user:password@host/db"], repr=False
    )
    database_direct_url: DatabaseUrl | None = Field(
        default=None, examples=["postgresql://user:password@host:5432/db"], repr=False
    )
    """The same database without the pooler that `database_url` leads through: one connection listens there."""
    files_url: str = Field(default="data/files", examples=["s3://bucket/prefix"])
    secret_keys: tuple[LongSecret, ...] = Field(default=(), examples=[["${BRIDGE_SECRET_KEY}"]])
    """Newest first."""
    admin_token: LongSecret | None = Field(default=None, examples=["${BRIDGE_ADMIN_TOKEN}"])
    allow_private_callbacks: bool = False
    egress_allow: tuple[Exempt, ...] = Field(default=(), examples=[["10.1.0.0/16", "inside.example.com"]])
    """Networks and exact host names that addresses from outside may lead to although they are private."""
    max_file: Size = Field(default=25 * 1024 * 1024, examples=["25 MiB"])
    concurrency: int = Field(default=1000, ge=1, examples=[1000])
    """Turns this process runs at the same time."""
    max_wait: Duration = Field(default=timedelta(seconds=25), examples=["25s"])
    """How long a caller may be kept waiting for an answer; proxies in between give up at 30 s, some of them."""
    max_arrival: Duration = Field(default=timedelta(minutes=1), examples=["1m"])
    """How long a request may take to arrive; whoever sends it byte by byte is cut off."""
    log: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    limits: Limits = Limits()


class Person(Options):
    """Who is taken as the author where a source names nobody."""

    id: str = Field(examples=["web-form"])
    email: str | None = Field(default=None, examples=["forms@example.com"])
    first_name: str | None = None
    last_name: str | None = None
    timezone: str | None = Field(default=None, examples=["Europe/Berlin"])


class RequestDefaults(Options):
    """What every request to the agent carries unless the message itself says otherwise."""

    title: str | None = None
    instructions_override: str | None = None
    additional_context: str | None = None
    expected_output: str | None = None
    output_format: Literal["text", "markdown", "json", "voice"] | None = Field(default=None, examples=["markdown"])
    output_schema: Mapping[str, Any] | None = Field(default=None, examples=[{"type": "object"}])
    think_mode: Literal["default", "harder"] | None = Field(default=None, examples=["harder"])
    disable_attachment_injection: bool | None = Field(default=None, examples=[True])
    agent_version: str | None = Field(default=None, examples=["3"])
    worker_id: str | None = None
    run_locally: bool | None = Field(default=None, examples=[True])
    mcp_servers: tuple[Mapping[str, Any], ...] | None = Field(
        default=None, examples=[[{"url": "https://tools.example.com/mcp"}]], repr=False
    )
    user_tokens: Mapping[str, SecretStr] | None = Field(default=None, examples=[{"item": "${TOKEN}"}])
    user_oidc_token: SecretStr | None = Field(default=None, examples=["${OIDC_TOKEN}"])
    llm_model_provider: str | None = Field(default=None, examples=["openai"])
    llm_model_name: str | None = Field(default=None, examples=["gpt-5"])
    llm_reasoning_effort: Literal["low", "medium", "high", "xhigh"] | None = Field(default=None, examples=["high"])
    harness_cli: str | None = None
    permission_mode: Literal["full", "gated"] | None = Field(default=None, examples=["gated"])
    tool_call_limit: int | None = Field(default=None, ge=1, examples=[20])
    return_metrics: bool | None = Field(default=None, examples=[True])
    triggering_agent_id: str | None = None
    test_run_node_id: str | None = None
    parent_execution_id: str | None = None
    user: Person | None = Field(default=None, examples=[{"id": "web-form", "email": "forms@example.com"}])

    def given(self) -> dict[str, Any]:
        """What is set, with its secrets in plain words: for the request, and nothing else."""
        given = self.model_dump(exclude_none=True)
        if self.user_oidc_token is not None:
            given["user_oidc_token"] = self.user_oidc_token.get_secret_value()
        if self.user_tokens is not None:
            given["user_tokens"] = {item: token.get_secret_value() for item, token in self.user_tokens.items()}
        return given


class AgentOptions(Options):
    """What every `[agents.*]` has."""

    mode: Literal["stream", "poll", "sync"] = "stream"
    timeout: Duration = Field(default=timedelta(minutes=30), examples=["30m"])
    concurrency: int | None = Field(default=None, ge=1, examples=[8])
    """Turns that may run at this agent at the same time, on each node; None: no limit of its own."""
    defaults: RequestDefaults = RequestDefaults()


class RemoteAgent(AgentOptions):
    """An agent behind a service that speaks the contract."""

    kind: Literal["xpander"]
    base_url: HttpUrl = Field(default="https://api.xpander.ai", examples=["https://api.xpander.ai"])
    api_key: SecretStr = Field(min_length=1, examples=["${XPANDER_API_KEY}"])
    agent_id: str = Field(min_length=1, examples=["${XPANDER_AGENT_ID}"])
    choose_task_ids: bool = False
    """Whether the service lets a caller name a new thread: then a call that was cut off is looked up, not repeated."""
    keeps_keys: bool = False
    """Whether the service, asked again with the idempotency key of an earlier turn, tells of that turn."""
    decisions: str | None = Field(default=None, pattern=r"^/.*\{task_id\}", examples=["/tasks/{task_id}/approval"])
    """Where the service takes a person's approval, below /v1; None: approvals are made at the service itself."""
    feedback: str | None = Field(default=None, pattern=r"^/.*\{task_id\}", examples=["/tasks/{task_id}/feedback"])
    """Where the service takes what people think of an answer, below /v1; None: it is kept here only."""


class EmbeddedAgent(AgentOptions):
    """An agent inside this process."""

    kind: Literal["embedded"]
    brain: Literal["demo", "openai", "python"] = "demo"
    function: FunctionName | None = Field(default=None, examples=["package.module:function"])
    base_url: HttpUrl | None = Field(default=None, examples=["https://api.openai.com/v1"])
    api_key: SecretStr | None = Field(default=None, examples=["${OPENAI_API_KEY}"])
    model: str | None = Field(default=None, examples=["gpt-5"])
    instructions: str | None = Field(default=None, examples=["You answer in one paragraph."])

    @property
    def keeps_keys(self) -> bool:
        """Our own service knows each turn by its key."""
        return True

    @property
    def decisions(self) -> str:
        """Where our own service takes a person's approval."""
        return "/tasks/{task_id}/approval"

    @property
    def feedback(self) -> None:
        """Our own service has no use for what people think."""

    @model_validator(mode="after")
    def _has_what_its_brain_needs(self) -> Self:
        needed = {"demo": (), "openai": ("base_url", "model"), "python": ("function",)}[self.brain]
        if missing := [name for name in needed if getattr(self, name) is None]:
            examples = {name: (type(self).model_fields[name].examples or [""])[0] for name in missing}
            wanted = " and ".join(f'{name} = "{example}"' for name, example in examples.items())
            raise ValueError(f'brain = "{self.brain}" needs {", ".join(missing)}; for example {wanted}')
        return self


class ReplyVia(Options):
    """Answers go out through another source."""

    source: str = Field(examples=["team"])
    address: str = Field(min_length=1, examples=["C0123456789"])


class SourceOptions(Options):
    """What every `[sources.*]` has, whatever its adapter."""

    adapter: str = Field(min_length=1, examples=["webhook"])
    agent: str = Field(default="", examples=["support"])
    busy: Busy | None = Field(default=None, examples=["collect"])
    """None: what suits the adapter."""
    max_body: Size | None = Field(default=None, gt=0, examples=["1 MiB"])
    """None: what suits the adapter."""
    concurrency: int | None = Field(default=None, ge=1, examples=[100])
    """Turns of this source that run at the same time, on each node; None: nine tenths of all."""
    per_person: int | None = Field(default=None, ge=1, examples=[5])
    """Turns of one person here that run at the same time, on each node; None: eight tenths of all."""
    capture: bool = False
    public_url: PublicUrl | None = Field(default=None, examples=["https://hooks.example.com/in/orders"])
    allow_private_callbacks: bool | None = Field(default=None, examples=[True])
    """None: as in `[bridge]`."""
    defaults: RequestDefaults = RequestDefaults()
    reply_via: ReplyVia | None = Field(default=None, examples=[{"source": "team", "address": "C0123456789"}])


def guard_from(bridge: BridgeOptions, source: SourceOptions) -> Guard:
    """What addresses from outside may lead to, for one source."""
    private = source.allow_private_callbacks
    return _guard(bridge, allow_private=bridge.allow_private_callbacks if private is None else private)


def guard_of(bridge: BridgeOptions) -> Guard:
    """What addresses from outside may lead to, where no source is concerned."""
    return _guard(bridge, allow_private=bridge.allow_private_callbacks)


def _guard(bridge: BridgeOptions, *, allow_private: bool) -> Guard:
    return Guard(
        allow_private=allow_private,
        allow_networks=tuple(ip_network(entry) for entry in bridge.egress_allow if "/" in entry),
        allow_hosts=frozenset(entry for entry in bridge.egress_allow if "/" not in entry),
    )
