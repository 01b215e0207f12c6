"""What asks people with buttons: once it is decided or over it stops asking, and who presses too late is told why."""

from collections.abc import Collection
from dataclasses import replace
from typing import Final
from zlib import crc32

from sqlalchemy import bindparam, case, null, select, update

from bridge.model import Act, InboundMessage, OutboundMessage, new_id
from bridge.store.bodies import dump_outbound, load_outbound
from bridge.store.statements import AnyRow, insert_missing
from bridge.store.tables import LIVE_DELIVERY_STATES, decisions, deliveries
from bridge.store.writer import Tx

DECIDED: Final = "{choice}, decided by {who}."
ANSWERED: Final = "Answered."
OVER: Final = "Nobody has to decide this any more."
NOT_YOURS: Final = "Only the person who was asked can decide this."
DECIDED_BEFORE: Final = "This was decided before."

_WHISPERS: Final = 1_000_001
"""Parts of a turn's notices from here on are whispers; below are those that everybody sees."""


def asked(tx: Tx, decision_id: str, conversation_id: str) -> AnyRow | None:
    """A decision of this conversation, with the delivery that asks for it."""
    return tx.connection.execute(_ASKED, {"at": decision_id, "conversation": conversation_id}).first()


def conclude(tx: Tx, row: AnyRow, verdict: str) -> None:
    """The message that asked says what came of it, without its buttons; one that is still to be sent goes out so."""
    if row.body is None:
        return
    message = load_outbound(row.body)
    kept = {name: value for name, value in message.metadata.items() if name != "buttons"}
    said = replace(message, text=f"{message.text}\n\n{verdict}", metadata=kept)
    tx.connection.execute(_REVISE, {"at": row.delivery_id, "to_body": dump_outbound(said)})


def close(tx: Tx, turn_ids: Collection[str], verdict: str) -> None:
    """What these turns still ask is not asked any more."""
    for row in tx.connection.execute(_OPEN, {"ids": list(turn_ids)}).all():
        conclude(tx, row, verdict)
        tx.connection.execute(_CLOSED, {"at": row.id, "now": tx.now})


def void(tx: Tx, turn_ids: Collection[str]) -> None:
    """These turns begin anew: what was decided for them, and not told yet, was decided about something else."""
    close(tx, turn_ids, OVER)
    tx.connection.execute(_VOID, {"ids": list(turn_ids)})


def whisper(tx: Tx, row: AnyRow, pressed: InboundMessage, why: str) -> None:
    """Tell who pressed in vain why: once for each person and reason, however often they press."""
    if row.body is None or not pressed.return_address:
        return
    about = load_outbound(row.body)
    told = replace(
        about,
        delivery_id=new_id("dlv"),
        return_address=pressed.return_address,
        text=why,
        part=_WHISPERS + crc32(f"{row.id} {pressed.author.id} {why}".encode()) % 2**30,
        parts=1,
        metadata={},
        created_at=tx.now,
    )
    insert_missing(tx.connection, deliveries, [_beside(row, told)])


def spoken(row: AnyRow, pressed: InboundMessage, choice: str) -> InboundMessage:
    """A choice as the words of who made it, answered where the question stands."""
    about = load_outbound(row.body) if row.body is not None else None
    where = about.return_address if about else pressed.return_address
    return replace(pressed, act=Act.SAY, text=choice, return_address=where, metadata={}, addressed="direct")


def _beside(row: AnyRow, message: OutboundMessage) -> dict[str, object]:
    return {
        "id": message.delivery_id,
        "conversation_id": row.conversation_id,
        "turn_id": row.turn_id,
        "source": row.source,
        "kind": message.kind,
        "part": message.part,
        "seq": row.seq,
        "state": "pending",
        "body": dump_outbound(message),
        "attempt": 0,
        "created_at": message.created_at,
    }


_WITH_DELIVERY = select(decisions, deliveries.c.body, deliveries.c.source, deliveries.c.seq).outerjoin(
    deliveries, deliveries.c.id == decisions.c.delivery_id
)
_ASKED = _WITH_DELIVERY.where(
    decisions.c.id == bindparam("at"), decisions.c.conversation_id == bindparam("conversation")
)
_OPEN = _WITH_DELIVERY.where(
    decisions.c.turn_id.in_(bindparam("ids", expanding=True)), decisions.c.choice.is_(None), decisions.c.open
)
UNTOLD: Final = (
    decisions.c.kind == "approval",  # the choice of a question is said, as any other answer
    decisions.c.open,
    decisions.c.choice.is_not(None),
    decisions.c.told_at.is_(None),
)
"""What was decided and the agent has yet to be told."""
_VOID = update(decisions).where(decisions.c.turn_id.in_(bindparam("ids", expanding=True))).values(open=False)
_CLOSED = update(decisions).where(decisions.c.id == bindparam("at")).values(open=False)
# One that is on its way right now is changed once it has arrived: see the end of a try.
_REVISE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("at"), deliveries.c.state.in_((*LIVE_DELIVERY_STATES, "sent")))
    .values(
        body=bindparam("to_body"),
        marker="revise",
        state=case((deliveries.c.state == "sent", "pending"), else_=deliveries.c.state),
        finished_at=null(),
    )
)
