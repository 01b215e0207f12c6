"""What an agent waits for when its task is paused, and how a person is told."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from bridge import answers
from bridge.agent.task import Task, TaskEvent
from bridge.model import new_id
from bridge.store.halts import Waiting

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
    mark: str | None = None
    """What tells this wait from a later one in the same words, as the agent has it."""

    @classmethod
    def load(cls, dumped: str) -> "Pause":
        """As it was kept."""
        kept = json.loads(dumped)
        return cls(**{**kept, "choices": tuple(kept["choices"])})

    def says(self, other: "Pause") -> bool:
        """Whether people would read the same."""
        return replace(self, mark=None) == replace(other, mark=None)

    def dump(self) -> str:
        """As it is kept with the turn."""
        return json.dumps(asdict(self), sort_keys=True)

    def buttons(self, decision_id: str, people: Sequence[str]) -> list[dict[str, object]]:
        """For platforms that have them: a link, or one button for each choice, for these people alone."""
        if self.url:
            return [{"label": "Open", "url": self.url}]
        bound = {"decision_id": decision_id, "users": list(people)[:MOST_PEOPLE]}
        return [{"label": choice[:1].upper() + choice[1:], "choice": choice, **bound} for choice in self.choices]

    def sentence(self) -> str:
        """As it is put on a platform that has nothing better."""
        lines = [self.text]
        if self.url:
            lines.append(self.url)
        if self.choices:
            lines.append("Choices: " + ", ".join(self.choices))
        return "\n".join(lines)


def with_notice(waiting: Waiting, pause: Pause, *, now: datetime, expires_at: datetime) -> Waiting:
    """With the notice for the people it waits for, and, where they may choose, the decision bound to them.

    Who spoke at one source is nobody at another: where the answers go there, whoever is there may decide.
    """
    waiting, turn = replace(waiting, anew=True), waiting.turn
    people = [] if turn.via else [*dict.fromkeys(said.message.author.id for said in turn.said)]
    decision_id = new_id("dcs")
    told = answers.notice(
        turn, pause.sentence(), status="paused", now=now, part=turn.notices + 1, task_id=waiting.task_id
    )
    buttons = {"buttons": pause.buttons(decision_id, people)}
    notice = tuple(replace(message, metadata={**message.metadata, **buttons}) for message in told)
    if not pause.choices:
        return replace(waiting, notice=notice)
    decision = {
        "id": decision_id,
        "conversation_id": turn.lease.conversation_id,
        "turn_id": turn.id,
        "delivery_id": notice[0].delivery_id if notice else None,
        "kind": pause.kind,
        "choices": json.dumps(pause.choices),
        "people": json.dumps(people),
        "expires_at": expires_at,
    }
    return replace(waiting, notice=notice, decision=decision)


def pause_of(task: Task, told: Iterable[TaskEvent]) -> Pause:
    """What a paused task waits for, from the last event that said so, else from its record."""
    for event in reversed([*told]):
        if isinstance(event.data, Mapping) and (found := _READ[event.type](event.data)):
            return found
    login = task.record.get("pending_eca_request")
    if isinstance(login, Mapping) and login.get("auth_url"):  # only a stream tells it as an event
        return _please_log_in(login.get("connector_name"), login["auth_url"])
    if task.record.get("hitl_request"):
        text = task.result or "The agent asks for an approval before it goes on."
        mark = json.dumps([task.record.get("paused_at"), task.record["hitl_request"]], sort_keys=True)
        return Pause(kind="approval", text=text, choices=APPROVAL, mark=mark)
    return Pause(kind="question", text=task.result or "The agent waits for your answer.")


def _login(data: Mapping[str, Any]) -> Pause | None:
    inner = data.get("data")
    if data.get("type") != "login_required" or not isinstance(inner, Mapping):
        return None
    return _please_log_in(inner.get("server_name"), inner.get("url") or inner.get("server_url"))


def _please_log_in(name: object, url: object) -> Pause:
    text = f"Please log in to {name or 'a service'}, so that I can go on:"
    return Pause(kind="login", text=text, url=str(url) if url else None)


def _question(data: Mapping[str, Any]) -> Pause | None:
    questions = _mappings(data.get("questions"))
    if not questions:
        return None
    text = "\n".join(str(one.get("question") or one.get("text") or "") for one in questions)
    options = _mappings(questions[0].get("options")) if len(questions) == 1 else []
    choices = (one.get("label") or one.get("title") or one.get("id") for one in options)
    return Pause(kind="question", text=text, choices=tuple(str(choice) for choice in choices if choice))


def _mappings(given: object) -> list[Mapping[str, Any]]:
    return [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []


_READ = {"auth_event": _login, "ask_user_questions": _question}
