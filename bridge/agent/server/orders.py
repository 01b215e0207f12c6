"""What a caller may ask of the embedded agent: the invoke body of both dialects, read strictly where it matters."""

import json
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, field_validator

from bridge.model import Json

MOST_FILES: Final = 100

TaskId = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/]+$")]
"""Any string without control characters, which a database refuses, and slashes, which a path cannot carry."""

Name = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]


def finite(value: Any) -> Any:
    """JSON knows no infinity, yet 1e999 reads as one and could not be written again."""
    json.dumps(value, allow_nan=False)
    return value


Document = Annotated[dict[str, Any], AfterValidator(finite)]
"""Any JSON object that can be written again."""


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # callers send new keys every few weeks


class OrderUser(_Lenient):
    """The person behind an order."""

    id: Name | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    timezone: str | None = None
    additional_attributes: Document | None = None


class OrderInput(_Lenient):
    """What is said, and with what files."""

    text: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = ""
    files: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    attachments: tuple[Document, ...] | None = None
    user: OrderUser | None = None
    principal: Document | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Every file named, once."""
        named = [*(self.files or ()), *(self.images or ())]
        named += [url for item in self.attachments or () if isinstance(url := item.get("url"), str)]
        return tuple(dict.fromkeys(named))

    @field_validator("files", "images", "attachments")
    @classmethod
    def _few(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and len(value) > MOST_FILES:
            raise ValueError(f"at most {MOST_FILES} files in one request")
        return value


_PLAIN: Final = frozenset({"text", "files"})


class Order(_Lenient):
    """The body of an invocation. Keys not named here are accepted and forgotten."""

    input: OrderInput
    id: TaskId | None = None
    payload_extension: Document | None = None
    source: Name | None = None
    worker_id: str | None = None
    run_locally: bool | None = None
    output_format: Literal["text", "markdown", "json", "voice"] | None = None
    output_schema: Document | None = None
    events_streaming: bool | None = None
    additional_context: str | None = None
    expected_output: str | None = None
    instructions_override: str | None = None
    title: str | None = None
    think_mode: Literal["default", "harder"] | None = None
    disable_attachment_injection: bool | None = None
    mcp_servers: Annotated[list[Any], AfterValidator(finite)] | None = None
    parent_execution_id: Name | None = None
    triggering_agent_id: Name | None = None
    test_run_node_id: str | None = None
    return_metrics: bool | None = None
    llm_model_provider: str | None = None
    llm_model_name: str | None = None
    llm_reasoning_effort: str | None = None
    agent_version: str | None = None

    @property
    def idempotency_key(self) -> str | None:
        """The key in the body, where the header had none."""
        key = (self.payload_extension or {}).get("idempotency_key")
        return key if isinstance(key, str) and 0 < len(key) <= 255 and key.isprintable() else None  # noqa: PLR2004 - as the header

    def stored(self) -> str:
        """As it is kept: JSON without what was not said."""
        return self.model_dump_json(exclude_none=True)

    @cached_property
    def echoed_input(self) -> Json:
        """The input as answers and events repeat it: `files` a list, the user with an address or not at all."""
        said = self.input
        given: dict[str, Any] = (
            {"text": said.text} if said.model_fields_set <= _PLAIN else said.model_dump(exclude_none=True)
        )
        given["files"] = list(self.input.files or ())
        if (user := self.input.user) is not None:
            address = user.email or (f"{user.id}@unknown.invalid" if user.id else None)
            given["user"] = {**given["user"], "email": address} if address else None
        return given
