"""A platform of these tests: JSON in, a file for each thing said out. Its ids name threads, as a chat's do."""

import json
from pathlib import Path

from pydantic import BaseModel

from bridge.adapter import Kit
from bridge.model import Author, Candidate, Envelope, InboundMessage, OutboundMessage, Received


class Settings(BaseModel):
    """Where what is said there can be read."""

    folder: Path


class Room:
    """A chat with threads: a reply names the message it replies to."""

    max_chars = 60

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.folder

    def return_address(self, address: str) -> str:
        if not address.startswith("#"):
            raise ValueError(f"{address!r} is no channel; write it as '#alerts'")
        return json.dumps({"channel": address})

    async def receive(self, envelope: Envelope) -> Received:
        said = json.loads(envelope.body)
        where = json.dumps({"channel": "#alerts", "thread": said["thread"]})
        message = InboundMessage(
            message_key=said["key"],
            conversation=(Candidate(value=said["thread"], matched_by="thread", participants_only=True),
                          Candidate(value=said["key"], matched_by="new")),
            return_address=where,
            author=Author(id=said.get("author", "ada")),
            addressed=said.get("addressed", "direct"),
            text=said["text"],
        )  # fmt: skip
        return Received(delivery_key=said["key"], messages=(message,))

    async def send(self, message: OutboundMessage) -> str:
        self._folder.mkdir(exist_ok=True)
        said = {"to": json.loads(message.return_address), "text": message.text, "kind": message.kind}
        said |= {"id": f"room:{message.delivery_id}", "task_id": message.task_id, "part": message.part}
        path = self._folder / f"{len([*self._folder.iterdir()]):04}"
        path.write_text(json.dumps(said))
        path.rename(path.with_suffix(".json"))  # whoever looks sees a whole file or none
        return str(said["id"])


def build(settings: Settings, kit: Kit) -> Room:
    del kit
    return Room(settings)
