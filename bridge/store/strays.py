"""What overtook the beginning of its conversation: declined when it came, wanted once that begins."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, select

from bridge.store.bodies import load_inbound
from bridge.store.prepared import Prepared
from bridge.store.said import ADMITTED, Said
from bridge.store.tables import messages
from bridge.store.writer import Tx

OVERTAKES: Final = timedelta(hours=1)
"""So much later than what it led to a beginning may still arrive."""


def strays(tx: Tx, said: Iterable[Said]) -> list[Said]:
    """The messages that only lacked the conversations these begin, to be placed behind them in their order."""
    return [stray for first in said if _begins(first) for stray in _behind(tx, first)]


def _begins(first: Said) -> bool:
    """What is said to us directly is admitted by itself; only what others are spared can have gone astray."""
    message, match = first.message, first.match
    begins = message.begins and message.addressed == "mention" and first.admission == ADMITTED
    return begins and match is not None and match.conversation.is_new


def _behind(tx: Tx, first: Said) -> list[Said]:
    arrival = first.arrival
    wanted = {"source": arrival.source, "key": first.message.conversation[-1].value, "since": tx.now - OVERTAKES}
    return [
        # A moment behind the beginning, or the turn would read them before it.
        Said(
            replace(arrival, received_at=arrival.received_at + timedelta(microseconds=number)),
            load_inbound(row.body, row.text),
            row.envelope_id,
        )
        for number, row in enumerate(_STRAYS.rows(tx.connection, wanted), 1)
    ]


_STRAYS = Prepared(
    select(messages.c.envelope_id, messages.c.body, messages.c.text)
    .where(messages.c.source == bindparam("source"), messages.c.stray_key == bindparam("key"))
    .where(messages.c.received_at > bindparam("since", type_=messages.c.received_at.type))
    .order_by(messages.c.received_at, messages.c.id)
)
