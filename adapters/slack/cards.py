"""Tool calls and plans of a running task as Slack's task cards."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from adapters.slack.writing import escaped

State = Literal["pending", "in_progress", "complete", "error"]

_TITLE = 150
_CARDS = 40
"""A message holds 50 blocks."""
_PLAN_STATES: Mapping[str, State] = {
    "pending": "pending",
    "todo": "pending",
    "in_progress": "in_progress",
    "executing": "in_progress",
    "running": "in_progress",
    "completed": "complete",
    "complete": "complete",
    "done": "complete",
    "failed": "error",
    "error": "error",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One step, as Slack shows it."""

    id: str
    title: str
    state: State

    def chunk(self) -> dict[str, Any]:
        """For a stream."""
        return {"type": "task_update", "id": self.id, "title": self.title, "status": self.state}

    def block(self) -> dict[str, Any]:
        """For a message."""
        return {"type": "task_card", "task_id": self.id, "title": self.title, "status": self.state}


class Cards:
    """All steps of a turn. Steps beyond the 40th fold into one."""

    def __init__(self) -> None:
        self.all: dict[str, Card] = {}

    def take(self, kind: str, data: Any) -> list[Card]:
        """The cards that a task event changes; none for an event that is no step."""
        if not isinstance(data, Mapping):
            return []
        changed = [self._fold(card) for card in self._read(kind, data)]
        for card in changed:
            self.all[card.id] = card
        return changed

    def finished(self) -> list[Card]:
        """Close what is open: Slack paints open cards of a stopped stream as errors."""
        left = [
            replace(card, state="complete") for card in self.all.values() if card.state in {"pending", "in_progress"}
        ]
        self.all.update((card.id, card) for card in left)
        return left

    def _fold(self, card: Card) -> Card:
        if card.id in self.all or len(self.all) < _CARDS:
            return card
        return Card("more", "More steps", card.state)

    def _read(self, kind: str, data: Mapping[str, Any]) -> Iterator[Card]:
        if kind in {"tool_call_request", "tool_call_result"}:
            state: State = (
                "in_progress" if kind == "tool_call_request" else "error" if data.get("is_error") else "complete"
            )
            identity = str(data.get("tool_call_id") or data.get("request_id") or data.get("tool_name") or "tool")
            known = self.all.get(identity)
            yield Card(identity, known.title if known else _title(data), state)
        elif kind == "plan_updated":
            steps = data.get("tasks") or data.get("steps") or ()
            for number, step in enumerate(steps if isinstance(steps, list) else ()):
                if isinstance(step, Mapping):
                    done = "completed" if step.get("completed") else str(step.get("status") or "pending")
                    identity = str(step.get("id") or f"step-{number}")
                    yield Card(identity, _title(step), _PLAN_STATES.get(done, "pending"))


def _title(data: Mapping[str, Any]) -> str:
    reasoning = data.get("reasoning")
    title = reasoning.get("title") if isinstance(reasoning, Mapping) else None
    named = title or data.get("title") or data.get("name") or data.get("tool_name") or "Working"
    return escaped(str(named)[:_TITLE])
