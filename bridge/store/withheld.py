"""Deliveries put back as they were before a try that was not made: no attempt is spent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, update

from bridge.model import DeliveryState
from bridge.store.deliveries import Delivery
from bridge.store.tables import Instant, deliveries
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class Withheld:
    """A delivery that is not to be tried before `until`."""

    delivery: Delivery
    until: datetime
    error: str


def _withhold(tx: Tx, rows: Sequence[Withheld]) -> list[None]:
    tx.connection.execute(_BACK, [_values(row) for row in rows])
    return [None] * len(rows)


def _values(row: Withheld) -> dict[str, object]:
    before = DeliveryState.UNKNOWN if row.delivery.uncertain else DeliveryState.PENDING
    return {"at": row.delivery.id, "to": before.value, "until": row.until, "why": row.error}


_BACK = (
    update(deliveries)
    # or it was put back already, and only the answer to that was lost
    .where(deliveries.c.id == bindparam("at"), deliveries.c.state == DeliveryState.SENDING.value)
    .values(
        state=bindparam("to"),
        attempt=deliveries.c.attempt - 1,
        not_before=bindparam("until", type_=Instant),
        error=bindparam("why"),
    )
)

WITHHOLD: Write[Withheld, None] = Write(_withhold, lease=lambda row: row.delivery.lease)
