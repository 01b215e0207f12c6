"""The `progress` delivery of a running turn: what of it stands on the platform, to be revised or withdrawn later."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, null, update

from bridge.model import OutboundMessage, Turn
from bridge.storable import storable_id
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "remote_id", storable_id(self.remote_id))


def _shown(tx: Tx, rows: Sequence[Shown]) -> list[None]:
    values = [delivery_row(row.turn, row.message) | {"state": "sending"} for row in rows]
    insert_missing(tx.connection, deliveries, sorted(values, key=lambda value: str(value["id"])))
    tx.connection.execute(_REMOTE, [{"turn": row.turn.id, "remote": row.remote_id} for row in rows])
    return [None] * len(rows)


@dataclass(frozen=True, slots=True)
class Gone:
    """What was shown is not there any more: nothing is said in its place."""

    turn: Turn
    remote_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "remote_id", storable_id(self.remote_id))


def _gone(tx: Tx, rows: Sequence[Gone]) -> list[None]:
    values = [{"turn": row.turn.id, "remote": row.remote_id, "now": tx.now} for row in rows]
    tx.connection.execute(_NOTHING, values)
    return [None] * len(rows)


_view = (deliveries.c.turn_id == bindparam("turn"), deliveries.c.kind == "progress", deliveries.c.copy == 0)
_REMOTE = (
    update(deliveries)
    .where(*_view, deliveries.c.marker.is_(None))
    .values(remote_id=bindparam("remote"), state="sending", finished_at=null())
)
_NOTHING = (
    update(deliveries)
    .where(*_view, deliveries.c.state == "sending", deliveries.c.remote_id == bindparam("remote"))
    .values(state="withdrawn", finished_at=bindparam("now"))
)

SHOWN: Write[Shown, None] = Write(_shown, lease=lambda row: row.turn.lease)
GONE: Write[Gone, None] = Write(_gone, lease=lambda row: row.turn.lease)
