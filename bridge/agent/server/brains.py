"""What a brain is given and what it may answer: the words between the embedded agent and whatever thinks for it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from bridge.clock import Clock
from bridge.errors import BridgeError


class BrainFault(BridgeError):
    """A brain cannot answer: the task ends as `error` with this text. For failures a caller may read about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message of the thread."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of the request, as far as it could be read."""

    url: str
    name: str
    media_type: str = "application/octet-stream"
    text: str | None = None
    """What the file says; None where it has no text, or was not to be read."""
    image: bytes | None = field(default=None, repr=False)
    note: str | None = None
    """Why there is neither text nor image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decided about a turn that paused for an approval."""

    choice: Literal["approve", "deny"]
    decided_by: str
    """As whoever brought the decision names the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One turn to answer."""

    task_id: str
    agent_id: str
    text: str
    thread: tuple[Said, ...] = ()
    """What was said before, oldest first."""
    attachments: tuple[Attachment, ...] = ()
    user: Mapping[str, Any] = field(default_factory=dict)
    """`id`, `email`, `first_name`, … as far as known."""
    instructions: str | None = None
    """For this run only, on top of the agent's own."""
    additional_context: str | None = None
    expected_output: str | None = None
    output_format: str | None = None
    output_schema: Mapping[str, Any] | None = None
    think_mode: str = "default"
    attempt: int = 1
    """Above 1 where an earlier process died over this turn, or it was resumed after a pause."""
    login_url: str = ""
    """An address that resumes this task once it paused for a login."""
    resumed: bool = False
    """The login that this turn paused for has happened."""
    decision: Decision | None = None
    """What was decided about this turn, once it has paused for an approval; the newest, where it did so often."""
    clock: Clock


@dataclass(frozen=True, slots=True)
class Told:
    """Something to show while the turn runs: `think`, `tool_call_request`, `plan_updated` and so on."""

    type: str
    data: Any


@dataclass(frozen=True, slots=True)
class Result:
    """The whole answer, in place of the fragments given so far."""

    text: str


@dataclass(frozen=True, slots=True)
class File:
    """A file that goes with the answer."""

    name: str
    content: bytes = field(repr=False)
    media_type: str | None = None
    """None: found out from name and content."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The turn waits for a person; `told` says for what. Nothing after it is read."""

    told: Told
    question: str = ""
    """What the person is asked, kept as the task's result."""


APPROVAL: Final = "approval_request"


def approval(question: str) -> Pause:
    """A pause until a person approves or denies; the brain is then asked again, with `Ask.decision`."""
    return Pause(Told(APPROVAL, {"question": question}), question)


class Brain(Protocol):
    """Answers one turn at a time; turns of different tasks run side by side."""

    def answer(self, ask: Ask) -> AsyncIterator[str | Told | Result | File | Pause]:
        """Yields fragments of the answer (str) and whatever else is to be told.

        May be called again for the same turn after a crash. Raises BrainFault with a text fit for
        the caller; any other exception is logged and shown as a plain "the agent failed".
        """
        ...
