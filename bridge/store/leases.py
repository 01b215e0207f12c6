"""Who works on a conversation right now: owner and epoch on its row, locked for the length of a transaction."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select

from bridge.store.prepared import Prepared, among
from bridge.store.tables import conversations, turns


@dataclass(frozen=True, slots=True)
class Held:
    """Who owns a conversation right now."""

    owner: str | None
    epoch: int


class Locks:
    """Rows that stay locked until the commit, always in the order of their ids, so that two batches never deadlock.

    They are locked before anything that is asked later, whether or not `held` was called by then.
    """

    def __init__(self, connection: Connection, conversation_ids: Collection[str]) -> None:
        self._asked = _LOCKED.ask(connection, {"ids": conversation_ids}) if conversation_ids else None
        self._held: dict[str, Held] = {}

    def held(self) -> dict[str, Held]:
        """Who owns each; what this transaction changes of it is noted there."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self._held = {row.id: Held(row.owner, row.epoch) for row in asked.rows()}
        return self._held


_LOCKED = Prepared(
    select(conversations.c.id, conversations.c.owner, conversations.c.epoch)
    .where(among(conversations.c.id, "ids"))
    .order_by(conversations.c.id)
    .with_for_update()
)


def is_of(node: str) -> ColumnElement[bool]:
    """A condition on turns: their conversation is this node's.

    Asked of each turn that is left by the other conditions. In a join SQLite may as well begin with all conversations
    of the node, ten thousand of them, to find the one turn that is to be stopped.
    """
    own = select(conversations.c.id).where(conversations.c.id == turns.c.conversation_id, conversations.c.owner == node)
    return own.exists()
