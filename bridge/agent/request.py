"""What the agent is asked: one request, and its wire form in either dialect."""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from bridge.model import Author, Json

_MAILBOX = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")


class OutputFormat(StrEnum):
    """How the agent shall write its answer."""

    Text = "text"
    Markdown = "markdown"
    Json = "json"
    Voice = "voice"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The person behind a request: scopes memory and connector logins at the agent."""

    id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str
    additional_attributes: dict[str, Any] | None = None
    timezone: str | None = None

    @classmethod
    def of(cls, author: Author) -> "User":
        """An author as the agent wants them: always with an id and an email.

        Where the platform tells no address, one under `.invalid` (RFC 2606: never deliverable)
        stands in, since the service refuses or mangles a user without one. It is one by its form, too, whatever the
        id is: a refusal of it would be one of the whole request.
        """
        return cls(
            id=author.id,
            email=author.email or f"{_mailbox(author.id)}@unknown.invalid",
            first_name=author.first_name or author.name,
            last_name=author.last_name,
            timezone=author.timezone,
            additional_attributes=dict(author.attributes) or None,
        )


def _mailbox(name: str) -> str:
    """A name as what may stand before an `@`: itself, or a digest of it."""
    return name if _MAILBOX.fullmatch(name) else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class InvokeRequest:
    """One turn for the agent. Field names are those of the Python contract; None is left out on the wire.

    With slots, since one is kept for as long as its turn waits: dictionaries would be most of what that takes.
    """

    agent_id: str | None = None
    prompt: str = ""
    existing_task_id: str | None = None
    """Continue this thread: the task id is the thread id."""
    file_urls: tuple[str, ...] = ()
    user_details: User | None = None
    agent_version: str | None = None
    tool_call_payload_extension: Mapping[str, Any] | None = None
    """Opaque ids of the caller; travels as `payload_extension`."""
    source: str | None = "sdk"
    worker_id: str | None = None
    run_locally: bool = False
    output_format: OutputFormat | None = None
    output_schema: Mapping[str, Any] | None = None
    events_streaming: bool = False
    additional_context: str | None = None
    expected_output: str | None = None
    instructions_override: str | None = None
    title: str | None = None
    think_mode: Literal["default", "harder"] | None = None
    disable_attachment_injection: bool = False
    mcp_servers: tuple[Mapping[str, Any], ...] = ()
    """Tool servers for this run, beside the agent's own."""
    user_tokens: Mapping[str, str] | None = Field(default=None, repr=False)
    user_oidc_token: str | None = Field(default=None, repr=False)
    llm_model_provider: str | None = None
    llm_model_name: str | None = None
    llm_reasoning_effort: Literal["low", "medium", "high", "xhigh"] | None = None
    harness_cli: str | None = None
    permission_mode: Literal["full", "gated"] | None = None
    tool_call_limit: int | None = None
    return_metrics: bool = False
    triggering_agent_id: str | None = None
    test_run_node_id: str | None = None
    parent_execution_id: str | None = None
    idempotency_key: str | None = Field(default=None, pattern=r"^[\x21-\x7e]{1,255}$")
    """Travels as a header and in `payload_extension`, so that a status read shows whose turn it is."""

    def rest_body(self) -> Json:
        """The body of the three REST invoke routes. The agent's id and version travel in the URL."""
        body: dict[str, Any] = {"input": self._input(files=list(self.file_urls))}
        if self.existing_task_id is not None:
            body["id"] = self.existing_task_id
        if (extension := self._extension()) is not None:
            body["payload_extension"] = extension
        for name in _OPTIONAL:
            if (value := getattr(self, name)) is not None:
                body[name] = value
        for name in _SWITCHES:
            if getattr(self, name):
                body[name] = True
        if self.mcp_servers:
            body["mcp_servers"] = list(self.mcp_servers)
        return body

    def controller_body(self) -> Json:
        """The body of `POST /agent-execution/{agent_id}`, as xpander-sdk 2.0.537 sends it (measured).

        That dialect sends nulls instead of leaving keys out, and `files: null` instead of a list.
        """
        return {
            "id": self.existing_task_id,
            "input": self._input(files=list(self.file_urls) or None),
            "payload_extension": self._extension(),
            **{name: getattr(self, name) for name in (*_OPTIONAL, *_SWITCHES)},
            "mcp_servers": list(self.mcp_servers),
            "think_mode": self.think_mode or "default",
        }

    def _input(self, *, files: list[str] | None) -> dict[str, Any]:
        given: dict[str, Any] = {"text": self.prompt, "files": files}
        if (user := self.user_details) is not None:
            # The newest pages of the service call both id and email required.
            given["user"] = {"id": user.id or user.email, "email": user.email} | {
                name: value
                for name in ("first_name", "last_name", "timezone", "additional_attributes")
                if (value := getattr(user, name)) is not None
            }
        return given

    def _extension(self) -> dict[str, Any] | None:
        given = self.tool_call_payload_extension
        if self.idempotency_key is None:
            return None if given is None else dict(given)
        return {**(given or {}), "idempotency_key": self.idempotency_key}


_OPTIONAL = (
    "source",
    "worker_id",
    "output_format",
    "output_schema",
    "additional_context",
    "expected_output",
    "instructions_override",
    "title",
    "think_mode",
    "user_tokens",
    "user_oidc_token",
    "llm_model_provider",
    "llm_model_name",
    "llm_reasoning_effort",
    "harness_cli",
    "permission_mode",
    "tool_call_limit",
    "triggering_agent_id",
    "test_run_node_id",
    "parent_execution_id",
)
_SWITCHES = ("run_locally", "events_streaming", "disable_attachment_injection", "return_metrics")
