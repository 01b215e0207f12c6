"""One message of a fresh arrival on its way into the tables."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bridge.model import InboundMessage, new_id
from bridge.store.arrivals import Arrival
from bridge.store.bodies import dump_inbound
from bridge.store.lookup import Match

ADMITTED = "admitted"
NOT_ENGAGED = "declined:not_engaged"


@dataclass(slots=True)
class Said:
    """What was said, and what is decided about it step by step."""

    arrival: Arrival
    message: InboundMessage
    envelope_id: str
    act: str = "say"
    match: Match | None = None
    admission: str = ADMITTED
    turn_id: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The identity of the message."""
        return self.arrival.source, self.message.message_key

    @property
    def agent(self) -> str:
        """Who is to answer. Another agent than the one whose task it is would know nothing of that."""
        if self.match is not None and not self.is_at_home and self.match.conversation.agent:
            return self.match.conversation.agent
        return self.message.agent or self.arrival.agent

    @property
    def is_at_home(self) -> bool:
        """Whether its conversation began at the source it was said at."""
        return self.match is not None and self.match.conversation.source == self.arrival.source

    @property
    def verdict(self) -> str | None:
        """What its adapter already decided about it."""
        if self.message.parked:
            return f"parked:{self.message.parked}"
        return f"declined:{self.message.declined}" if self.message.declined else None

    @property
    def claim(self) -> int:
        """How good its claim to be admitted is, compared with another copy of the same message."""
        return 0 if self.verdict else 1 if self.message.addressed == "ambient" else 2

    @property
    def conversation_id(self) -> str | None:
        """Where it belongs, if anywhere."""
        return self.match.conversation.id if self.match else None

    def admit(self) -> str:
        """What is said to nobody in particular counts only where the agent already takes part."""
        if self.verdict or self.message.addressed != "ambient":
            return self.verdict or ADMITTED
        if self.match is None:
            return NOT_ENGAGED
        return "declined:muted" if self.match.conversation.muted else ADMITTED

    def message_row(self) -> dict[str, Any]:
        """Its row in `messages`."""
        message = self.message
        return {
            "id": new_id("msg"),
            "source": self.arrival.source,
            "message_key": message.message_key,
            "conversation_id": self.conversation_id,
            "turn_id": self.turn_id,
            "envelope_id": self.envelope_id,
            "act": self.act,
            "admission": self.admission,
            "matched_by": self.match.matched_by if self.match else None,
            "stray_key": self.message.conversation[-1].value if self.admission == NOT_ENGAGED else None,
            "addressed": message.addressed,
            "author_id": message.author.id,
            "return_address": message.return_address,
            "text": message.text,
            "body": dump_inbound(message),
            "received_at": self.arrival.received_at,
        }

    def turn_row(self, seq: int, now: datetime) -> dict[str, Any]:
        """The row of the turn it opens."""
        return {
            "id": self.turn_id,
            "conversation_id": self.conversation_id,
            "seq": seq,
            "state": "queued",
            "agent": self.agent,
            "idempotency_key": new_id("idk"),
            "attempt": 0,
            "restart": False,
            "notices": 0,
            "listened": self.arrival.listened,
            "created_at": now,
        }
