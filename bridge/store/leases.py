"""Who works on a conversation right now: owner and epoch on its row, locked for the length of a transaction."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from bridge.store.prepared import Prepared, among
from bridge.store.tables import conversations


@dataclass(frozen=True, slots=True)
class Held:
    """Who owns a conversation right now."""

    owner: str | None
    epoch: int


def lock(connection: Connection, conversation_ids: Collection[str]) -> dict[str, Held]:
    """Lock the rows until the commit, always in the order of their ids, so that two batches never deadlock."""
    if not conversation_ids:
        return {}
    rows = _LOCKED.rows(connection, {"ids": conversation_ids})
    return {row.id: Held(row.owner, row.epoch) for row in rows}


_LOCKED = Prepared(
    select(conversations.c.id, conversations.c.owner, conversations.c.epoch)
    .where(among(conversations.c.id, "ids"))
    .order_by(conversations.c.id)
    .with_for_update()
)
