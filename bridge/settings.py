"""The whole configuration, once it is checked: one frozen tree."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from bridge.options import BridgeOptions, EmbeddedAgent, RemoteAgent, SourceOptions
from bridge.redaction import secrets_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One `[sources.*]`: what the core reads, and what only its adapter reads."""

    name: str
    common: SourceOptions
    own: BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration, checked."""

    path: Path | None
    """None: the embedded default."""
    bridge: BridgeOptions
    agents: Mapping[str, RemoteAgent | EmbeddedAgent]
    sources: Mapping[str, Source]

    def public_url(self, source: Source | None = None) -> str:
        """Where the world reaches this bridge, or one of its sources."""
        base = self.bridge.public_url or f"http://{self.bridge.listen}"
        if source is None:
            return base
        return source.common.public_url or f"{base}/in/{source.name}"

    def receives_at(self, source: Source) -> str:
        """Where people who set it up have to send: an adapter's settings may know a place of its own, else by HTTP."""
        own: str = getattr(source.own, "receives_at", "")
        return own or self.public_url(source)

    def asked(self) -> Mapping[str, str]:
        """The agent each source asks."""
        return {name: source.common.agent for name, source in self.sources.items()}

    def keeping_keys(self) -> frozenset[str]:
        """The agents that tell of an earlier turn again when they are asked with its key."""
        return frozenset(name for name, agent in self.agents.items() if agent.keeps_keys)

    def secrets(self) -> frozenset[str]:
        """Every secret of the configuration: what must never be written down."""
        sources = [part for source in self.sources.values() for part in (source.own, source.common)]
        tables = [self.bridge, *self.agents.values(), *sources]
        return frozenset(value for table in tables for value in secrets_in(table))
