"""The two ends of a conversation's line: the turn at its head, and the waiting one at its end."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from bridge.model import InboundMessage
from bridge.store.bodies import load_inbound
from bridge.store.prepared import Prepared, among
from bridge.store.tables import constants, messages, turns
from bridge.store.writer import Tx

_A_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Head:
    """The turn whose turn it is."""

    turn_id: str
    state: str
    asks: bool
    """It waits for the person's answer to a question."""
    author_id: str
    source: str
    is_stopping: bool
    """A person wants no more of it: what is said now is something else."""


class Tails:
    """Looks at the lines of a batch's conversations as they are before it."""

    def __init__(self, tx: Tx, *, folding: Collection[str], open_ones: Collection[str]) -> None:
        self._tails: dict[str | None, tuple[str, str, InboundMessage]] = {}
        self._heads: dict[str | None, Head] = {}
        self._newest: dict[str, datetime] = {}
        if folding:
            for row in _LAST.rows(tx.connection, {"ids": folding}):
                self._note(row.id, row.received_at)
                self._tails[row.conversation_id] = (row.id, row.source, load_inbound(row.body, row.text))
        if open_ones:
            for head in _HEADS.rows(tx.connection, {"ids": open_ones}):
                self._note(head.id, head.received_at)
                asks = head.state == "paused" and json.loads(head.pause)["kind"] == "question"
                is_stopping = head.stop_at is not None and not head.restart
                self._heads.setdefault(
                    head.conversation_id, Head(head.id, head.state, asks, head.author_id, head.source, is_stopping)
                )

    def head(self, conversation_id: str | None) -> Head | None:
        """The running or paused turn of an open conversation, or None."""
        return self._heads.get(conversation_id)

    def fold(self, conversation_id: str | None, source: str, message: InboundMessage) -> str | None:
        """The waiting turn that takes this message, too: same author, return address and options; else None."""
        if conversation_id not in self._tails:
            return None
        turn_id, other_source, other = self._tails[conversation_id]
        return turn_id if source == other_source and _belong_together(other, message) else None

    def append(self, conversation_id: str | None, turn_id: str, source: str, message: InboundMessage) -> None:
        """This turn is now the last of its conversation."""
        self._tails[conversation_id] = (turn_id, source, message)

    def answered(self, conversation_id: str | None, turn_id: str, source: str, message: InboundMessage) -> None:
        """The turn at the head is asked no more: it waits to begin again, with this answer and what is added to it."""
        del self._heads[conversation_id]
        if conversation_id not in self._tails:
            self.append(conversation_id, turn_id, source, message)

    def behind(self, turn_id: str, at: datetime) -> datetime:
        """When something was said that joins this turn now: `at`, but behind all that stands in it already.

        By that time the messages of a turn are read in their order, and nodes' clocks differ.
        """
        newest = self._newest.get(turn_id)
        at = at if newest is None or newest < at else newest + _A_MOMENT
        self._newest[turn_id] = at
        return at

    def _note(self, turn_id: str, at: datetime) -> None:
        self._newest[turn_id] = max(at, self._newest.get(turn_id, at))


def _belong_together(one: InboundMessage, other: InboundMessage) -> bool:
    return (one.author.id, one.return_address, one.options, one.agent) == (
        other.author.id,
        other.return_address,
        other.options,
        other.agent,
    )


_last = (
    select(turns.c.conversation_id, func.max(turns.c.seq).label("seq"))
    .where(among(turns.c.conversation_id, "ids"))
    .group_by(turns.c.conversation_id)
    .subquery()
)
_LAST = Prepared(
    select(
        turns.c.conversation_id, turns.c.id, messages.c.source, messages.c.body, messages.c.text, messages.c.received_at
    )
    .join(_last, (turns.c.conversation_id == _last.c.conversation_id) & (turns.c.seq == _last.c.seq))
    .join(messages, messages.c.turn_id == turns.c.id)
    # one that has a task is only gone on with: whatever joined it then would be asked of nobody
    .where(turns.c.state == "queued", turns.c.attempt == 0, turns.c.task_id.is_(None), turns.c.stop_at.is_(None))
)
_HEADS = Prepared(
    select(
        turns.c.conversation_id,
        turns.c.id,
        turns.c.state,
        turns.c.pause,
        turns.c.stop_at,
        turns.c.restart,
        messages.c.author_id,
        messages.c.source,
        messages.c.received_at,
    )
    .join(messages, messages.c.turn_id == turns.c.id)
    .where(among(turns.c.conversation_id, "ids"), turns.c.state.in_(constants("running", "paused")))
    .order_by(messages.c.received_at, messages.c.id)
)
