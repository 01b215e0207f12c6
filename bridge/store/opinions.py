"""Decisions and feedback: bound to people, and each decision made once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from bridge.model import Candidate, InboundMessage
from bridge.store import asked
from bridge.store.batch import Batch
from bridge.store.blanks import BLANK_DELIVERY
from bridge.store.lookup import Conversation
from bridge.store.said import Said
from bridge.store.statements import AnyRow
from bridge.store.tables import decisions, deliveries, feedback, turns
from bridge.store.writer import Tx, Write

VALUES = {"1": 1, "-1": -1, "0": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person has decided, and the agent was not told yet."""

    id: str
    choice: str
    decided_by: str


def decide(batch: Batch, conversation: Conversation, said: Said) -> list[Said]:
    """The first of the people it is bound to decides; everything after that changes nothing.

    A question's choice is the person's answer. An approval lets the turn go on, which tells the agent.
    """
    message, tx = said.message, batch.tx
    row = asked.asked(tx, str(message.metadata.get("decision_id")), conversation.id)
    choice, who = str(message.metadata.get("choice")), message.author.id
    if row is None or choice not in json.loads(row.choices) or (row.choice, row.decided_by) == (choice, who):
        return []
    batch.owe(said.arrival, conversation)
    if (refusal := _refusal(row, message, tx.now)) is not None:
        asked.whisper(tx, row, message, refusal)
        return []
    tx.connection.execute(_DECIDE, {"at": row.id, "chosen": choice, "who": who, "now": tx.now})
    asked.conclude(tx, row, asked.DECIDED.format(choice=choice.capitalize(), who=message.author.name or who))
    if row.kind == "approval":
        tx.connection.execute(_GO_ON, {"turn": row.turn_id, "now": tx.now})
        return []
    here = (Candidate(value=conversation.id, kind="conversation_id", matched_by="decision"),)
    answer = replace(asked.spoken(row, message, choice), message_key=f"decision:{row.id}", conversation=here)
    return [replace(said, message=answer, act="decide")]


def _refusal(row: AnyRow, message: InboundMessage, now: datetime) -> str | None:
    """Why a press changes nothing. The conversation is locked, so of two at a time the second sees the first."""
    people = json.loads(row.people)  # none: whoever is there, see `reply_via`
    if message.declined or (people and message.author.id not in people):
        return asked.NOT_YOURS
    if row.choice is not None:
        return asked.DECIDED_BEFORE
    return None if row.open and row.expires_at > now else asked.OVER


def about(tx: Tx, source: str, message: InboundMessage) -> str | None:
    """The conversation of the question, or the answer, that is named here and was sent to this source."""
    named = {name: str(message.metadata.get(name, "")) for name in ("decision_id", "delivery_id")}
    return tx.connection.execute(_ABOUT, {"source": source, **named}).scalars().first()


def rate(batch: Batch, conversation: Conversation, said: Said) -> None:
    """A person's opinion of an answer; said again, the newer one counts."""
    message, connection = said.message, batch.tx.connection
    value = VALUES.get(str(message.metadata.get("value")))
    delivery_id = _rated(batch, conversation, said)
    if value is None or delivery_id is None:
        return
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(feedback)
    row = {"delivery_id": delivery_id, "author_id": message.author.id, "conversation_id": conversation.id}
    connection.execute(
        insert.values(**row, value=value, given_at=batch.tx.now).on_conflict_do_update(
            index_elements=["delivery_id", "author_id"],
            set_={"value": value, "given_at": batch.tx.now, "told_at": None},
        )
    )


def _rated(batch: Batch, conversation: Conversation, said: Said) -> str | None:
    """The delivery that is meant, if it is one of this conversation."""
    named = said.message.metadata
    query = (
        select(deliveries.c.id)
        .join(turns, turns.c.id == deliveries.c.turn_id)
        .where(turns.c.conversation_id == conversation.id)
        .where(
            deliveries.c.id == str(named["delivery_id"])
            if "delivery_id" in named
            else deliveries.c.remote_id == str(named.get("remote_id"))
        )
    )
    return batch.tx.connection.execute(query).scalars().first()


def undelivered(connection: Connection, turn_id: str) -> Decision | None:
    """The decision of a turn that the agent has yet to be told."""
    row = connection.execute(select(decisions).where(decisions.c.turn_id == turn_id, *asked.UNTOLD)).first()
    return None if row is None else Decision(id=row.id, choice=row.choice, decided_by=row.decided_by)


def is_told(connection: Connection, turn_id: str) -> bool:
    """Whether the agent knows what was decided last for this turn."""
    query = select(decisions.c.told_at).where(decisions.c.turn_id == turn_id).order_by(decisions.c.id.desc()).limit(1)
    return connection.execute(query).scalar() is not None


@dataclass(frozen=True, slots=True)
class Told:
    """The agent was told of a decision."""

    decision_id: str
    at: datetime


def _tell(tx: Tx, rows: Sequence[Told]) -> list[None]:
    tx.connection.execute(_TOLD, [{"at": row.decision_id, "when": row.at} for row in rows])
    return [None] * len(rows)


_ABOUT = select(deliveries.c.conversation_id).where(
    deliveries.c.source == bindparam("source"),
    deliveries.c.body != BLANK_DELIVERY,  # nothing leads to what was erased
    deliveries.c.id.in_(
        union_all(
            select(bindparam("delivery_id")),
            select(decisions.c.delivery_id).where(decisions.c.id == bindparam("decision_id")),
        )
    ),
)
_DECIDE = (
    update(decisions)
    .where(decisions.c.id == bindparam("at"), decisions.c.choice.is_(None))
    .values(choice=bindparam("chosen"), decided_by=bindparam("who"), decided_at=bindparam("now"))
)
_GO_ON = (
    update(turns)
    # also while it is looked at, or put off because the agent was away
    .where(turns.c.id == bindparam("turn"), turns.c.pause.is_not(None), turns.c.finished_at.is_(None))
    .values(not_before=None, paused_at=bindparam("now"))  # in time, even at the last moment: its wait begins anew
)
_TOLD = update(decisions).where(decisions.c.id == bindparam("at")).values(told_at=bindparam("when"))

TOLD: Write[Told, None] = Write(_tell)
