"""One source, as the stages need to know it."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from bridge.adapter import Adapter, Handshakes


@dataclass(frozen=True, kw_only=True)  # no slots: they leave cached_property no place
class Entrance:
    """Where one source comes in."""

    name: str
    adapter: Adapter
    agent: str
    busy: str
    max_body: int
    keep: timedelta
    """How long a copy is recognised."""

    capture: bool = False
    """Keep the raw requests for the operator to look at."""

    @cached_property
    def methods(self) -> frozenset[str]:
        """The HTTP methods it takes."""
        return self.adapter.methods if isinstance(self.adapter, Handshakes) else _POST


_POST = frozenset({"POST"})
