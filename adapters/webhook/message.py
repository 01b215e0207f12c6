"""The fields of a request in the bridge's own words, and the message they make."""

import json
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.webhook.acts import act_of, why_no_wish
from adapters.webhook.plain import Unmappable
from bridge.model import Act, Author, Candidate, FileRef, InboundMessage, RequestOptions

MAX_KEY_CHARS = 512
MAX_PERSON_CHARS = 255
"""As agents take it."""
MAX_METADATA_CHARS = 65_536
MAX_FILES = 100
MAX_DEPTH = 32
_NO_OPTIONS = RequestOptions()
_OPTIONS = tuple(RequestOptions.__dataclass_fields__)


class UserFields(BaseModel):
    """Whom the signer says the message is from."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: str | None = None
    email: str | None = None
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    timezone: str | None = None
    additional_attributes: dict[str, str] = Field(default_factory=dict)


class FileField(BaseModel):
    """A file by its address."""

    model_config = ConfigDict(extra="ignore")

    url: str
    name: str | None = None
    media_type: str | None = None
    size: int | None = Field(default=None, ge=0)


class Fields(BaseModel):
    """What a request may say; a mapping produces the same. Anything else in a body is not ours and is left alone."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    text: str = ""
    prompt: str = ""
    conversation: str | None = None
    conversation_id: str | None = None
    """As it stands in every answer of ours; whoever hands it back means the same conversation."""
    task_id: str | None = None
    files: list[str | FileField] = Field(default_factory=list, max_length=MAX_FILES)
    user: UserFields = Field(default_factory=UserFields)
    user_id: str | None = None
    user_email: str | None = None
    user_first_name: str | None = None
    user_last_name: str | None = None
    user_timezone: str | None = None
    title: str | None = None
    instructions_override: str | None = None
    additional_context: str | None = None
    expected_output: str | None = None
    output_format: Literal["text", "markdown", "json", "voice"] | None = None
    output_schema: dict[str, Any] | None = None
    think_mode: Literal["default", "harder"] | None = None
    disable_attachment_injection: bool | None = None
    agent_version: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    callback: str | None = None
    quoted: str = ""
    decision: Any = None
    command: Any = None


def fields_from_content(content: object) -> Fields:
    """Check the fields. Raises Unmappable, naming the first field that does not fit, never its value."""
    if not isinstance(content, dict):
        raise Unmappable("the body is no JSON object")
    try:
        return Fields.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(str(step) for step in first["loc"])
        raise Unmappable(f"{path}: {first['msg']}") from None


def message_from_fields(
    fields: Fields,
    *,
    message_key: str,
    return_address: str,
    signer: str,
    uploads: Sequence[FileRef] = (),
    foreign_task_id: bool = False,
) -> InboundMessage:
    """The message a verified request says. Raises Unmappable."""
    text = fields.text or fields.prompt
    files = (*(_file_from_field(field) for field in fields.files), *uploads)
    act, wanted = (Act.SAY, {}) if text.strip() or files else act_of(fields.decision, fields.command)
    if act is Act.SAY and not text.strip() and not files:
        raise Unmappable(f"there is neither text nor a file{why_no_wish(fields.decision, fields.command)}")
    _check_size(fields)
    return InboundMessage(
        message_key=message_key,
        conversation=candidates(fields, message_key, foreign_task_id=foreign_task_id),
        return_address=return_address,
        author=_author(fields, signer),
        text=text,
        quoted=fields.quoted,
        files=files,
        options=_options(fields),
        metadata={**fields.metadata, **wanted},
        act=act,
    )


def candidates(fields: Fields, message_key: str, *, foreign_task_id: bool) -> tuple[Candidate, ...]:
    """How the conversation is found: a task id, then our id or the caller's key; else the message stands alone."""
    found: list[Candidate] = []
    if fields.task_id:
        found.append(
            Candidate(value=fields.task_id, matched_by="task_id", kind="task_id", must_exist=not foreign_task_id)
        )
    names = [name for name in (fields.conversation, fields.conversation_id) if name]
    if ours := [name for name in names if name.startswith("cnv_")]:
        found.append(Candidate(value=ours[-1], matched_by="conversation_id", kind="conversation_id", must_exist=True))
    elif names:
        found.append(Candidate(value=names[0], matched_by="conversation"))
    return tuple(found) or (Candidate(value=message_key, matched_by="message"),)


def _check_size(fields: Fields) -> None:
    for name in ("conversation", "conversation_id", "task_id"):
        if len(getattr(fields, name) or "") > MAX_KEY_CHARS:
            raise Unmappable(f"{name}: longer than {MAX_KEY_CHARS} characters")
    if any(len(name or "") > MAX_PERSON_CHARS for name in _person(fields)):
        raise Unmappable(f"user: an id or email longer than {MAX_PERSON_CHARS} characters")
    for name in ("metadata", "output_schema"):
        value = getattr(fields, name)
        if not value:
            continue
        if _is_deep(value, MAX_DEPTH):
            raise Unmappable(f"{name}: nested more than {MAX_DEPTH} deep")
        try:
            size = len(json.dumps(value, allow_nan=False))
        except ValueError:  # 1e999 was read as infinity
            raise Unmappable(f"{name}: a number is too large") from None
        if size > MAX_METADATA_CHARS:
            raise Unmappable(f"{name}: longer than {MAX_METADATA_CHARS} characters of JSON")


def _person(fields: Fields) -> tuple[str | None, ...]:
    return fields.user.id, fields.user.email, fields.user_id, fields.user_email


def _is_deep(value: object, limit: int) -> bool:
    if isinstance(value, dict):
        return limit == 0 or any(_is_deep(child, limit - 1) for child in value.values())
    if isinstance(value, list):
        return limit == 0 or any(_is_deep(child, limit - 1) for child in value)
    return False


def _options(fields: Fields) -> RequestOptions:
    given = {name: value for name in _OPTIONS if (value := getattr(fields, name)) is not None}
    return RequestOptions(**given) if given else _NO_OPTIONS


def _author(fields: Fields, signer: str) -> Author:
    user = fields.user
    email = user.email or fields.user_email
    return Author(
        id=user.id or fields.user_id or email or signer,
        name=user.name,
        email=email,
        first_name=user.first_name or fields.user_first_name,
        last_name=user.last_name or fields.user_last_name,
        timezone=user.timezone or fields.user_timezone,
        attributes=user.additional_attributes,
    )


def _file_from_field(field: str | FileField) -> FileRef:
    if isinstance(field, str):
        field = FileField(url=field)
    try:
        parts = urlsplit(field.url)
    except ValueError:
        raise Unmappable("files: an address cannot be read") from None
    # `file:` would name what is stored here, perhaps by somebody else; only addresses may come from outside.
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise Unmappable("files: only http and https addresses are taken")
    name = field.name or unquote(parts.path.rpartition("/")[2]) or "file"
    return FileRef(url=field.url, name=name[:255], media_type=field.media_type, size=field.size)
