"""Arrivals: one row per transport attempt, so that its copy is recognised and changes nothing."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select

from bridge.model import Act, InboundMessage, new_id
from bridge.storable import storable_name
from bridge.store.bodies import storable_message
from bridge.store.prepared import Prepared, among
from bridge.store.statements import insert_new
from bridge.store.tables import arrivals, envelopes
from bridge.store.writer import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One envelope, verified and sealed, and what its adapter read in it, in words that a database takes."""

    source: str
    delivery_key: str
    digest: str
    """Of the raw body: what tells a true copy from another body under the same key."""
    sealed: bytes
    """The whole envelope, encrypted."""
    messages: tuple[InboundMessage, ...] | None
    """None: to be read later."""
    received_at: datetime
    agent: str
    """The source's own agent, for messages that name no other."""
    busy: str
    keep: timedelta = timedelta(days=14)
    """How long a copy is recognised."""
    listened: bool = False
    """The caller wants the events of the turn, which may be over before he could ask for them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "delivery_key", storable_name(self.delivery_key))
        if self.messages is not None:
            object.__setattr__(self, "messages", tuple(map(storable_message, self.messages)))


def digest(body: bytes) -> str:
    """What an arrival keeps of its body in the clear."""
    return hashlib.sha256(body).hexdigest()


def claim(tx: Tx, rows: Sequence[Arrival]) -> Mapping[int, str]:
    """Insert the arrivals nobody has seen; maps their position to their envelope's id.

    Insert first, look after: of two copies at the same moment, in this batch or at another node,
    exactly one is new.
    """
    firsts: dict[tuple[str, str], int] = {}
    for position, row in enumerate(rows):
        firsts.setdefault((row.source, row.delivery_key), position)
    ids = {position: new_id("env") for position in firsts.values()}
    values = [_values(rows[position], ids[position], tx.node) for _, position in sorted(firsts.items())]
    won = {
        (row.source, row.delivery_key) for row in insert_new(tx.connection, arrivals, values, "source", "delivery_key")
    }
    fresh = {position: ids[position] for key, position in firsts.items() if key in won}
    _KEEP.run(
        tx.connection,
        [
            {"id": ids[p], "source": rows[p].source, "sealed": rows[p].sealed, "created_at": rows[p].received_at}
            for p in fresh
        ],
    )
    return fresh


_KEEP = Prepared(envelopes.insert())


@dataclass(frozen=True, slots=True)
class First:
    """The first copy of an arrival."""

    digest: str
    message_keys: tuple[str, ...]


class Firsts:
    """The first copies of these arrivals, asked for at once and told later."""

    def __init__(self, tx: Tx, rows: Sequence[Arrival]) -> None:
        keys: dict[str, set[str]] = {}
        for row in rows:
            keys.setdefault(row.source, set()).add(row.delivery_key)
        self._asked = {
            source: _FIRSTS.ask(tx.connection, {"source": source, "keys": of}) for source, of in keys.items()
        }

    def told(self) -> Mapping[tuple[str, str], First]:
        """By (source, delivery_key)."""
        return {
            (source, row.delivery_key): First(row.digest, tuple(json.loads(row.message_keys or "[]")))
            for source, asked in self._asked.items()
            for row in asked.rows()
        }


_FIRSTS = Prepared(
    select(arrivals.c.delivery_key, arrivals.c.digest, arrivals.c.message_keys).where(
        arrivals.c.source == bindparam("source"), among(arrivals.c.delivery_key, "keys")
    )
)


def _values(row: Arrival, envelope_id: str, owner: str) -> dict[str, object]:
    return {
        "source": row.source,
        "delivery_key": row.delivery_key,
        "digest": row.digest,
        "envelope_id": envelope_id,
        "state": "read" if row.messages is not None else "unread",
        "message_keys": json.dumps([m.message_key for m in row.messages if m.act is Act.SAY]) if row.messages else None,
        "owner": owner,
        "attempt": 0,
        "received_at": row.received_at,
        "expires_at": row.received_at + row.keep,
    }
