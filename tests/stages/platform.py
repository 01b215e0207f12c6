"""A platform that does what it is told: a list of outcomes, and everything that was asked of it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.model import Author, Candidate, Envelope, InboundMessage, OutboundMessage, Received
from bridge.store.arrivals import Arrival
from bridge.store.database import Store


@dataclass
class Plain:
    """Can send, and nothing else. An outcome that is an exception is raised, after the message was kept."""

    outcomes: deque[Exception | str] = field(default_factory=deque)
    sent: list[OutboundMessage] = field(default_factory=list)
    max_chars: int = 1000

    async def receive(self, envelope: Envelope) -> Received:
        raise NotImplementedError  # these tests begin behind it

    async def send(self, message: OutboundMessage) -> str:
        self.sent.append(message)
        outcome = self.outcomes.popleft() if self.outcomes else f"remote-{len(self.sent)}"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass
class Chat(Plain):
    """Can be asked, changed and taken back as well, within its limits."""

    found: str | None = None
    unasked: deque[Exception] = field(default_factory=deque)
    """Raised by the first questions what became of a message."""
    revised: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    costs: Sequence[tuple[str, float, int]] = ()

    async def find(self, message: OutboundMessage) -> str | None:  # noqa: ARG002 - one answer for all
        if self.unasked:
            raise self.unasked.popleft()
        return self.found

    async def revise(self, remote_id: str, message: OutboundMessage) -> None:
        self.revised.append((remote_id, message.text))

    async def withdraw(self, remote_id: str, message: OutboundMessage) -> None:  # noqa: ARG002 - by its id
        self.withdrawn.append(remote_id)

    def budget(self, message: OutboundMessage) -> Sequence[tuple[str, float, int]]:  # noqa: ARG002 - the same for all
        return self.costs


def arrival(store: Store, key: str, text: str = "hello", *, thread: str = "thread") -> Arrival:
    """Somebody says something in a thread."""
    message = InboundMessage(
        message_key=key,
        conversation=(Candidate(value=thread, matched_by="thread"),),
        return_address="here",
        author=Author(id="anna"),
        text=text,
    )
    return Arrival(
        source="team",
        delivery_key=key,
        digest="d",
        sealed=b"",
        messages=(message,),
        received_at=store.now(),
        agent="local",
        busy="queue",
    )
