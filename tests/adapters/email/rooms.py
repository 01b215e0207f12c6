"""A small bridge around one email source: the real ingest and store, an agent that answers everything once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

from sqlalchemy import insert, select

from adapters.email import Settings, build
from adapters.email.adapter import Email
from bridge.adapter import Kit
from bridge.model import Envelope, InboundMessage, OutboundMessage, Received
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST, Known
from bridge.store.tables import aliases, messages
from bridge.store.writer import Tx, Write
from tests.adapters.email.mails import SECRET, posted
from tests.adapters.kits import FakeClock, Wire, nobody_answers, open_kit


def settings(**changes: Any) -> Settings:
    values = {
        "address": "agent@example.com",
        "secrets": [SECRET],
        "authserv_id": "mx.example.com",
        "smtp_url": "maildir:unused",
    }
    return Settings.model_validate(values | changes)


@asynccontextmanager
async def open_email(
    *, wire: Wire = nobody_answers, clock: FakeClock | None = None, **changes: Any
) -> AsyncIterator[tuple[Email, Kit]]:
    async with open_kit("helpdesk", wire=wire, clock=clock, max_body=25 << 20) as kit:
        adapter = build(settings(**changes), kit)
        assert isinstance(adapter, Email)
        yield adapter, kit


async def read_one(raw: bytes, **changes: Any) -> InboundMessage:
    """What one mail becomes, as the raw ingress takes it."""
    async with open_email(**changes) as (adapter, _):
        envelope = posted(raw)
        await adapter.receive(envelope)
        (message,) = await adapter.read(envelope)
        return message


def outbound(message: InboundMessage, conversation_id: str = "cnv_1", **changes: Any) -> OutboundMessage:
    values: dict[str, Any] = {
        "delivery_id": "dlv_1",
        "kind": "answer",
        "return_address": message.return_address,
        "text": "The answer",
        "conversation_id": conversation_id,
        "created_at": FakeClock().now(),
    }
    return OutboundMessage(**(values | changes))


@dataclass
class Room:
    """Takes mails and answers those that open a turn."""

    adapter: Email
    store: Store
    answered: list[str] = field(default_factory=list)

    async def take(self, envelope: Envelope, received: Received | None = None) -> Known:
        """Receive unless it was, read, ingest. Returns what the mail's message became."""
        received = received or await self.adapter.receive(envelope)
        (message,) = await self.adapter.read(envelope)
        return await self.place(message, received.delivery_key)

    async def place(self, message: InboundMessage, key: str = "by hand") -> Known:
        """Ingest what was read."""
        stored = await self.store.accept(INGEST, _arrival(self.store, key, [message]))
        return stored.messages[0]

    async def answer(self, known: Known, message: InboundMessage) -> str:
        """One answer for each message, however often it arrived."""
        assert known.conversation_id is not None
        sent = await self.adapter.send(outbound(message, known.conversation_id, delivery_id=f"dlv_{known.message_id}"))
        await self.store.write(_ALIAS, (known.conversation_id, sent))
        self.answered.append(known.message_id)
        return sent

    async def exchange(self, raw: bytes, **post: Any) -> tuple[Known, str]:
        """A mail in, its answer out."""
        envelope = posted(raw, **post)
        known = await self.take(envelope)
        (message,) = await self.adapter.read(envelope)
        return known, await self.answer(known, message)

    async def matched_by(self, known: Known) -> str | None:
        with self.store.engine.connect() as connection:
            query = select(messages.c.matched_by).where(messages.c.id == known.message_id)
            found: str | None = connection.execute(query).scalar_one()
            return found


def _alias(tx: Tx, rows: Sequence[tuple[str, str]]) -> list[None]:
    for conversation_id, key in rows:
        tx.connection.execute(insert(aliases).values(source="helpdesk", key=key, conversation_id=conversation_id))
    return [None for _ in rows]


_ALIAS: Write[tuple[str, str], None] = Write(_alias)


def _arrival(store: Store, key: str, found: Sequence[InboundMessage]) -> Arrival:
    return Arrival(
        source="helpdesk",
        delivery_key=key,
        digest="d",
        sealed=b"sealed",
        messages=tuple(found),
        received_at=store.now(),
        keep=timedelta(days=14),
        agent="local",
        busy="queue",
    )


def parsed(raw: bytes) -> Message:
    """An outgoing mail as a strict reader sees it."""
    return message_from_bytes(raw, policy=default)
