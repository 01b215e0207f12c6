"""The messages of one transaction: what is known of them, and what becomes of the new ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Boolean, bindparam, or_, select, update

from bridge.model import Lease, new_id
from bridge.store import asked
from bridge.store.arrivals import Arrival
from bridge.store.lookup import Conversation, Lookup
from bridge.store.notices import notify
from bridge.store.prepared import Asked, Prepared, among
from bridge.store.said import ADMITTED, Said
from bridge.store.strays import Strays
from bridge.store.tables import conversations, messages, turns
from bridge.store.tails import Tails
from bridge.store.writer import Tx

FOLDING = frozenset({"collect", "steer"})
"""Steering would hand a message to the running task; the contract has no call for that, so it collects."""


@dataclass(frozen=True, slots=True)
class Known:
    """A message that is stored: what a caller may be told of it."""

    message_id: str
    conversation_id: str | None
    turn_id: str | None
    admission: str


class Batch:
    """Places messages: conversation, turn and row for each, every statement once for all of them."""

    def __init__(self, tx: Tx, lookup: Lookup, rows: Sequence[Arrival]) -> None:
        self.tx = tx
        self.lookup = lookup
        self.known: dict[tuple[str, str], Known] = {}
        self.leases: dict[str, Lease] = {}
        self.stops: set[str] = set()
        """Conversations whose running turn has to be stopped."""
        self.touched: dict[tuple[str, str], set[str]] = {}
        self.owing: dict[tuple[str, str], set[str]] = {}
        """Conversations in which something is to be delivered besides what their turns say."""
        said = [(row.source, message) for row in rows for message in row.messages or ()]
        self._asked = self._ask((source, message.message_key) for source, message in said)
        self._strays = Strays(tx, said)

    def place(self, fresh: Iterable[Said]) -> None:
        """Give each message its conversation, its turn where it is admitted, and its row."""
        asked, self._asked = self._asked, []
        self._hear(asked)
        said = self._unknown(fresh)
        for each in said:
            each.match = self.lookup.match(each.arrival.source, each.message)
            each.admission = each.admit()
            if each.admission == ADMITTED and each.match is None:
                each.match = self.lookup.create(each.arrival.source, each.message.conversation, each.agent)
        admitted = [each for each in said if each.admission == ADMITTED]
        opening = self._line_up(admitted)
        upgrades = [each for each in admitted if each.key in self.known]
        self._insert_messages([each for each in said if each.key not in self.known])
        self._upgrade(upgrades)
        self._insert_turns(opening)
        if overtook := self._strays.behind(said):
            self.learn(each.key for each in overtook)
            self.place(overtook)

    def touch(self, arrival: Arrival, conversation: Conversation) -> None:
        """Something was done in this conversation: whoever owns it, or else this node, looks at it again."""
        conversation.changed = True
        self.touched.setdefault((arrival.source, arrival.delivery_key), set()).add(conversation.id)

    def owe(self, arrival: Arrival, conversation: Conversation) -> None:
        """Something is to be delivered in this conversation now, whatever its turn does."""
        self.owing.setdefault((arrival.source, arrival.delivery_key), set()).add(conversation.id)

    def claim(self) -> None:
        """Whoever stores the first waiting message works on it; a conversation with an owner keeps it."""
        changed = self.lookup.changed()
        for conversation in changed:
            if conversation.owner is None:
                conversation.owner, conversation.epoch = self.tx.node, conversation.epoch + 1
            if conversation.owner == self.tx.node:
                self.leases[conversation.id] = Lease(conversation.id, conversation.epoch)
        _BEGIN.run(self.tx.connection, [self._begun(c) for c in changed if c.is_new])
        _CLAIM.run(self.tx.connection, [self._claimed(c) for c in changed if not c.is_new])
        notify(self.tx, {str(c.owner) for c in changed if c.owner != self.tx.node})

    def recall(self, conversation_ids: Iterable[str | None]) -> None:
        """The leases of those of these conversations that are this node's, and have something to do."""
        ids = {one for one in conversation_ids if one is not None and one not in self.leases}
        if ids:
            found = _MINE.rows(self.tx.connection, {"ids": ids, "me": self.tx.node})
            self.leases |= {row.id: Lease(row.id, row.epoch) for row in found}

    def learn(self, keys: Iterable[tuple[str, str]]) -> None:
        """Look up those of these messages that are not known yet."""
        self._hear(self._ask(keys))

    def _ask(self, keys: Iterable[tuple[str, str]]) -> list[tuple[str, Asked]]:
        wanted: dict[str, set[str]] = {}
        for source, key in keys:
            if (source, key) not in self.known:
                wanted.setdefault(source, set()).add(key)
        connection = self.tx.connection
        return [(source, _KNOWN.ask(connection, {"source": source, "keys": of})) for source, of in wanted.items()]

    def _hear(self, asked: Iterable[tuple[str, Asked]]) -> None:
        for source, answer in asked:
            self.known |= {(source, row[0]): Known(*row[1:]) for row in answer.rows()}

    def _begun(self, conversation: Conversation) -> dict[str, Any]:
        return {
            "id": conversation.id,
            "source": conversation.source,
            "key": conversation.key,
            "task_id": conversation.task_id,
            "agent": conversation.agent,
            "seq": conversation.seq,
            "owner": conversation.owner,
            "epoch": conversation.epoch,
            "open": True,
            "muted": conversation.muted,
            "created_at": self.tx.now,
            "last_at": self.tx.now,
        }

    def _claimed(self, conversation: Conversation) -> dict[str, Any]:
        return {
            "at": conversation.id,
            "to_seq": conversation.seq,
            "to_owner": conversation.owner,
            "to_epoch": conversation.epoch,
            "to_last": self.tx.now,
            "to_agent": conversation.agent,
            "foreign": conversation.owner != self.tx.node,
        }

    def _unknown(self, fresh: Iterable[Said]) -> list[Said]:
        """One per message: of two copies the one with the better claim to be admitted, in the order of arrival."""
        chosen: dict[tuple[str, str], Said] = {}
        for each in fresh:
            stored = self.known.get(each.key)
            if stored is not None and (not stored.admission.startswith("declined:") or each.verdict):
                continue
            if each.key not in chosen or each.claim > chosen[each.key].claim:
                chosen[each.key] = each
        return list(chosen.values())

    def _line_up(self, admitted: Sequence[Said]) -> list[Said]:
        """Give each message the turn it joins, or a new one; returns those that open a turn."""
        open_ones = {e.match.conversation.id for e in admitted if e.match and e.match.conversation.open}
        folding = {e.match.conversation.id for e in admitted if e.match and e.arrival.busy in FOLDING}
        tails = Tails(self.tx, folding=folding & open_ones, open_ones=open_ones)
        opening = []
        for each in admitted:
            each.turn_id = self._joined(each, tails) or _folded(each, tails)
            if each.turn_id is None:
                each.turn_id = new_id("trn")
                _stand_behind(each, each.turn_id, tails)
                tails.append(each.conversation_id, each.turn_id, each.arrival.source, each.message)
                opening.append(each)
            elif each.match:
                each.match.conversation.changed = True
        return opening

    def _joined(self, each: Said, tails: Tails) -> str | None:
        """The turn at the head that this message is the answer to, or that starts again with it."""
        head = tails.head(each.conversation_id)
        if head is None or head.is_stopping:
            return None
        # At another source than the question came from, it is for the people there to answer it.
        is_asked = head.author_id == each.message.author.id or head.source != each.arrival.source
        if head.state == "paused" and head.asks and is_asked:
            _stand_behind(each, head.turn_id, tails)
            tails.answered(each.conversation_id, head.turn_id, each.arrival.source, each.message)
            self._answer_question(head.turn_id, each)
            return head.turn_id
        if head.state == "running" and each.arrival.busy == "interrupt":
            self.tx.connection.execute(_RESTART, {"at": head.turn_id, "now": self.tx.now})
            self.stops.add(str(each.conversation_id))
            _stand_behind(each, head.turn_id, tails)
            return head.turn_id
        return None

    def _answer_question(self, turn_id: str, each: Said) -> None:
        values = {"at": turn_id, "received_at": each.arrival.received_at, "key": new_id("idk")}
        self.tx.connection.execute(_ANSWERED_QUESTION, values)
        asked.close(self.tx, [turn_id], asked.ANSWERED)
        if each.match is not None:
            self.owe(each.arrival, each.match.conversation)

    def _insert_messages(self, said: Sequence[Said]) -> None:
        """Where another node stores one of them at this moment, the transaction fails and is tried again."""
        rows = {each.key: each.message_row() for each in said}
        _SAY.run(self.tx.connection, [rows[key] for key in sorted(rows)])
        for key, row in rows.items():
            self.known[key] = Known(row["id"], row["conversation_id"], row["turn_id"], row["admission"])

    def _upgrade(self, said: Sequence[Said]) -> None:
        """A copy that is admitted takes the place of a declined one, under the id that was already given out."""
        for each in said:
            row = each.message_row() | {"id": self.known[each.key].message_id}
            self.tx.connection.execute(update(messages).where(messages.c.id == row["id"]).values(row))
            self.known[each.key] = Known(row["id"], row["conversation_id"], row["turn_id"], ADMITTED)

    def _insert_turns(self, opening: Sequence[Said]) -> None:
        rows = []
        for each in opening:
            assert each.match is not None, "whatever opens a turn was matched"
            conversation: Conversation = each.match.conversation
            conversation.seq += 1
            conversation.open = conversation.changed = True
            conversation.agent = each.agent if each.is_at_home else conversation.agent
            rows.append(each.turn_row(conversation.seq, self.tx.now))
        _OPEN.run(self.tx.connection, rows)


