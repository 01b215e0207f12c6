"""What people said to a message of ours before its platform had told the bridge by which name it is known there."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import String, bindparam, literal_column, update

from bridge.store import strays
from bridge.store.arrivals import Arrival
from bridge.store.batch import Batch
from bridge.store.bodies import load_inbound
from bridge.store.lookup import Lookup
from bridge.store.prepared import Prepared, Record
from bridge.store.said import Said
from bridge.store.tables import conversations
from bridge.store.writer import Tx


@dataclass(frozen=True, slots=True)
class Named:
    """What has a name now."""

    conversation_id: str
    """Its row is locked and ours."""
    since: datetime
    """Nobody can have replied before then."""


class Ahead:
    """Asked before the names are noted; heard once they are."""

    def __init__(self, tx: Tx, named: Mapping[tuple[str, str], Named]) -> None:
        """`named`: for each source and name there the conversation it is of."""
        self._tx = tx
        self.named = named
        strays.hold(tx, named)
        self._asked = strays.ask(tx, named)

    def heed(self) -> Collection[str]:
        """Put it into those conversations, which the next beat wakes; tells which of them.

        Who mentioned us began a conversation by that name, and is being answered there. It gives the name up: what is
        said next belongs to what was replied to.
        """
        _GIVE_UP.run(
            self._tx.connection,
            [
                {"of": source, "name": name, "mine": one.conversation_id, "since": one.since}
                for (source, name), one in sorted(self.named.items())
            ],
        )
        found = [(source, row) for source, asked in self._asked.items() for row in asked.rows()]
        if not found:
            return ()
        said = [_said(source, row) for source, row in found]
        lookup = Lookup(self._tx, [(one.arrival.source, one.message) for one in said])
        replies = [one for one in (self._addressed(lookup, one) for one in said) if one is not None]
        batch = Batch(self._tx, lookup, ())
        batch.learn(one.key for one in replies)
        batch.place(replies)
        batch.claim()
        for conversation_id in sorted(batch.leases):
            self._tx.connection.execute(_NUDGE, {"at": conversation_id})
        return batch.leases

    def _addressed(self, lookup: Lookup, said: Said) -> Said | None:
        """With the conversation's own agent. None: it is of another conversation, which began by that name."""
        match = lookup.match(said.arrival.source, said.message)
        name = said.message.conversation[-1].value
        named = self.named.get((said.arrival.source, name))
        if match is None or named is None or match.conversation.id != named.conversation_id:
            return None
        return replace(said, arrival=replace(said.arrival, agent=match.conversation.agent or ""))


def _said(source: str, row: Record) -> Said:
    """As it arrived, as far as that is still known."""
    arrival = Arrival(
        source=source,
        delivery_key="",
        digest="",
        sealed=b"",
        messages=None,
        received_at=row.received_at,
        agent="",
        busy="queue",
    )
    return Said(arrival, load_inbound(row.body, row.text), row.envelope_id)


_NUDGE = update(conversations).where(conversations.c.id == bindparam("at")).values(nudged=True)
_GIVE_UP = Prepared(
    update(conversations)
    .where(
        conversations.c.source == bindparam("of"),
        conversations.c.key == bindparam("name"),
        conversations.c.id != bindparam("mine"),
        conversations.c.created_at >= bindparam("since", type_=conversations.c.created_at.type),
    )
    .values(key=literal_column("'ahead:'", String) + conversations.c.id)
)
