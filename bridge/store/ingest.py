"""Ingest: arrivals become messages, each with its conversation and its place in line, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update

from bridge.errors import Unprocessable
from bridge.model import InboundMessage, Lease, new_id
from bridge.store import arrivals
from bridge.store.arrivals import Arrival
from bridge.store.bodies import dump_inbound
from bridge.store.lookup import Lookup, Match
from bridge.store.statements import insert_new
from bridge.store.tables import conversations, messages, turns
from bridge.store.tails import Tails
from bridge.store.writer import Tx, Write

ADMITTED = "admitted"


@dataclass(frozen=True, slots=True)
class Known:
    """A message that is stored: what a caller may be told of it."""

    message_id: str
    conversation_id: str | None
    turn_id: str | None
    admission: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an arrival became."""

    messages: tuple[Known, ...]
    wake: tuple[Lease, ...] = ()
    """The conversations this node now has to work on."""
    copy: bool = False
    same_body: bool = True
    """For a copy: whether its body is that of the first."""


def _ingest(tx: Tx, rows: Sequence[Arrival]) -> list[Ingested | Unprocessable]:
    """Store what is new, recognise what is not. Copies, in whatever batch and at whatever node, change nothing."""
    lookup = Lookup(tx, [(row.source, message) for row in rows for message in row.messages or ()])
    refusals = [_refusal(lookup, row) for row in rows]
    usable = [row for row, refusal in zip(rows, refusals, strict=True) if refusal is None]
    fresh = arrivals.claim(tx, usable)
    batch = _Batch(tx, lookup, usable)
    batch.place([_Said(usable[at], message, env) for at, env in fresh.items() for message in usable[at].messages or ()])
    digests = arrivals.first_digests(tx, [row for at, row in enumerate(usable) if at not in fresh])
    stored = iter([batch.answer(row, at in fresh, digests) for at, row in enumerate(usable)])
    return [refusal or next(stored) for refusal in refusals]


INGEST: Write[Arrival, Ingested] = Write(_ingest)  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller


def _refusal(lookup: Lookup, row: Arrival) -> Unprocessable | None:
    for message in row.messages or ():
        if (missing := lookup.missing(row.source, message)) is not None:
            return Unprocessable(f"{missing.matched_by}: nothing of this source is known by that name.")
    return None


@dataclass(slots=True)
class _Said:
    """One message of a fresh arrival on its way into the tables."""

    arrival: Arrival
    message: InboundMessage
    envelope_id: str
    match: Match | None = None
    admission: str = ADMITTED
    turn_id: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.arrival.source, self.message.message_key

    @property
    def verdict(self) -> str | None:
        """What its adapter already decided about it."""
        if self.message.parked:
            return f"parked:{self.message.parked}"
        return f"declined:{self.message.declined}" if self.message.declined else None

    @property
    def claim(self) -> int:
        """How good its claim to be admitted is, compared with another copy of the same message."""
        return 0 if self.verdict else 1 if self.message.addressed == "ambient" else 2

    @property
    def conversation_id(self) -> str | None:
        return self.match.conversation.id if self.match else None

    def admit(self) -> str:
        """What is said to nobody in particular counts only where the agent already takes part."""
        if self.verdict or self.message.addressed != "ambient":
            return self.verdict or ADMITTED
        if self.match is None:
            return "declined:not_engaged"
        return "declined:muted" if self.match.conversation.muted else ADMITTED