def _folded(each: Said, tails: Tails) -> str | None:
    """The waiting turn that takes this message, too."""
    if each.arrival.busy not in FOLDING:
        return None
    turn_id = tails.fold(each.conversation_id, each.arrival.source, each.message)
    if turn_id is not None:
        _stand_behind(each, turn_id, tails)
    return turn_id


def _stand_behind(each: Said, turn_id: str, tails: Tails) -> None:
    """Behind what is in the turn already, by whatever clock that came."""
    at = tails.behind(turn_id, each.arrival.received_at)
    if at != each.arrival.received_at:
        each.arrival = replace(each.arrival, received_at=at)


_KNOWN = Prepared(
    select(
        messages.c.message_key, messages.c.id, messages.c.conversation_id, messages.c.turn_id, messages.c.admission
    ).where(messages.c.source == bindparam("source"), among(messages.c.message_key, "keys"))
)
_MINE = Prepared(
    select(conversations.c.id, conversations.c.epoch).where(
        among(conversations.c.id, "ids"), conversations.c.owner == bindparam("me")
    )
)
_SAY = Prepared(messages.insert())
_OPEN = Prepared(turns.insert())
_BEGIN = Prepared(conversations.insert())
_CLAIM = Prepared(
    update(conversations)
    .where(conversations.c.id == bindparam("at"))
    .values(
        seq=bindparam("to_seq"),
        owner=bindparam("to_owner"),
        epoch=bindparam("to_epoch"),
        last_at=bindparam("to_last"),
        agent=bindparam("to_agent"),
        # one that another node left us is still to be noticed: what was said here wakes whoever runs turns, no more
        nudged=or_(conversations.c.nudged, bindparam("foreign", type_=Boolean)),
        open=True,
        wake_at=None,
    )
)
_RESTART = update(turns).where(turns.c.id == bindparam("at")).values(stop_at=bindparam("now"), restart=True)
_ANSWERED_QUESTION = (
    update(turns)
    .where(turns.c.id == bindparam("at"))
    .values(
        state="queued",
        idempotency_key=bindparam("key"),
        task_id=None,
        event_cursor=None,
        attempt=0,
        started_at=None,
        not_before=None,
        pause=None,
        paused_at=None,
        asked_at=bindparam("received_at"),  # the message's own time, or the answer would precede it
    )
)
