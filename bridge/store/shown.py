"""The `progress` delivery of a running turn: what of it stands on the platform, to be revised or withdrawn later."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, update

from bridge.model import OutboundMessage, Turn
from bridge.store.statements import insert_missing
from bridge.store.tables import deliveries
from bridge.store.turns import delivery_row
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class Shown:
    """A view has appeared, or moved on to another message."""

    turn: Turn
    message: OutboundMessage
    remote_id: str


def _shown(tx: Tx, rows: Sequence[Shown]) -> list[None]:
    values = [delivery_row(row.turn, row.message) | {"state": "sending"} for row in rows]
    insert_missing(tx.connection, deliveries, sorted(values, key=lambda value: str(value["id"])))
    tx.connection.execute(_REMOTE, [{"turn": row.turn.id, "remote": row.remote_id} for row in rows])
    return [None] * len(rows)


_REMOTE = (
    update(deliveries)
    .where(deliveries.c.turn_id == bindparam("turn"), deliveries.c.kind == "progress", deliveries.c.state == "sending")
    .values(remote_id=bindparam("remote"))
)

SHOWN: Write[Shown, None] = Write(_shown, lease=lambda row: row.turn.lease)
