"""What an agent waits for when its task is paused, and how a person is told."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bridge.agent.task import Task, TaskEvent

TOLD = frozenset({"auth_event", "ask_user_questions"})
"""Events that say what a pause is about."""

MOST_PEOPLE = 100
APPROVAL = ("approve", "deny")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One wait for a person."""

    kind: Literal["login", "question", "approval"]
    text: str
    url: str | None = None
    choices: tuple[str, ...] = ()

    def dump(self) -> str:
        """As it is kept with the turn."""
        return json.dumps(asdict(self), sort_keys=True)

    def buttons(self, decision_id: str, people: Sequence[str]) -> list[dict[str, object]]:
        """For platforms that have them: a link, or one button for each choice, for these people alone."""
        if self.url:
            return [{"label": "Open", "url": self.url}]
        bound = {"decision_id": decision_id, "users": list(people)[:MOST_PEOPLE]}
        return [{"label": choice.capitalize(), "choice": choice, **bound} for choice in self.choices]

    def sentence(self) -> str:
        """As it is put on a platform that has nothing better."""
        lines = [self.text]
        if self.url:
            lines.append(self.url)
        if self.choices:
            lines.append("Choices: " + ", ".join(self.choices))
        return "\n".join(lines)


def pause_of(task: Task, told: Iterable[TaskEvent]) -> Pause:
    """What a paused task waits for, from the last event that said so, else from its record."""
    for event in reversed([*told]):
        if isinstance(event.data, Mapping) and (found := _READ[event.type](event.data)):
            return found
    if task.record.get("hitl_request"):
        text = task.result or "The agent asks for an approval before it goes on."
        return Pause(kind="approval", text=text, choices=APPROVAL)
    return Pause(kind="question", text=task.result or "The agent waits for your answer.")


def _login(data: Mapping[str, Any]) -> Pause | None:
    inner = data.get("data")
    if data.get("type") != "login_required" or not isinstance(inner, Mapping):
        return None
    name = inner.get("server_name") or "a service"
    url = inner.get("url") or inner.get("server_url")
    return Pause(kind="login", text=f"Please log in to {name}, so that I can go on:", url=str(url) if url else None)


def _question(data: Mapping[str, Any]) -> Pause | None:
    questions = [one for one in data.get("questions") or () if isinstance(one, Mapping)]
    if not questions:
        return None
    text = "\n".join(str(one.get("question") or one.get("text") or "") for one in questions)
    options = questions[0].get("options") or () if len(questions) == 1 else ()
    choices = (one.get("label") or one.get("title") or one.get("id") for one in options if isinstance(one, Mapping))
    return Pause(kind="question", text=text, choices=tuple(str(choice) for choice in choices if choice))


_READ = {"auth_event": _login, "ask_user_questions": _question}
