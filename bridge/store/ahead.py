"""What people said to a message of ours before its platform had told the bridge by which name it is known there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import bindparam, select, update

from bridge.store import strays
from bridge.store.arrivals import Arrival
from bridge.store.batch import Batch
from bridge.store.bodies import load_inbound
from bridge.store.lookup import Lookup
from bridge.store.prepared import Prepared, Record, among
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
    """Asked before the names are noted; heard once they are.

    Who spoke to us directly by such a name began a conversation, and is being answered there. What is said next belongs
    to what was replied to: a noted name leads before the key of a conversation, see `Lookup`.
    """

    def __init__(self, tx: Tx, named: Mapping[tuple[str, str], Named]) -> None:
        """`named`: for each source and name there the conversation it is of."""
        self._tx = tx
        self.named = named
        strays.hold(tx, named)
        self._asked = strays.ask(tx, named)
        wanted: dict[str, set[str]] = {}
        for source, name in named:
            wanted.setdefault(source, set()).add(name)
        self._elders = [
            (source, _ELDERS.ask(tx.connection, {"source": source, "names": names})) for source, names in wanted.items()
        ]

    def news(self) -> Sequence[tuple[str, str]]:
        """The names, each of one source, but for those that led elsewhere before anybody can have replied."""
        elders = {(source, row.key): row.created_at for source, asked in self._elders for row in asked.rows()}
        return [key for key, one in sorted(self.named.items()) if key not in elders or elders[key] >= one.since]

    def heed(self) -> Collection[str]:
        """Put it into those conversations, which the next beat wakes; tells which of them."""
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
_ELDERS = Prepared(
    select(conversations.c.key, conversations.c.created_at).where(
        conversations.c.source == bindparam("source"), among(conversations.c.key, "names")
    )
)
