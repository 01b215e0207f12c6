"""Loads `bridge.toml`: one frozen tree, or one report with every problem of the whole file."""

import hmac
import secrets
import tomllib
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from bridge.errors import ConfigError
from bridge.expansion import expand
from bridge.options import NAME, BridgeOptions, EmbeddedAgent, RemoteAgent, SourceOptions
from bridge.problems import Path as Place
from bridge.problems import Problem, problems_of, unknown_name
from bridge.secrets_file import read_or_make
from bridge.settings import Settings, Source

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
AdapterSettings = Callable[[str], type[BaseModel]]
"""The settings model of an adapter by its name. Raises LookupError, with a sentence, where there is none."""
KeptSecret = Callable[[Path, str], str]
"""What a file of a secret holds; what becomes of the value where there is no such file is its choice."""

FILE: Final = "bridge.toml"
EMBEDDED: Final = """
[bridge]
listen     = "${BRIDGE_LISTEN:-127.0.0.1:8080}"
public_url = "${BRIDGE_PUBLIC_URL:-}"

[agents.demo]
kind  = "embedded"
brain = "demo"

[sources.demo]
adapter                 = "webhook"
agent                   = "demo"
scheme                  = "standard"
secrets                 = ["${BRIDGE_DEMO_SECRET}"]
allow_private_callbacks = true
"""
"""What runs without a configuration."""

_AGENTS: Final[Mapping[str, type[RemoteAgent | EmbeddedAgent]]] = {"xpander": RemoteAgent, "embedded": EmbeddedAgent}
_TOP: Final = ("bridge", "agents", "sources")


def load(
    config: Path | None,
    environ: Mapping[str, str],
    adapter_settings: AdapterSettings,
    kept: KeptSecret = read_or_make,
) -> Settings:
    """Read `config`, else the file BRIDGE_CONFIG names, else `bridge.toml` here, else the embedded default.

    Secrets that are not configured are made once in the folder of the SQLite file (`secret_key`,
    `admin_token`), and read from there ever after: by `kept`. Raises ConfigError with every problem there is.
    """
    path = _path_of(config, environ)
    if path is None:
        demo = kept(Path("data/demo_secret"), "whsec_" + b64encode(secrets.token_bytes(32)).decode())
        environ = {"BRIDGE_DEMO_SECRET": demo, **environ}
    return _Loading(environ, adapter_settings).load(path, EMBEDDED if path is None else _text_of(path), kept)


def load_sound_part(config: Path | None, environ: Mapping[str, str], adapter_settings: AdapterSettings) -> Settings:
    """What of a configuration with problems has none, so that building it tells what else is wrong. Makes no secrets.

    Raises ConfigError where the file cannot be read at all.
    """
    path = _path_of(config, environ)
    return _Loading(environ, adapter_settings).load_sound_part(path, EMBEDDED if path is None else _text_of(path))