class _Batch:
    """The messages of one transaction: what is known of them, and what becomes of the new ones."""

    def __init__(self, tx: Tx, lookup: Lookup, rows: Sequence[Arrival]) -> None:
        self._tx = tx
        self._lookup = lookup
        self._known: dict[tuple[str, str], Known] = {}
        self._leases: dict[str, Lease] = {}
        self._learn(rows)

    def place(self, fresh: Iterable[_Said]) -> None:
        """Give each message its conversation, its turn where it is admitted, and its row; claim what nobody owns."""
        said = self._unknown(fresh)
        for each in said:
            each.match = self._lookup.match(each.arrival.source, each.message)
            each.admission = each.admit()
            if each.admission == ADMITTED and each.match is None:
                each.match = self._lookup.create(each.arrival.source, each.message.conversation[-1])
        self._lookup.insert_created(
            {
                each.match.conversation.id: each.message.agent or each.arrival.agent
                for each in reversed(said)
                if each.match
            },
            self._tx.now,
        )
        admitted = [each for each in said if each.admission == ADMITTED]
        opening = self._line_up(admitted)
        upgrades = [each for each in admitted if each.key in self._known]
        self._insert_messages([each for each in said if each.key not in self._known])
        self._upgrade(upgrades)
        standing = {self._known[each.key].turn_id for each in admitted}
        self._insert_turns([each for each in opening if each.turn_id in standing])
        self._claim()

    def answer(self, row: Arrival, fresh: bool, digests: Mapping[tuple[str, str], str]) -> Ingested:  # noqa: FBT001 - a fact
        """What the sender of this arrival may be told."""
        known = tuple(self._known[row.source, message.message_key] for message in row.messages or ())
        wake = (self._leases.get(k.conversation_id or "") for k in known) if fresh else ()
        same = fresh or digests[row.source, row.delivery_key] == row.digest
        return Ingested(known, tuple({lease for lease in wake if lease}), copy=not fresh, same_body=same)

    def _learn(self, rows: Iterable[Arrival]) -> None:
        table = messages.c
        keys: dict[str, set[str]] = {}
        for row in rows:
            keys.setdefault(row.source, set()).update(message.message_key for message in row.messages or ())
        for source, wanted in keys.items():
            query = select(table.message_key, table.id, table.conversation_id, table.turn_id, table.admission).where(
                table.source == source, table.message_key.in_(wanted)
            )
            self._known |= {(source, row[0]): Known(*row[1:]) for row in self._tx.connection.execute(query)}

    def _unknown(self, fresh: Iterable[_Said]) -> list[_Said]:
        """One per message: of two copies the one with the better claim to be admitted, in the order of arrival."""
        chosen: dict[tuple[str, str], _Said] = {}
        for each in fresh:
            stored = self._known.get(each.key)
            if stored is not None and (stored.admission == ADMITTED or each.verdict):
                continue
            if each.key not in chosen or each.claim > chosen[each.key].claim:
                chosen[each.key] = each
        return list(chosen.values())

    def _line_up(self, admitted: Sequence[_Said]) -> list[_Said]:
        """Give each message the waiting turn it folds into, or a new one; returns those that open a turn."""
        collecting = {each.conversation_id for each in admitted if each.arrival.busy == "collect"}
        tails = Tails(
            self._tx,
            {each.conversation_id for each in admitted if each.match and each.match.conversation.open} & collecting,
        )
        opening = []
        for each in admitted:
            folded = tails.fold(each.conversation_id, each.message) if each.arrival.busy == "collect" else None
            each.turn_id = folded or new_id("trn")
            if folded is None:
                tails.append(each.conversation_id, each.turn_id, each.message)
                opening.append(each)
        return opening

    def _insert_messages(self, said: Sequence[_Said]) -> None:
        rows = {each.key: _message_row(each) for each in said}
        values = [rows[key] for key in sorted(rows)]
        inserted = insert_new(self._tx.connection, messages, values, "source", "message_key")
        for key in inserted:
            row = rows[key.source, key.message_key]
            self._known[key.source, key.message_key] = Known(
                row["id"], row["conversation_id"], row["turn_id"], row["admission"]
            )
        if len(inserted) < len(said):  # another node stored the rest a moment ago
            self._learn(each.arrival for each in said if each.key not in self._known)

    def _upgrade(self, said: Sequence[_Said]) -> None:
        """A copy that is admitted takes the place of a declined one, under the id that was already given out."""
        for each in said:
            row = _message_row(each) | {"id": self._known[each.key].message_id}
            self._tx.connection.execute(update(messages).where(messages.c.id == row["id"]).values(row))
            self._known[each.key] = Known(row["id"], row["conversation_id"], row["turn_id"], ADMITTED)

    def _insert_turns(self, opening: Sequence[_Said]) -> None:
        rows = []
        for each in opening:
            conversation = each.match.conversation  # type: ignore[union-attr]  # whatever opens a turn was matched
            conversation.seq += 1
            conversation.changed = True
            rows.append(_turn_row(each, conversation.seq, self._tx.now))
        if rows:
            self._tx.connection.execute(turns.insert(), rows)

    def _claim(self) -> None:
        """Whoever stores the first waiting message works on it; a conversation with an owner keeps it."""
        changed = self._lookup.changed()
        for conversation in changed:
            if conversation.owner is None:
                conversation.owner, conversation.epoch = self._tx.node, conversation.epoch + 1
            if conversation.owner == self._tx.node:
                self._leases[conversation.id] = Lease(conversation.id, conversation.epoch)
        values = [
            {"at": c.id, "to_seq": c.seq, "to_owner": c.owner, "to_epoch": c.epoch, "to_last": self._tx.now}
            for c in changed
        ]
        if values:
            self._tx.connection.execute(_CLAIM, values)


_CLAIM = (
    update(conversations)
    .where(conversations.c.id == bindparam("at"))
    .values(
        seq=bindparam("to_seq"),
        owner=bindparam("to_owner"),
        epoch=bindparam("to_epoch"),
        last_at=bindparam("to_last"),
        open=True,
        wake_at=None,
    )
)


def _message_row(each: _Said) -> dict[str, Any]:
    message = each.message
    return {
        "id": new_id("msg"),
        "source": each.arrival.source,
        "message_key": message.message_key,
        "conversation_id": each.conversation_id,
        "turn_id": each.turn_id,
        "envelope_id": each.envelope_id,
        "admission": each.admission,
        "matched_by": each.match.matched_by if each.match else None,
        "addressed": message.addressed,
        "author_id": message.author.id,
        "return_address": message.return_address,
        "text": message.text,
        "body": dump_inbound(message),
        "received_at": each.arrival.received_at,
    }


def _turn_row(each: _Said, seq: int, now: datetime) -> dict[str, Any]:
    return {
        "id": each.turn_id,
        "conversation_id": each.conversation_id,
        "seq": seq,
        "state": "queued",
        "agent": each.message.agent or each.arrival.agent,
        "idempotency_key": new_id("idk"),
        "attempt": 0,
        "created_at": now,
    }
