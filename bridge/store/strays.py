"""What overtook the beginning of its conversation: declined when it came, wanted once that begins."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, select

from bridge.store.bodies import load_inbound
from bridge.store.prepared import Prepared, Record, among
from bridge.store.said import ADMITTED, Said
from bridge.store.tables import messages
from bridge.store.writer import Tx

OVERTAKES: Final = timedelta(hours=1)
"""So much later than what it led to a beginning may still arrive."""


def strays(tx: Tx, said: Iterable[Said]) -> list[Said]:
    """The messages that only lacked the conversations these begin, to be placed behind them in their order."""
    firsts = {(first.arrival.source, first.message.conversation[-1].value): first for first in said if _begins(first)}
    found = []
    for source in sorted({source for source, _ in firsts}):
        wanted = {"source": source, "keys": [key for of, key in firsts if of == source], "since": tx.now - OVERTAKES}
        rows = _STRAYS.rows(tx.connection, wanted)
        found += [_behind(firsts[source, row.stray_key], row, number) for number, row in enumerate(rows, 1)]
    return found


def _begins(first: Said) -> bool:
    """What is said to us directly is admitted by itself; only what others are spared can have gone astray."""
    message, match = first.message, first.match
    begins = message.begins and message.addressed == "mention" and first.admission == ADMITTED
    return begins and match is not None and match.conversation.is_new


def _behind(first: Said, row: Record, number: int) -> Said:
    """A moment behind the beginning, or the turn would read it before that."""
    at = first.arrival.received_at + timedelta(microseconds=number)
    return Said(replace(first.arrival, received_at=at), load_inbound(row.body, row.text), row.envelope_id)


_STRAYS = Prepared(
    select(messages.c.stray_key, messages.c.envelope_id, messages.c.body, messages.c.text)
    .where(messages.c.source == bindparam("source"), among(messages.c.stray_key, "keys"))
    .where(messages.c.received_at > bindparam("since", type_=messages.c.received_at.type))
    .order_by(messages.c.received_at, messages.c.id)
)
