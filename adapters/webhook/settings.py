"""The table `[sources.x]` of a webhook source, and what of it is worked out once, at the start."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from adapters.webhook.mapping import MapSettings
from adapters.webhook.presets import PRESETS, ChallengeName
from bridge.signing import Scheme, Secret, secret_from_text
from bridge.units import Size


class SecretSetting(BaseModel):
    """One secret: the bare text, or a table with the dates between which it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: SecretStr
    name: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        return {"value": data} if isinstance(data, str) else data

    def secret(self, scheme: Scheme) -> Secret:
        """Read for a scheme. Raises ValueError, without showing the secret."""
        return secret_from_text(
            scheme,
            self.value.get_secret_value(),
            name=self.name,
            not_before=_aware(self.not_before),
            not_after=_aware(self.not_after),
        )


class Settings(BaseModel):
    """One webhook source. Everything but `secrets` has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: str | None = Field(default=None, examples=["github"])
    """A preset; `standard` unless `verify` tells a kind of its own."""
    verify: dict[str, Any] = Field(default_factory=dict, examples=[{"timestamp": {"tolerance": 600}}])
    """Fields of a scheme: those of the preset are overridden one by one."""
    secrets: tuple[SecretSetting, ...] = Field(default=(), examples=[["${ORDERS_SECRET}"]])
    """Any of them verifies. A table `{value, name, not_before, not_after}` lets one end or begin on a day."""
    allow_unverified: bool = Field(default=False, examples=[True])
    identity: tuple[str, ...] | None = Field(default=None, examples=[["header:X-Acme-Delivery"]])
    """Where the sender puts its own id of a message; the first place that holds one counts.

    Without any id, the same body is the same message, unless `arrival` stands here.
    """
    challenge: ChallengeName | None = Field(default=None, examples=["cloudevents"])
    challenge_token: SecretStr | None = Field(default=None, examples=["${META_VERIFY_TOKEN}"])
    """What Meta calls the verify token."""
    allowed_origins: tuple[str, ...] = Field(default=(), examples=[["events.example.com"]])
    """Who may introduce itself by the CloudEvents handshake; `*` for anybody."""
    map: MapSettings | None = Field(default=None, examples=["github"])
    ack_status: Literal[200, 202, 204] = Field(default=202, examples=[200])
    """Some senders know no other success than 200; such an answer carries no ids."""
    malformed: Literal["refuse", "park"] = Field(default="refuse", examples=["park"])
    """What becomes of a genuine request whose body cannot be read at all: 400 or 415, or taken and kept for a person.

    A sender that is a program under repair should hear of it; one that is switched off by a 4xx should not.
    """
    allow_foreign_task_id: bool = Field(default=False, examples=[True])
    fetch_files: bool = Field(default=True, examples=[False])
    """Whether files that are named by address are fetched and stored here; else the agent gets the address."""
    max_file: Size = Field(default=25 * 1024 * 1024, examples=["25 MiB"])
    """The largest file that is fetched; `[bridge] max_file` counts as well."""
    callback: str | None = Field(default=None, examples=["https://orders.example.com/agent-replies"])
    callback_allow: tuple[str, ...] = Field(default=(), examples=[["https://*.example.com/hooks/"]])
    """Addresses that a payload may name as its callback; any other that it names is ignored."""
    callback_secrets: tuple[SecretSetting, ...] = Field(default=(), examples=[["${CALLBACK_SECRET}"]])
    """`whsec_` or `whsk_` keys that sign callbacks, each of them; without any, the source's own do."""
    callback_format: Literal["standard", "cloudevents"] = Field(default="standard", examples=["cloudevents"])
    callback_timeout: float = Field(default=30, gt=0, le=60, examples=[30])
    """Seconds for one attempt, all in all."""
    callback_concurrency: int = Field(default=50, ge=1, le=1000, examples=[50])
    """Callbacks that one target gets at the same time, from each node."""

    @property
    def called(self) -> tuple[str, ...]:
        """Addresses that answers go to: `check` tells where the egress guard will refuse one."""
        return (self.callback,) if self.callback else ()


def preset_name(settings: Settings) -> str:
    """The preset to start from: the one named, `standard`, or none where `verify` tells a kind of its own."""
    return settings.scheme or ("" if "kind" in settings.verify else "standard")


def scheme_from_settings(settings: Settings, public_url: str) -> Scheme:
    """The preset with its overrides. ValueError names every field that does not fit."""
    name = preset_name(settings)
    if name and name not in PRESETS:
        raise ValueError(f"scheme: {name!r} is no preset; use one of {', '.join(sorted(PRESETS))}")
    try:
        scheme = PRESETS[name].scheme.revised(settings.verify) if name else Scheme.model_validate(settings.verify)
    except ValidationError as error:
        raise ValueError("\n".join(_told(found["loc"], found["msg"]) for found in error.errors())) from None
    if scheme.kind == "none" and not settings.allow_unverified:
        raise ValueError("scheme: 'none' lets anybody in; set allow_unverified = true if that is meant")
    if scheme.signs_url and not scheme.public_url:
        return scheme.model_copy(update={"public_url": public_url})
    return scheme


def _told(place: tuple[int | str, ...], message: str) -> str:
    path = ".".join(["verify", *map(str, place)])
    return f"{path}: {message.removeprefix('Value error, ')}"


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
