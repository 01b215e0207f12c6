"""What overtook the beginning of its conversation: declined when it came, wanted once that begins."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import String, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql

from bridge.model import Act, InboundMessage
from bridge.store.bodies import load_inbound
from bridge.store.prepared import Asked, Prepared, Words, among
from bridge.store.said import ADMITTED, NOT_ENGAGED, Said
from bridge.store.tables import messages
from bridge.store.writer import Tx

OVERTAKES: Final = timedelta(hours=1)
"""So much later than what it led to a beginning may still arrive."""


def hold_names(tx: Tx, said: Iterable[tuple[str, InboundMessage]]) -> None:
    """Lock the names of what begins and of what may have overtaken it until the commit, before anything is looked up.

    So is what may be a reply to something whose name is being noted just now. Else, of two nodes that store one each
    at the same moment, neither would see what the other stores. SQLite has one writer.
    """
    hold(tx, [(source, _name(message)) for source, message in said if _may_be_early(message)])


def hold(tx: Tx, names: Iterable[tuple[str, str]]) -> None:
    """Lock these names, each of one source."""
    if tx.connection.dialect.name == "postgresql" and (words := {f"{source} {name}" for source, name in names}):
        _HOLD.ask(tx.connection, {"names": sorted(words)})


def ask(tx: Tx, names: Iterable[tuple[str, str]]) -> dict[str, Asked]:
    """What was declined, and would be of the conversations with these names: the question for each source."""
    wanted: dict[str, set[str]] = {}
    for source, name in names:
        wanted.setdefault(source, set()).add(name)
    since = tx.now - OVERTAKES
    return {
        source: _STRAYS.ask(tx.connection, {"source": source, "keys": keys, "since": since})
        for source, keys in wanted.items()
    }


class Strays:
    """Asked for with everything else of a batch, for all that may begin in it."""

    def __init__(self, tx: Tx, said: Iterable[tuple[str, InboundMessage]]) -> None:
        self._asked = ask(tx, [(source, _name(message)) for source, message in said if _may_begin(message)])
        self._declined: list[_Stray] = []
        """Those of the same batch."""

    def behind(self, said: Sequence[Said]) -> list[Said]:
        """The messages that only lacked the conversations these begin, to be placed behind them in their order."""
        self._declined += _declined(said)
        firsts = {(first.arrival.source, _name(first.message)): first for first in said if _begins(first)}
        if not firsts:
            return []
        gone = [one for one in (*self._stored(), *self._declined) if (one.source, one.name) in firsts]
        gone.sort(key=lambda one: one.received_at)
        return [one.behind(firsts[one.source, one.name], number) for number, one in enumerate(gone, 1)]

    def _stored(self) -> Iterator["_Stray"]:
        for source, asked in self._asked.items():
            for row in asked.rows():
                message = load_inbound(row.body, row.text)
                yield _Stray(source, row.stray_key, message, row.envelope_id, row.received_at)


@dataclass(frozen=True, slots=True)
class _Stray:
    source: str
    name: str
    message: InboundMessage
    envelope_id: str
    received_at: datetime

    def behind(self, first: Said, number: int) -> Said:
        """A moment behind the beginning, or the turn would read it before that."""
        at = first.arrival.received_at + timedelta(microseconds=number)
        return Said(replace(first.arrival, received_at=at), self.message, self.envelope_id)


def _declined(said: Iterable[Said]) -> Iterator[_Stray]:
    for one in said:
        if one.admission == NOT_ENGAGED:
            yield _Stray(one.arrival.source, _name(one.message), one.message, one.envelope_id, one.arrival.received_at)


def _begins(first: Said) -> bool:
    match = first.match
    begins = _may_begin(first.message) and first.admission == ADMITTED
    return begins and match is not None and match.conversation.is_new


def _may_begin(message: InboundMessage) -> bool:
    """What is said to us directly is admitted by itself; only what others are spared can have gone astray."""
    return message.begins and message.addressed == "mention"


def _may_be_early(message: InboundMessage) -> bool:
    return message.act is Act.SAY and message.addressed != "direct"


def _name(message: InboundMessage) -> str:
    return message.conversation[-1].value


_names = func.unnest(cast(bindparam("names", type_=Words()), postgresql.ARRAY(String))).column_valued("name")
_hold = func.pg_advisory_xact_lock(func.hashtextextended(_names, literal_column("0")))
_HOLD = Prepared(select(_hold.label("held")))
_STRAYS = Prepared(
    select(messages.c.stray_key, messages.c.envelope_id, messages.c.body, messages.c.text, messages.c.received_at)
    .where(messages.c.source == bindparam("source"), among(messages.c.stray_key, "keys"))
    .where(messages.c.received_at > bindparam("since", type_=messages.c.received_at.type))
    .order_by(messages.c.received_at, messages.c.id)
)