def _path_of(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    path = config or (Path(environ["BRIDGE_CONFIG"]) if environ.get("BRIDGE_CONFIG") else None)
    return Path(FILE) if path is None and Path(FILE).is_file() else path


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
    except OSError as error:
        raise ConfigError([f"Cannot read {path}: {error.strerror or error}."]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path} is not UTF-8 (byte {error.start})."]) from error


class _Loading:
    """One reading of a file: it goes on after a problem, so that all of them are told at once."""

    def __init__(self, environ: Mapping[str, str], adapter_settings: AdapterSettings) -> None:
        self._environ = environ
        self._adapter_settings = adapter_settings
        self._problems: list[Problem] = []
        self._unexpanded: list[Place] = []

    def load(self, path: Path | None, text: str, kept: KeptSecret) -> Settings:
        bridge, agents, sources = self._read(path, text)
        if self._problems or bridge is None:
            raise ConfigError(list(dict.fromkeys(map(str, self._problems))))
        return Settings(path=path, bridge=_completed(bridge, kept), agents=_all(agents), sources=_all(sources))

    def load_sound_part(self, path: Path | None, text: str) -> Settings:
        bridge, agents, sources = self._read(path, text)
        marred = {problem.path[:2] for problem in self._problems}
        has_sound_bridge = bridge is not None and all(place[0] != "bridge" for place in marred)
        options = bridge if bridge is not None and has_sound_bridge else BridgeOptions()
        keys = options.secret_keys or (SecretStr(secrets.token_urlsafe(32)),)  # nothing is sealed with it
        left = {name: source for name, source in sources.items() if ("sources", name) not in marred}
        return Settings(
            path=path,
            bridge=options.model_copy(update={"secret_keys": keys}),
            agents=_all({name: agent for name, agent in agents.items() if ("agents", name) not in marred}),
            sources=_all({name: source and _without_lost_way(source, left) for name, source in left.items()}),
        )

    def _read(
        self, path: Path | None, text: str
    ) -> tuple[BridgeOptions | None, Mapping[str, RemoteAgent | EmbeddedAgent | None], Mapping[str, Source | None]]:
        raw = self._parsed(path, text)
        bridge = self._bridge(_table(raw.get("bridge", {})))
        agents = {name: self._agent(name, table) for name, table in self._tables(raw, "agents")}
        sources = {name: self._source(name, table, agents) for name, table in self._tables(raw, "sources")}
        self._check_top(raw, sources)
        return bridge, agents, sources

    def _parsed(self, path: Path | None, text: str) -> dict[str, Any]:
        try:
            expanded, problems = expand(tomllib.loads(text), self._environ)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([f"{path} is not TOML: {error}."]) from error
        except RecursionError as error:
            raise ConfigError([f"{path} is nested too deeply."]) from error
        self._problems += problems
        self._unexpanded += [problem.path for problem in problems]
        return dict(expanded)

    def _tables(self, raw: Mapping[str, Any], group: str) -> Iterator[tuple[str, dict[str, Any]]]:
        tables = raw.get(group, {})
        if not isinstance(tables, dict) or not tables:
            self._report((group,), f"needs at least one table, such as [{group}.demo]")
            return
        for name, table in tables.items():
            if not isinstance(table, dict):
                self._report((group, name), "should be a table")
            elif not NAME.fullmatch(name):
                self._report((group, name), "is no name: write lower-case letters, digits, - and _, 63 at most")
            else:
                yield name, table

    def _bridge(self, raw: dict[str, Any]) -> BridgeOptions | None:
        options = self._validated(BridgeOptions, raw, ("bridge",))
        if options and _sqlite_folder(options) is None and not options.secret_keys:
            example = 'secret_keys = ["${BRIDGE_SECRET_KEY}"]'
            self._report(("bridge", "secret_keys"), f"is required with PostgreSQL; for example {example}")
        return options

    def _agent(self, name: str, raw: dict[str, Any]) -> RemoteAgent | EmbeddedAgent | None:
        kind = raw.get("kind")
        model = _AGENTS.get(kind) if isinstance(kind, str) else None
        if model is None:
            known = unknown_name(str(kind), tuple(_AGENTS)) if kind else '; for example kind = "xpander"'
            self._report(("agents", name, "kind"), ("is no kind of agent" if kind else "is required") + known)
            return None
        return self._validated(model, raw, ("agents", name))

    def _source(self, name: str, raw: dict[str, Any], agents: Collection[str]) -> Source | None:
        place: Place = ("sources", name)
        shared = {key: value for key, value in raw.items() if key in SourceOptions.model_fields}
        common = self._validated(SourceOptions, shared, place)
        own = self._own(raw, place)
        if common is None:
            return None
        if not common.agent and len(agents) == 1:
            common = common.model_copy(update={"agent": next(iter(agents))})
        elif not common.agent and agents:  # without any, that is what is told
            self._report((*place, "agent"), "is required where there are several agents" + unknown_name("", agents))
        elif common.agent and common.agent not in agents:
            self._report((*place, "agent"), "is no agent" + unknown_name(common.agent, agents))
        return Source(name=name, common=common, own=own) if own else None

    def _own(self, raw: dict[str, Any], place: Place) -> BaseModel | None:
        adapter = raw.get("adapter")
        if not isinstance(adapter, str) or not adapter:
            return None  # told already, by the common part
        try:
            model = self._adapter_settings(adapter)
        except LookupError as error:
            self._report((*place, "adapter"), str(error.args[0] if error.args else error))
            return None
        # An adapter that declares a common option too is given it like its own.
        own = {
            key: value
            for key, value in raw.items()
            if key not in SourceOptions.model_fields.keys() - model.model_fields
        }
        return self._validated(model, own, place, also_known=SourceOptions.model_fields)

    def _check_top(self, raw: Mapping[str, Any], sources: Mapping[str, Source | None]) -> None:
        for name in raw:
            if name not in _TOP:
                self._report((name,), "is not a table" + unknown_name(name, _TOP))
        if not isinstance(raw.get("bridge", {}), dict):
            self._report(("bridge",), "should be a table")
        for name, source in sources.items():
            via = source.common.reply_via if source else None
            if via and via.source not in sources:
                self._report(
                    ("sources", name, "reply_via", "source"), "is no source" + unknown_name(via.source, sources)
                )

    def _validated(self, model: type[M], raw: dict[str, Any], place: Place, also_known: Iterable[str] = ()) -> M | None:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            found = problems_of(error, model, raw, place, also_known)
            # A reference that was not expanded is told already, and its text is no value to judge.
            self._problems += [problem for problem in found if not problem.lies_within(self._unexpanded)]
            return None

    def _report(self, place: Place, text: str) -> None:
        self._problems.append(Problem(place, text))


def _all(found: Mapping[str, T | None]) -> Mapping[str, T]:
    return MappingProxyType({name: one for name, one in found.items() if one is not None})


def _without_lost_way(source: Source, left: Collection[str]) -> Source:
    """Without a way out through a source that is not left."""
    via = source.common.reply_via
    if via is None or via.source in left:
        return source
    return replace(source, common=source.common.model_copy(update={"reply_via": None}))


def _table(raw: Any) -> dict[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _completed(options: BridgeOptions, kept: KeptSecret) -> BridgeOptions:
    """With what can be derived or made; only ever called for a configuration without a problem."""
    filled: dict[str, Any] = {}
    if folder := _sqlite_folder(options):
        if not options.secret_keys:
            filled["secret_keys"] = (SecretStr(kept(folder / "secret_key", secrets.token_urlsafe(32))),)
        if not options.admin_token:
            filled["admin_token"] = SecretStr(kept(folder / "admin_token", secrets.token_urlsafe(32)))
    elif not options.admin_token:
        filled["admin_token"] = _derived_token(options.secret_keys[0])
    if not options.public_url:
        host = "127.0.0.1" if options.listen.host in {"0.0.0.0", "::"} else options.listen.host  # noqa: S104 - compared
        filled["public_url"] = f"http://{options.listen._replace(host=host)}"
    return options.model_copy(update=filled)


def _derived_token(newest_key: SecretStr) -> SecretStr:
    """The same at every node and for their command lines; nothing of the key can be learned from it."""
    derived = hmac.digest(newest_key.get_secret_value().encode(), b"agent-bridge admin_token", "sha256")
    return SecretStr(derived.hex())


def _sqlite_folder(options: BridgeOptions) -> Path | None:
    kind, _, rest = options.database_url.partition("://")
    return Path(rest.removeprefix("/").partition("?")[0]).parent if kind.startswith("sqlite") else None
