"""Giving a conversation something to do from outside its lanes: it is opened, claimed, or its owner is told."""

from bridge.model import Lease
from bridge.store.leases import Held
from bridge.store.notices import notify
from bridge.store.tables import conversations
from bridge.store.writer import Tx


def rouse(tx: Tx, conversation_id: str, *, claim: bool) -> Lease | None:
    """Open a conversation whose row this transaction has locked; the lease to wake where it is this node's.

    With `claim`, one that nobody owns becomes this node's, as when a message arrives. Without, it waits
    in its row for whichever node sweeps next. Another owner finds the nudge at its next beat.
    """
    held = tx.held[conversation_id]
    if held.owner is None and claim:
        held = tx.held[conversation_id] = Held(tx.node, held.epoch + 1)
    foreign = held.owner is not None and held.owner != tx.node
    tx.connection.execute(
        conversations.update()
        .where(conversations.c.id == conversation_id)
        .values(open=True, wake_at=None, owner=held.owner, epoch=held.epoch, nudged=foreign)
    )
    if foreign:
        notify(tx, {str(held.owner)})
    return Lease(conversation_id, held.epoch) if held.owner == tx.node else None
