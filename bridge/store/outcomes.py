"""What a caller may be told of a message: how far its turn is, and what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from bridge.model import FileRef
from bridge.store.bodies import load_files, load_inbound
from bridge.store.events import Event, after, last_seq
from bridge.store.statements import AnyRow
from bridge.store.tables import conversations, decisions, messages, turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A message and the turn that holds it, which other messages may share."""

    message_id: str
    source: str
    conversation_id: str | None
    conversation: str | None
    message_ids: tuple[str, ...]
    """All messages of the turn, oldest first."""
    turn_id: str | None
    task_id: str | None
    state: str
    """The turn's state; without a turn, what was decided about the message."""
    reason: str | None
    """Why it was decided so, where there is no turn."""
    status: str | None
    result: str | None
    files: tuple[FileRef, ...]
    pause: Mapping[str, Any] | None
    decision_id: str | None
    """What is still to be decided, where the turn waits for that."""
    deciders: tuple[str, ...]
    """Who may decide it."""
    metadata: Mapping[str, Any]
    created_at: datetime


def outcome(connection: Connection, message_id: str) -> Outcome | None:
    """One message, or None."""
    row = connection.execute(_OUTCOME.where(messages.c.id == message_id)).one_or_none()
    return None if row is None else _outcome(connection, row)


def outcomes_of(connection: Connection, envelope_id: str, received_at: datetime) -> Sequence[Outcome]:
    """What was said in one arrival that is read after its acknowledgement; nothing until then."""
    rows = connection.execute(
        _OUTCOME.where(
            # This is what has an index. A message stands behind what is in its turn already, by whatever clock.
            messages.c.received_at >= received_at,
            messages.c.envelope_id == envelope_id,
            messages.c.act == "say",
        )
    )
    return [_outcome(connection, row) for row in rows.all()]


@dataclass(frozen=True, slots=True)
class Page:
    """What a reader of a message's events gets at once."""

    outcome: Outcome
    events: Sequence[Event]
    last_seq: int
    """Of the newest event there is now."""


def page(connection: Connection, message_id: str, seq: int) -> Page | None:
    """The events behind `seq`. The turn is looked at first: where it is over, no event of it is missing here."""
    found = outcome(connection, message_id)
    if found is None:
        return None
    if found.turn_id is None:
        return Page(found, (), 0)
    return Page(found, after(connection, found.turn_id, seq), last_seq(connection, found.turn_id))


_OUTCOME = (
    select(
        messages.c.id,
        messages.c.source,
        messages.c.conversation_id,
        messages.c.turn_id,
        messages.c.admission,
        messages.c.body,
        messages.c.received_at,
        conversations.c.key,
        turns.c.task_id,
        turns.c.state,
        turns.c.status,
        turns.c.result,
        turns.c.files,
        turns.c.pause,
    )
    .select_from(messages)
    .outerjoin(conversations, conversations.c.id == messages.c.conversation_id)
    .outerjoin(turns, turns.c.id == messages.c.turn_id)
)


def _ids(connection: Connection, row: AnyRow) -> tuple[str, ...]:
    if row.turn_id is None:
        return (row.id,)
    query = (
        select(messages.c.id).where(messages.c.turn_id == row.turn_id).order_by(messages.c.received_at, messages.c.id)
    )
    return tuple(connection.execute(query).scalars())


_DECISION = (
    select(decisions.c.id, decisions.c.people)
    .where(decisions.c.open, decisions.c.choice.is_(None))
    .order_by(decisions.c.id.desc())
    .limit(1)
)


def _outcome(connection: Connection, row: AnyRow) -> Outcome:
    is_paused = row.state == "paused"
    asked = connection.execute(_DECISION.where(decisions.c.turn_id == row.turn_id)).first() if is_paused else None
    return Outcome(
        message_id=row.id,
        source=row.source,
        conversation_id=row.conversation_id,
        conversation=row.key,
        message_ids=_ids(connection, row),
        turn_id=row.turn_id,
        task_id=row.task_id,
        state=row.state or row.admission.partition(":")[0],
        reason=None if row.state else row.admission.partition(":")[2] or None,
        status=row.status,
        result=row.result,
        files=load_files(row.files),
        pause=json.loads(row.pause) if row.pause else None,
        decision_id=asked.id if asked else None,
        deciders=tuple(json.loads(asked.people)) if asked else (),
        metadata=load_inbound(row.body, "").metadata,
        created_at=row.received_at,
    )
