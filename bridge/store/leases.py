"""Who works on a conversation right now: owner and epoch on its row, locked for the length of a transaction."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

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
    table = conversations.c
    rows = connection.execute(
        select(table.id, table.owner, table.epoch)
        .where(table.id.in_(conversation_ids))
        .order_by(table.id)
        .with_for_update()
    )
    return {row.id: Held(row.owner, row.epoch) for row in rows}
