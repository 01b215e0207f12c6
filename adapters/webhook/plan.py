"""All that a source's settings mean, worked out once when the bridge starts, every problem reported together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from adapters.webhook.callback import Callbacks
from adapters.webhook.challenges import methods_of
from adapters.webhook.identity import IdentityRule
from adapters.webhook.mapping import DefaultMapping, Maps, MapSettings, mapping_from_settings
from adapters.webhook.presets import PRESETS, STANDARD, STANDARD_V1A, ChallengeName, Preset
from adapters.webhook.ready_made import READY_MADE
from adapters.webhook.settings import SecretSetting, Settings, preset_name, scheme_from_settings
from adapters.webhook.targets import Target, target_from_text
from adapters.webhook.vendor import VendorMapping
from bridge.errors import ConfigError
from bridge.signing import Scheme, Secret

R = TypeVar("R")

_NO_PRESET = Preset(scheme=Scheme(kind="none"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A source, ready for its hot path."""

    settings: Settings
    scheme: Scheme
    secrets: tuple[Secret, ...]
    identity: IdentityRule
    mapping: Maps
    challenge: ChallengeName | None
    callbacks: Callbacks
    allowed: tuple[Target, ...]

    @property
    def methods(self) -> frozenset[str]:
        """The HTTP methods this source takes."""
        return methods_of(self.challenge)

    def allows(self, url: str) -> bool:
        """Whether a payload may name this address as its callback."""
        return any(target.allows(url) for target in self.allowed)


def plan_from_settings(settings: Settings, *, source: str, public_url: str) -> Plan:
    """Raises ConfigError with every problem, each with its path."""
    problems = _Problems(f"sources.{source}")
    scheme = problems.collect("", partial(scheme_from_settings, settings, public_url)) or _NO_PRESET.scheme
    secrets = _secrets(problems, "secrets", scheme, settings.secrets)
    if scheme.kind != "none" and not settings.secrets:
        problems.add("secrets", "at least one is needed, for example secrets = ['${ORDERS_SECRET}']")
    preset = PRESETS.get(preset_name(settings), _NO_PRESET)
    callbacks = _callbacks(problems, settings, scheme)
    places = settings.identity if settings.identity is not None else preset.identity
    mapping = problems.collect("map", partial(_mapping, settings.map, preset)) or DefaultMapping()
    if (settings.challenge or preset.challenge) == "meta" and settings.challenge_token is None:
        problems.add("challenge_token", "Meta's verify token is needed, for example '${META_VERIFY_TOKEN}'")
    is_configured = settings.identity is not None
    identity = problems.collect("identity", partial(IdentityRule, scheme, places, is_configured=is_configured))
    allowed = [problems.collect("callback_allow", partial(target_from_text, text)) for text in settings.callback_allow]
    if settings.callback is not None:
        problems.collect("callback", partial(target_from_text, settings.callback))
    problems.raise_if_any()
    assert identity is not None, "a rule that could not be made is a problem, and problems were raised"
    return Plan(
        settings=settings,
        scheme=scheme,
        secrets=secrets,
        identity=identity,
        mapping=mapping,
        challenge=settings.challenge or preset.challenge,
        callbacks=callbacks,
        allowed=tuple(target for target in allowed if target is not None),
    )


def _mapping(settings: MapSettings | None, preset: Preset) -> Maps:
    if settings is None:
        if preset.map is None:
            return DefaultMapping()
        settings = MapSettings(use=preset.map)
    if settings.use != "xpander":
        return mapping_from_settings(settings, READY_MADE)
    if settings.model_fields_set != {"use"}:
        raise ValueError("use: 'xpander' takes nothing beside it; its callers say everything in the request")
    return VendorMapping()


class _Problems:
    """What is wrong with a source, each with its path."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: list[str] = []

    def add(self, key: str, text: str) -> None:
        path = f"{self._path}.{key}" if key else self._path
        self._found += [f"{path}: {line}" if key else f"{path}.{line}" for line in text.splitlines()]

    def collect(self, key: str, make: Callable[[], R]) -> R | None:
        """What `make` returns, or None with its ValueError noted."""
        try:
            return make()
        except ValueError as error:
            self.add(key, str(error))
            return None

    def raise_if_any(self) -> None:
        if self._found:
            raise ConfigError(self._found)


def _secrets(problems: _Problems, key: str, scheme: Scheme, settings: Sequence[SecretSetting]) -> tuple[Secret, ...]:
    read = [problems.collect(f"{key}[{at}]", partial(setting.secret, scheme)) for at, setting in enumerate(settings)]
    return tuple(secret for secret in read if secret is not None)


def _callbacks(problems: _Problems, settings: Settings, scheme: Scheme) -> Callbacks:
    """Callbacks are signed with `callback_secrets`, or with the source's own where those are shared secrets."""
    may_answer = settings.callback is not None or settings.callback_allow
    if not may_answer:
        return Callbacks()
    own = () if scheme.is_asymmetric or scheme.kind == "none" else settings.secrets
    chosen, key = (settings.callback_secrets, "callback_secrets") if settings.callback_secrets else (own, "secrets")
    if not chosen:
        problems.add("callback_secrets", "needed to sign callbacks, for example callback_secrets = ['whsec_MfKQ9r8G…']")
    private = [s for s in chosen if s.value.get_secret_value().startswith("whsk_")]
    shared = [s for s in chosen if s not in private]
    callbacks = Callbacks(
        tuple(
            s for setting in shared for s in _secrets(problems, key, _callback_scheme(scheme, key, setting), [setting])
        ),
        _secrets(problems, key, STANDARD_V1A, private),
        settings.callback_timeout,
    )
    if any(secret.private is None for secret in callbacks.asymmetric):
        problems.add(key, "a whsk_ key needs seed and public key, 64 bytes, to sign")
    return callbacks


def _callback_scheme(scheme: Scheme, key: str, setting: SecretSetting) -> Scheme:
    """How a secret is read to sign a callback.

    A `whsec_` secret is what it encodes, as everywhere in Standard Webhooks. Any other is read as the
    source's own scheme reads it, mostly literally; a receiver with a stock library base64-encodes it.
    """
    if key == "callback_secrets" or setting.value.get_secret_value().startswith("whsec_"):
        return STANDARD
    return STANDARD.revised({"key": scheme.key, "min_key_bytes": scheme.min_key_bytes})
