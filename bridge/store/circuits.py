"""The agents' breakers, shared by all nodes: one row an agent, and none for one that was never away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, select, update

from bridge.circuit import CLOSED, Circuit
from bridge.store.statements import insert_missing
from bridge.store.tables import Instant, circuits
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a node has learnt of an agent, or wants to find out for all."""

    agent: str
    what: Literal["failed", "succeeded", "probe"]
    after: float | None = None
    """For a failure: the seconds the agent asked to be left alone."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The breaker as it is now."""

    circuit: Circuit
    may_try: bool
    """For a probe: whether it is this caller's."""


def _change(tx: Tx, rows: Sequence[Change]) -> list[Changed]:
    """One kind of write for all changes, rows locked in order, so that two nodes never wait in a circle."""
    agents = sorted({row.agent for row in rows})
    insert_missing(tx.connection, circuits, [{"agent": agent, "failures": 0} for agent in agents])
    query = select(circuits).where(circuits.c.agent.in_(agents)).order_by(circuits.c.agent).with_for_update()
    state = {row.agent: Circuit(row.failures, row.opens_at, row.probed_until) for row in tx.connection.execute(query)}
    answers = [_apply(tx, state, row) for row in rows]
    tx.connection.execute(_SAVE, [_values(agent, circuit) for agent, circuit in sorted(state.items())])
    return answers


CHANGE: Write[Change, Changed] = Write(_change)


def _apply(tx: Tx, state: dict[str, Circuit], row: Change) -> Changed:
    before, may_try = state[row.agent], True
    if row.what == "failed":
        state[row.agent] = before.failed(tx.now, row.after)
    elif row.what == "succeeded":
        state[row.agent] = CLOSED
    elif before.is_open:
        may_try = before.wait(tx.now) is None
        state[row.agent] = before.probed(tx.now) if may_try else before
    return Changed(state[row.agent], may_try)


def _values(agent: str, circuit: Circuit) -> dict[str, object]:
    return {
        "at": agent,
        "count": circuit.failures,
        "opens": circuit.opens_at,
        "probed": circuit.probed_until,
    }


_SAVE = (
    update(circuits)
    .where(circuits.c.agent == bindparam("at"))
    .values(
        failures=bindparam("count"),
        opens_at=bindparam("opens", type_=Instant),
        probed_until=bindparam("probed", type_=Instant),
    )
)


AWAY = select(circuits.c.agent).where(circuits.c.opens_at.is_not(None))
"""The agents that count as away: what is said to them is neither overlooked nor stuck."""


def known(connection: Connection) -> Mapping[str, Circuit]:
    """Every breaker that is not untouched."""
    query = select(circuits).where(circuits.c.failures > 0)
    return {row.agent: Circuit(row.failures, row.opens_at, row.probed_until) for row in connection.execute(query)}
