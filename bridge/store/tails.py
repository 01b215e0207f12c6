"""The waiting turn at the end of a conversation, which may take up what is said meanwhile (`busy = collect`)."""

from collections.abc import Collection

from sqlalchemy import func, select

from bridge.model import InboundMessage
from bridge.store.bodies import load_inbound
from bridge.store.tables import messages, turns
from bridge.store.writer import Tx


class Tails:
    """The last turn of each conversation, where it has not been tried yet."""

    def __init__(self, tx: Tx, conversation_ids: Collection[str | None]) -> None:
        self._tails: dict[str | None, tuple[str, InboundMessage]] = {}
        if not conversation_ids:
            return
        last = (
            select(turns.c.conversation_id, func.max(turns.c.seq).label("seq"))
            .where(turns.c.conversation_id.in_(conversation_ids))
            .group_by(turns.c.conversation_id)
            .subquery()
        )
        query = (
            select(turns.c.conversation_id, turns.c.id, messages.c.body, messages.c.text)
            .join(last, (turns.c.conversation_id == last.c.conversation_id) & (turns.c.seq == last.c.seq))
            .join(messages, messages.c.turn_id == turns.c.id)
            .where(turns.c.state == "queued", turns.c.attempt == 0)
        )
        for row in tx.connection.execute(query):
            self._tails[row.conversation_id] = (row.id, load_inbound(row.body, row.text))

    def fold(self, conversation_id: str | None, message: InboundMessage) -> str | None:
        """The turn that takes this message, too: same author, same return address, same options; else None."""
        if conversation_id not in self._tails:
            return None
        turn_id, other = self._tails[conversation_id]
        return turn_id if _belong_together(other, message) else None

    def append(self, conversation_id: str | None, turn_id: str, message: InboundMessage) -> None:
        """This turn is now the last of its conversation."""
        self._tails[conversation_id] = (turn_id, message)


def _belong_together(one: InboundMessage, other: InboundMessage) -> bool:
    return (one.author.id, one.return_address, one.options, one.agent) == (
        other.author.id,
        other.return_address,
        other.options,
        other.agent,
    )
