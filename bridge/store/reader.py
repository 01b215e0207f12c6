"""Looks at the rows for people and programs: conversations, messages and deliveries as they are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from bridge.model import FileRef
from bridge.store.bodies import load_files, load_inbound
from bridge.store.ledger import VERDICTS, in_verdict, unsettled
from bridge.store.tables import conversations, deliveries, messages, turns

PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """A delivery, without its body."""

    delivery_id: str
    message_ids: tuple[str, ...]
    conversation_id: str
    turn_id: str
    source: str
    kind: str
    part: int
    state: str
    attempt: int
    remote_id: str | None
    error: str | None
    not_before: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """A message with its whole journey: message -> turn -> task -> deliveries."""

    message_id: str
    source: str
    conversation_id: str | None
    conversation: str | None
    state: str
    """The turn's state, or `declined` or `parked`."""
    counted: str
    """What the ledger counts it as: an answered turn whose answer died on its way is `dead`."""
    reason: str | None
    author: str
    text: str
    metadata: Any
    turn_id: str | None
    task_id: str | None
    status: str | None
    """The agent's status, verbatim."""
    result: str | None
    files: tuple[FileRef, ...]
    """What came with the result."""
    error: str | None
    attempt: int | None
    received_at: datetime
    started_at: datetime | None
    tasked_at: datetime | None
    finished_at: datetime | None
    deliveries: tuple[DeliveryView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationView:
    """A conversation: the durable map from its key to the agent's task id."""

    conversation_id: str
    source: str
    key: str
    task_id: str | None
    agent: str | None
    turns: int
    open: bool
    owner: str | None
    muted: bool
    created_at: datetime
    last_at: datetime


def conversation_list(
    connection: Connection, *, source: str | None = None, key: str | None = None, limit: int = PAGE
) -> Sequence[ConversationView]:
    """The conversations used last, newest first."""
    query = select(conversations).order_by(conversations.c.last_at.desc(), conversations.c.id.desc()).limit(limit)
    if source is not None:
        query = query.where(conversations.c.source == source)
    if key is not None:
        query = query.where(conversations.c.key == key)
    return [_conversation(row) for row in connection.execute(query)]


def conversation(connection: Connection, conversation_id: str) -> ConversationView | None:
    """One conversation, or None."""
    row = connection.execute(select(conversations).where(conversations.c.id == conversation_id)).one_or_none()
    return None if row is None else _conversation(row)


def message_list(
    connection: Connection,
    *,
    source: str | None = None,
    conversation_id: str | None = None,
    state: str | None = None,
    since: datetime | None = None,
    limit: int = PAGE,
) -> Sequence[MessageView]:
    """The newest messages, newest first, without their deliveries.

    `state` is that of the ledger (`answered`, `dead`, …: what of a message counts is also what became of
    its answer), or `queued`, `running`, `paused` of the turn.
    """
    query = _MESSAGES.order_by(messages.c.received_at.desc(), messages.c.id.desc()).limit(limit)
    if source is not None:
        query = query.where(messages.c.source == source)
    if conversation_id is not None:
        query = query.where(messages.c.conversation_id == conversation_id)
    if since is not None:
        query = query.where(messages.c.received_at >= since)
    if state is not None:
        query = query.where(in_verdict(state) if state in VERDICTS else turns.c.state == state)
    rows = connection.execute(query).all()
    owed = unsettled(connection, [row.turn_id for row in rows if row.state == "answered"])
    return [_message(row, owed.get(row.turn_id)) for row in rows]


def message(connection: Connection, message_id: str) -> MessageView | None:
    """One message with its deliveries, or None."""
    row = connection.execute(_MESSAGES.where(messages.c.id == message_id)).one_or_none()
    if row is None:
        return None
    if not row.turn_id:
        return _message(row, None)
    owed = unsettled(connection, [row.turn_id] if row.state == "answered" else [])
    return _message(row, owed.get(row.turn_id), tuple(delivery_list(connection, turn_id=row.turn_id)))


def delivery_list(
    connection: Connection,
    *,
    turn_id: str | None = None,
    state: str | None = None,
    source: str | None = None,
    since: datetime | None = None,
    limit: int = PAGE,
) -> Sequence[DeliveryView]:
    """Deliveries: those of a turn in their order, else the newest first."""
    query: Select[Any] = select(deliveries).limit(limit)
    if turn_id is not None:
        query = query.where(deliveries.c.turn_id == turn_id).order_by(deliveries.c.created_at, deliveries.c.part)
    else:
        query = query.order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
    if state is not None:
        query = query.where(deliveries.c.state == state)
    if source is not None:
        query = query.where(deliveries.c.source == source)
    if since is not None:
        query = query.where(deliveries.c.created_at >= since)
    rows = connection.execute(query).all()
    said = _message_ids(connection, [row.turn_id for row in rows])
    return [_delivery(row, said.get(row.turn_id, ())) for row in rows]


_MESSAGES = (
    select(
        messages,
        conversations.c.key,
        turns.c.state,
        turns.c.task_id,
        turns.c.status,
        turns.c.result,
        turns.c.files,
        turns.c.error,
        turns.c.attempt,
        turns.c.started_at,
        turns.c.tasked_at,
        turns.c.finished_at,
    )
    .select_from(messages)
    .outerjoin(conversations, conversations.c.id == messages.c.conversation_id)
    .outerjoin(turns, turns.c.id == messages.c.turn_id)
)


def _message_ids(connection: Connection, turn_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    query = select(messages.c.turn_id, messages.c.id).where(messages.c.turn_id.in_(turn_ids)).order_by(messages.c.id)
    said: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(query):
        said[row.turn_id] = (*said.get(row.turn_id, ()), row.id)
    return said


def _conversation(row: Row[Any]) -> ConversationView:
    return ConversationView(
        conversation_id=row.id,
        source=row.source,
        key=row.key,
        task_id=row.task_id,
        agent=row.agent,
        turns=row.seq,
        open=row.open,
        owner=row.owner,
        muted=row.muted,
        created_at=row.created_at,
        last_at=row.last_at,
    )


def _message(row: Row[Any], owed: str | None, sent: tuple[DeliveryView, ...] = ()) -> MessageView:
    said = load_inbound(row.body, row.text)
    verdict, _, reason = row.admission.partition(":")
    state = row.state or verdict
    return MessageView(
        message_id=row.id,
        source=row.source,
        conversation_id=row.conversation_id,
        conversation=row.key,
        state=state,
        counted=owed or (state if state in VERDICTS else "in_flight"),
        reason=reason or None,
        author=row.author_id,
        text=row.text,
        metadata=said.metadata,
        turn_id=row.turn_id,
        task_id=row.task_id,
        status=row.status,
        result=row.result,
        files=load_files(row.files),
        error=row.error,
        attempt=row.attempt,
        received_at=row.received_at,
        started_at=row.started_at,
        tasked_at=row.tasked_at,
        finished_at=row.finished_at,
        deliveries=sent,
    )


def _delivery(row: Row[Any], message_ids: tuple[str, ...]) -> DeliveryView:
    return DeliveryView(
        delivery_id=row.id,
        message_ids=message_ids,
        conversation_id=row.conversation_id,
        turn_id=row.turn_id,
        source=row.source,
        kind=row.kind,
        part=row.part,
        state=row.state,
        attempt=row.attempt,
        remote_id=row.remote_id,
        error=row.error,
        not_before=row.not_before,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
