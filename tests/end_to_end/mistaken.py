"""An adapter with a mistake: `adapter = "tests.end_to_end.mistaken"`."""

from pydantic import BaseModel

from bridge.adapter import Kit
from bridge.model import Author, Candidate, Envelope, InboundMessage, OutboundMessage, Received


class Settings(BaseModel):
    pass


class Mistaken:
    max_chars = 4000

    async def receive(self, envelope: Envelope) -> Received:
        if envelope.body == b"raise":
            raise KeyError("nobody caught this")
        message = InboundMessage(
            message_key="m",
            conversation=(Candidate(value="c", matched_by="thread"),),
            return_address="",
            author=Author(id="u"),
            addressed="everybody",  # type: ignore[arg-type]  # the mistake
        )
        return Received(delivery_key="d", messages=(message,))

    async def send(self, message: OutboundMessage) -> str:
        return message.delivery_id


def build(_settings: Settings, _kit: Kit) -> Mistaken:
    return Mistaken()
