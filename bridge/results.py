"""What became of a message, in the words a caller gets who waits for it, reads its stream or asks later."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from bridge import answers
from bridge.model import DeliveryKind, FileRef, OutboundMessage
from bridge.pauses import Pause
from bridge.store.outcomes import Outcome
from bridge.store.reader import MessageView

RESULTLESS: Final = frozenset({"declined", "parked"})
"""Nothing will ever come of these; there is nothing to wait for."""
_GOES_ON: Final = frozenset({"queued", "running"})


def is_over(outcome: Outcome) -> bool:
    """Whether nothing more will happen to the message."""
    return outcome.state not in _GOES_ON and outcome.state != "paused"


def is_answerable(outcome: Outcome) -> bool:
    """Whether a caller who waits can be told something: a result, why there is none, or what the agent waits for."""
    return outcome.state not in _GOES_ON and outcome.state not in RESULTLESS


def result_of(outcome: Outcome) -> OutboundMessage:
    """The answer as one message, the same words as any other way out would carry."""
    kind, status, text = _said(outcome)
    return OutboundMessage(
        delivery_id=outcome.turn_id or outcome.message_id,
        kind=kind,
        return_address="",
        text=text,
        conversation_id=outcome.conversation_id or "",
        conversation=outcome.conversation or "",
        message_ids=outcome.message_ids,
        turn_id=outcome.turn_id or "",
        task_id=outcome.task_id,
        status=status,
        files=outcome.files if kind == "answer" else (),
        metadata=_metadata(outcome),
        created_at=outcome.created_at,
    )


def content_of(outcome: Outcome, link: Callable[[FileRef], str]) -> dict[str, Any]:
    """The result as JSON, its fields those of a callback."""
    message = result_of(outcome)
    content: dict[str, Any] = {
        "message_id": outcome.message_id,
        "conversation_id": message.conversation_id or None,
        "conversation": message.conversation or None,
        "task_id": message.task_id,
        "status": message.status,
        "result": message.text,
        "files": [
            {"url": link(ref), "name": ref.name, "media_type": ref.media_type, "size": ref.size}
            for ref in message.files
        ],
        "metadata": dict(message.metadata),
    }
    if outcome.reason is not None:  # nothing will come of it, and its sender can mend that
        content["reason"] = outcome.reason
    if len(outcome.message_ids) > 1:  # several messages were answered at once
        content["message_ids"] = list(outcome.message_ids)
    return content


def with_question(view: MessageView, now: Outcome | None) -> MessageView:
    """A message as it is looked at: while it waits for a person, with what it waits for in place of a result."""
    if now is None or now.state != "paused":
        return view
    told = result_of(now)
    return replace(view, result=told.text, metadata=told.metadata)


def _metadata(outcome: Outcome) -> Mapping[str, Any]:
    """With the buttons of a callback: whoever asks instead of being called decides by them, too."""
    if outcome.state != "paused" or outcome.pause is None:
        return outcome.metadata
    pause = Pause(**outcome.pause)
    is_open = pause.url or outcome.decision_id
    return {
        **outcome.metadata,
        "buttons": pause.buttons(outcome.decision_id or "", outcome.deciders) if is_open else [],
    }


def _said(outcome: Outcome) -> tuple[DeliveryKind, str, str]:
    if outcome.state == "answered":
        return "answer", outcome.status or "completed", outcome.result or ""
    if outcome.state == "paused":
        return "notice", "paused", Pause(**outcome.pause).sentence() if outcome.pause else ""
    if outcome.state == "cancelled":
        return "notice", "stopped", answers.STOPPED
    if outcome.state in RESULTLESS:
        return "notice", outcome.state, ""
    sentence = answers.FAILED if outcome.status else answers.UNAVAILABLE
    return "error", outcome.status or "failed", sentence.format(turn_id=outcome.turn_id)
