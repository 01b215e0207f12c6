"""One conversation of many, and the hands that its lanes have in it."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx2
from sqlalchemy import Connection, select

from bridge.errors import Conflict, Replaced
from bridge.model import Act, Author, OutboundMessage, Turn
from bridge.operations import Operations
from bridge.store import halts, tables, turns
from bridge.store import unread as rows
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.deliveries import Delivery
from bridge.store.ingest import INGEST, Ingested
from tests.conftest import FakeClock
from tests.stages.platform import arrival
from tests.stages.test_turns import Room
from tests.store.journeys import parts_of


class Keeping(Room):
    """A room whose agent keeps keys, is done at once, and remembers what it was asked."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        super().__init__(store, clock, decisions="/v1/tasks/{task_id}/approval")
        self.answer = self.reply
        self.records: dict[str, dict[str, Any]] = {}
        self.latest: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}

    def reply(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if "/invoke" in path:
            body = json.loads(request.content)
            key = body["payload_extension"]["idempotency_key"]
            return httpx2.Response(200, json=self.ask(key, body["input"]["text"], body.get("id")))
        parts = path.split("/")
        return httpx2.Response(200, json=self.latest[parts[parts.index("tasks") + 1]])

    def ask(self, key: str, text: str, thread: str | None = None) -> dict[str, Any]:
        if key not in self.records:
            task_id = thread or f"task-{len(self.records)}"
            told = {"status": "completed", "result": "done", "payload_extension": {"idempotency_key": key}}
            self.records[key] = self.latest[task_id] = {"id": task_id, "agent_id": "a", "input": {"text": text}, **told}
        return self.records[key]

    def heard(self) -> set[str]:
        return {text for record in self.records.values() for text in record["input"]["text"].split("\n\n")}


@dataclass
class Scene:
    """One conversation, and what its lanes hold in their hands."""

    room: Keeping
    name: str
    turn: Turn
    delivery: Delivery | None = None
    at_work: bool = True
    """Whether the lanes hold anything at all."""

    @property
    def store(self) -> Store:
        return self.room.store

    def out(self, kind: Any = "answer", part: int = 0) -> tuple[OutboundMessage, ...]:
        """The same each time, as for a write that is repeated."""
        (one,) = parts_of(self.store, self.turn, kind=kind)
        return (replace(one, delivery_id=self.named(kind, part), part=part),)

    def named(self, kind: str, part: int = 0) -> str:
        """The id of a delivery, which a turn that goes on makes anew."""
        return f"{kind} {part} {self.turn.id} {self.turn.seq}"

    async def lane(self, write: Any, args: Any) -> Any:
        """As the lanes do it: who has lost the conversation is done, who finds that it shall stop stops."""
        try:
            return await self.store.write(write, args)
        except Replaced:
            return None
        except turns.Stopping:
            (told,) = self.out("notice", 10**6)
            confirmation = (replace(told, status="stopped"),)
            return await self.store.write(halts.HALT, halts.Halt(turn=self.turn, confirmation=confirmation))

    def said(self, text: str, act: Act = Act.SAY, author: str = "anna", **metadata: str) -> Arrival:
        """The same each time, as what is sent once more."""
        arrived = arrival(self.store, f"{self.name} {text}", text=f"{self.name} {text}", thread=self.name)
        (message,) = arrived.messages or ()
        key = self.name if act in {Act.EDIT, Act.DELETE} else message.message_key
        message = replace(message, act=act, message_key=key, author=Author(id=author), metadata=metadata)
        return replace(arrived, messages=(message,))

    async def act(self, act: Act, busy: str, text: str, author: str = "anna", **metadata: str) -> Ingested:
        return await self.store.accept(INGEST, replace(self.said(text, act, author, **metadata), busy=busy))

    async def read(self, text: str) -> None:
        """Stored unread, then read, and placed as if it came now."""
        arrived = self.said(text)
        await self.store.accept(INGEST, replace(arrived, messages=None))
        (envelope_id,) = await self.store.read(_envelope_of, arrived.delivery_key)
        for unread in await self.store.read(rows.unread, [envelope_id]):
            read = rows.Read(unread=unread, messages=arrived.messages or (), agent="local", busy="queue")
            await self.store.write(rows.READ, read)

    async def let_in(self, text: str) -> None:
        """Held back, until an operator decides otherwise."""
        arrived = self.said(text)
        (message,) = arrived.messages or ()
        parked = await self.store.accept(INGEST, replace(arrived, messages=(replace(message, parked="odd"),)))
        with suppress(Conflict):
            await self.operations.replay(parked.messages[0].message_id, "invoke")

    @property
    def operations(self) -> Operations:
        """Those of a server, which takes up what it sets going."""
        return Operations(self.store, self.store._clock, agents={"team": "local"}, wake=lambda _: None)

    @property
    def beside(self) -> Operations:
        """Those of a command, which wakes nobody and waits for nobody."""
        return Operations(self.store, self.store._clock, agents={"team": "local"})


def _envelope_of(connection: Connection, delivery_key: str) -> Sequence[str]:
    found = select(tables.arrivals.c.envelope_id).where(tables.arrivals.c.delivery_key == delivery_key)
    return connection.execute(found).scalars().all()
