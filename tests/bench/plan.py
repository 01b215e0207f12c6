"""What so many messages a second would take, from what one was measured to take: multiplication, and nothing else."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.bench.table import Table

FULL: Final = 0.6
"""How far a core is planned to be used; what is left is for peaks and for a node that dies."""
CONNECTIONS: Final = 7
"""Of a node to PostgreSQL: two lanes that write, four readers, one that listens."""
DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one message takes, from its arrival to the callback of its answer."""

    bridge_ms: float
    database_ms: float
    inserted: float
    updated: float
    wal_bytes: float
    disk_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be planned for."""

    rate: float
    agent_seconds: float
    cells: int = 1
    """Databases, each with nodes of its own and an equal share of the messages."""

    @property
    def share(self) -> float:
        return self.rate / self.cells


def nodes(one: Message, load: Load) -> int:
    """Of one cell. A node is a process, and a process of Python uses one core."""
    return math.ceil(load.share * one.bridge_ms / 1000 / FULL)


def rows(one: Message, load: Load) -> Iterator[tuple[str, str, str]]:
    """What, how much of it in each cell, and how that was reckoned."""
    rate, count = load.share, nodes(one, load)
    busy, database = rate * one.bridge_ms / 1000, rate * one.database_ms / 1000
    flying = rate * load.agent_seconds
    yield "messages a second", f"{rate:,.0f}", f"{load.rate:,.0f} / {load.cells}"
    yield "cores busy with the bridge", f"{busy:.1f}", f"{rate:,.0f} x {one.bridge_ms:.2f} ms"
    yield "nodes, one core each", f"{count}", f"{busy:.1f} / {FULL}"
    yield "cores of the database", f"{database / FULL:.0f}", f"{rate:,.0f} x {one.database_ms:.2f} ms / {FULL}"
    yield "rows inserted a second", f"{rate * one.inserted:,.0f}", f"{rate:,.0f} x {one.inserted:.1f}"
    yield "rows updated a second", f"{rate * one.updated:,.0f}", f"{rate:,.0f} x {one.updated:.1f}"
    yield "WAL, MB a second", f"{rate * one.wal_bytes / 1e6:.0f}", f"{rate:,.0f} x {one.wal_bytes / 1e3:.1f} KB"
    grown = rate * one.disk_bytes
    yield (
        "database grows, GB a day",
        f"{grown * DAY / 1e9:,.0f}",
        f"{rate:,.0f} x {one.disk_bytes / 1e3:.1f} KB x {DAY:,} s",
    )
    yield "connections to the database", f"{count * CONNECTIONS}", f"{count} nodes x {CONNECTIONS}"
    yield "turns in flight", f"{flying:,.0f}", f"{rate:,.0f} x {load.agent_seconds:g} s that the agent takes"
    yield "turns in flight at each node", f"{flying / count:,.0f}", f"{flying:,.0f} / {count}"


def tell(one: Message, *, rate: float, agent_seconds: float, cells: int) -> None:
    """One database against several."""
    whole = list(rows(one, Load(rate=rate, agent_seconds=agent_seconds)))
    parts = list(rows(one, Load(rate=rate, agent_seconds=agent_seconds, cells=cells)))
    title = f"What {rate:,.0f} messages a second would take"
    table = Table(
        "what", "one database", f"each of {cells} databases", "how it is reckoned (one database)", title=title
    )
    for (what, all_of_it, how), (_, share, _) in zip(whole, parts, strict=True):
        table.row(what, all_of_it, share, how)
