"""Short ways to bring a message to a certain point of its journey, through the writes the stages use."""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import Table, select

from bridge.model import (
    Author,
    Candidate,
    DeliveryKind,
    DeliveryState,
    InboundMessage,
    Lease,
    OutboundMessage,
    Turn,
    TurnState,
    new_id,
)
from bridge.store import deliveries, heads, tries, turns
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.deliveries import Delivery, Due
from bridge.store.ingest import INGEST, Ingested
from bridge.store.statements import AnyRow
from bridge.store.tries import Outcome

Busy = Literal["queue", "collect"]


def arriving(
    store: Store,
    *messages: InboundMessage,
    key: str,
    source: str = "team",
    agent: str = "local",
    busy: str = "queue",
) -> Arrival:
    """What came in just now, and what was read in it."""
    return Arrival(
        source=source,
        delivery_key=key,
        digest="d",
        sealed=b"sealed",
        messages=messages,
        received_at=store.now(),
        agent=agent,
        busy=busy,
    )


async def say(
    store: Store,
    key: str,
    conversation: str = "thread",
    *,
    text: str = "hello",
    source: str = "team",
    busy: Busy = "queue",
    parked: str | None = None,
) -> Ingested:
    message = InboundMessage(
        message_key=key,
        conversation=(Candidate(value=conversation, matched_by="thread"),),
        return_address="here",
        author=Author(id="ada"),
        text=text,
        parked=parked,
    )
    return await store.accept(INGEST, arriving(store, message, key=f"delivery-{key}", source=source, busy=busy))


async def take(store: Store, lease: Lease) -> Turn:
    turn = await store.write(heads.TAKE, lease)
    assert isinstance(turn, Turn), turn
    return turn


def parts_of(store: Store, turn: Turn, *, kind: DeliveryKind = "answer", parts: int = 1) -> tuple[OutboundMessage, ...]:
    return tuple(
        OutboundMessage(
            delivery_id=new_id("dlv"),
            kind=kind,
            return_address="here",
            text=f"part {part}",
            part=part,
            parts=parts,
            turn_id=turn.id,
            created_at=store.now(),
        )
        for part in range(parts)
    )


async def end(
    store: Store, turn: Turn, state: TurnState, *, kind: DeliveryKind = "answer", parts: int = 1, error: str = ""
) -> tuple[str, ...]:
    """End a turn; answers the ids of what it then owes."""
    out = parts_of(store, turn, kind=kind, parts=parts)
    await store.write(
        turns.END, turns.End(turn=turn, state=state, task_id="task-1", error=error or None, deliveries=out)
    )
    return tuple(message.delivery_id for message in out)


def due(lease: Lease) -> Due:
    """Whatever is due in this conversation, on a platform without rate limits."""
    return Due(lease, lambda _source, _message: ())


async def deliver(store: Store, lease: Lease, state: DeliveryState, *, error: str | None = None) -> str:
    """One try of the next delivery, with this outcome."""
    delivery = await store.write(deliveries.BEGIN, due(lease))
    assert isinstance(delivery, Delivery), delivery
    remote_id = f"remote-{delivery.id}" if state is DeliveryState.SENT else None
    until = store.now() if state in {DeliveryState.UNKNOWN, DeliveryState.PENDING} else None
    outcome = Outcome(delivery=delivery, state=state, remote_id=remote_id, error=error, until=until)
    await store.write(tries.END, outcome)
    return delivery.id


async def dead_message(store: Store, key: str = "m1") -> str:
    """A message whose turn died and whose apology arrived; its conversation is closed."""
    stored = await say(store, key)
    turn = await take(store, stored.wake[0])
    await end(store, turn, TurnState.DEAD, kind="error", error="the agent broke")
    await deliver(store, turn.lease, DeliveryState.SENT)
    return stored.messages[0].message_id


async def rows_of(store: Store, table: Table) -> Sequence[AnyRow]:
    """Every row of a table, oldest id first."""
    return await store.read(
        lambda connection: connection.execute(select(table).order_by(table.c[table.c.keys()[0]])).all()
    )
