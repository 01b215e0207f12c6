"""What a turn has to say: the agent's result, or a short sentence about why there is none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bridge.markdown import split
from bridge.model import DeliveryKind, FileRef, OutboundMessage, Turn, new_id

FAILED = "Sorry, the agent could not finish this. Please try again. (Reference: {turn_id})"
UNAVAILABLE = "Sorry, the agent could not be reached in time. Please try again later. (Reference: {turn_id})"
REFUSED = "Sorry, the agent did not accept this request. An operator has to look at it. (Reference: {turn_id})"
AWAY = "The agent cannot be reached right now. Your message is kept and will be answered as soon as it is back."
STOPPED = "Stopped."

LAST = 1_000_000
"""The part of a notice that ends a turn: there is one."""


def answer(
    turn: Turn,
    text: str,
    *,
    files: tuple[FileRef, ...] = (),
    task_id: str,
    status: str,
    limit: int,
    now: datetime,
) -> tuple[OutboundMessage, ...]:
    """The agent's result in as many parts as the platform needs, the last with its files; none where none is owed."""
    parts = split(text, limit) or ("",)
    out = _compose(turn, "answer", parts, task_id=task_id, status=status, now=now)
    return (*out[:-1], replace(out[-1], files=files)) if out and files else out


def apology(
    turn: Turn, sentence: str, *, status: str, now: datetime, task_id: str | None = None, kind: DeliveryKind = "error"
) -> tuple[OutboundMessage, ...]:
    """A sentence for the person instead of an answer: never the agent's raw error, always a reference to find it by."""
    told = _compose(turn, kind, [sentence.format(turn_id=turn.id)], task_id=task_id, status=status, now=now)
    # After whatever notices there were: a turn's notices differ by their part.
    return tuple(replace(message, part=LAST) for message in told) if kind == "notice" else told


def notice(
    turn: Turn, sentence: str, *, status: str, now: datetime, part: int, task_id: str | None = None
) -> tuple[OutboundMessage, ...]:
    """Something to know while the turn goes on; `part` tells a turn's notices apart."""
    told = _compose(turn, "notice", [sentence], task_id=task_id, status=status, now=now)
    return tuple(replace(message, part=part) for message in told)


def _compose(
    turn: Turn, kind: DeliveryKind, parts: Sequence[str], *, task_id: str | None, status: str, now: datetime
) -> tuple[OutboundMessage, ...]:
    last = turn.said[-1].message
    if not last.return_address:
        return ()
    return tuple(
        OutboundMessage(
            delivery_id=new_id("dlv"),
            kind=kind,
            return_address=last.return_address,
            text=text,
            part=part,
            parts=len(parts),
            conversation_id=turn.lease.conversation_id,
            conversation=turn.conversation,
            message_ids=tuple(said.id for said in turn.said),
            turn_id=turn.id,
            task_id=task_id or turn.task_id,
            status=status,
            metadata=last.metadata,
            created_at=now,
        )
        for part, text in enumerate(parts)
    )
