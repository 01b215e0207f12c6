"""How much is open right now, in the whole installation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from bridge.store.ledger import Ledger, ledger, stuck
from bridge.store.tables import LIVE_DELIVERY_STATES, LIVE_TURN_STATES, deliveries, destinations, turns

OPEN_TURNS = ("queued", "running", "paused")
OPEN_DELIVERIES = ("pending", "sending", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What an operator watches; every state is there, also at zero."""

    turns: Mapping[str, int]
    deliveries: Mapping[str, int]
    destinations: Mapping[str, int]
    """Those that fail, and those that are disabled."""
    oldest_turn_at: datetime | None
    counts: Ledger
    stuck: int


def gauges(connection: Connection, *, stuck_before: datetime) -> Gauges:
    """Count. The ledger looks at every message there is: ask for this some times a minute, not more."""
    live = select(turns.c.state, func.count()).where(turns.c.state.in_(LIVE_TURN_STATES)).group_by(turns.c.state)
    owed = select(deliveries.c.state, func.count()).where(deliveries.c.state.in_(LIVE_DELIVERY_STATES))
    oldest = select(func.min(turns.c.created_at)).where(turns.c.state.in_(LIVE_TURN_STATES))
    return Gauges(
        turns=dict.fromkeys(OPEN_TURNS, 0) | {row[0]: row[1] for row in connection.execute(live)},
        deliveries=dict.fromkeys(OPEN_DELIVERIES, 0)
        | {row[0]: row[1] for row in connection.execute(owed.group_by(deliveries.c.state))},
        destinations=_destinations(connection),
        oldest_turn_at=connection.execute(oldest).scalar_one(),
        counts=ledger(connection),
        stuck=len(stuck(connection, before=stuck_before)),
    )


def _destinations(connection: Connection) -> dict[str, int]:
    counted = select(func.count(), func.count(destinations.c.disabled_at))
    noted, disabled = connection.execute(counted).one()
    return {"failing": noted - disabled, "disabled": disabled}
