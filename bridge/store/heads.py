"""The head of a conversation: the one turn that may run, with all that was said for it."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, case, exists, func, or_, select, update

from bridge.model import Lease, Said, Turn, TurnState
from bridge.store.bodies import load_inbound
from bridge.store.prepared import Asked, Prepared, Record, among
from bridge.store.settling import settle
from bridge.store.tables import LIVE_DELIVERY_STATES, LIVE_TURN_STATES, conversations, deliveries, messages, turns
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class NotYet:
    """The head of the conversation waits until then."""

    until: datetime


def _look(tx: Tx, rows: Sequence[Lease]) -> tuple[Asked, Asked]:
    ids = {"ids": [row.conversation_id for row in rows]}
    return _HEADS.ask(tx.connection, ids), _MESSAGES.ask(tx.connection, ids)


def _take(tx: Tx, rows: Sequence[Lease], asked: tuple[Asked, Asked]) -> list[Turn | NotYet | None]:
    """The head of each conversation: set running and given out, or why not. Nothing left: let go of it."""
    heads = {head.conversation_id: head for head in asked[0].rows()}
    due = {key: head for key, head in heads.items() if _is_due(head, tx.now)}
    starting = [head for head in due.values() if head.state != "running" or _is_asked_again(head)]
    _START.run(tx.connection, [{"at": head.id, "now": tx.now} for head in starting])
    settle(tx, [row.conversation_id for row in rows if row.conversation_id not in due])
    said = _said(asked[1].rows(), {head.id for head in due.values()})
    return [
        _turn(row, due[row.conversation_id], said) if row.conversation_id in due else _not_yet(heads, row)
        for row in rows
    ]


def _is_due(head: Record, now: datetime) -> bool:
    return head.state == "running" or head.not_before is None or bool(head.not_before <= now)


def _is_asked_again(head: Record) -> bool:
    """Whether an earlier life began a call and did not live to learn of a task: it may have reached the agent."""
    return bool(head.state == "running" and head.task_id is None)


def _not_yet(heads: dict[str, Record], row: Lease) -> NotYet | None:
    head = heads.get(row.conversation_id)
    return None if head is None else NotYet(head.not_before)


def _turn(lease: Lease, head: Record, said: dict[str, list[Said]]) -> Turn:
    return Turn(
        id=head.id,
        lease=lease,
        seq=head.seq,
        source=said[head.id][-1].source if head.id in said else head.source,
        conversation=head.key,
        thread_id=head.thread_id,
        agent=head.agent,
        agent_version=head.agent_version,
        idempotency_key=head.idempotency_key,
        task_id=head.task_id,
        event_cursor=head.event_cursor,
        attempt=head.attempt + (head.state == "queued" or _is_asked_again(head)),
        created_at=head.created_at,
        started_at=head.started_at,
        stopping=head.stop_at is not None,
        pause=head.pause,
        paused_at=head.paused_at,
        notices=head.notices,
        shown=head.shown,
        listened=head.listened,
        said=tuple(said.get(head.id, ())),
    )


def _said(rows: Iterable[Record], turn_ids: Container[str]) -> dict[str, list[Said]]:
    said: dict[str, list[Said]] = {}
    for row in rows:
        if row.turn_id in turn_ids:
            said.setdefault(row.turn_id, []).append(Said(row.id, load_inbound(row.body, row.text), row.source))
    return said


_live = turns.alias("live")
_head_seq = (
    select(func.min(_live.c.seq))
    .where(_live.c.conversation_id == conversations.c.id, _live.c.state.in_(LIVE_TURN_STATES))
    .correlate(conversations)
    .scalar_subquery()
)
_shown = exists().where(
    deliveries.c.turn_id == turns.c.id, deliveries.c.kind == "progress", deliveries.c.state.in_(LIVE_DELIVERY_STATES)
)
_HEADS = Prepared(
    select(
        turns,
        conversations.c.source,
        conversations.c.key,
        conversations.c.task_id.label("thread_id"),
        conversations.c.agent_version,
        _shown.label("shown"),
    )
    .join(conversations, turns.c.conversation_id == conversations.c.id)
    .where(among(conversations.c.id, "ids"), turns.c.seq == _head_seq)
)
_MESSAGES = Prepared(
    select(messages.c.id, messages.c.turn_id, messages.c.source, messages.c.text, messages.c.body)
    .join(turns, turns.c.id == messages.c.turn_id)
    .join(conversations, conversations.c.id == turns.c.conversation_id)
    .where(
        among(conversations.c.id, "ids"),
        turns.c.seq == _head_seq,
        or_(turns.c.asked_at.is_(None), messages.c.received_at >= turns.c.asked_at),
    )
    .order_by(messages.c.received_at, messages.c.id)
)
_is_begun = or_(turns.c.state == "queued", and_(turns.c.state == "running", turns.c.task_id.is_(None)))
_START = Prepared(
    update(turns)
    .where(turns.c.id == bindparam("at"))
    .values(
        state=TurnState.RUNNING.value,
        attempt=turns.c.attempt + case((_is_begun, 1), else_=0),
        not_before=None,
        started_at=func.coalesce(turns.c.started_at, bindparam("now", type_=turns.c.started_at.type)),
    )
)

TAKE: Write[Lease, Turn | NotYet | None] = Write(_take, lease=lambda lease: lease, look=_look)
