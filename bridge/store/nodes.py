"""Who is alive, and who takes over from whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

from sqlalchemy import and_, bindparam, delete, not_, or_, select, true, update

from bridge.model import Lease
from bridge.store.statements import insert_new
from bridge.store.tables import conversations, nodes
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, and how many conversations the node would take up at once."""

    ttl: timedelta
    limit: int
    exclusive: bool
    """No other node can be alive (SQLite): whatever is not ours is taken at once."""


def _beat(tx: Tx, rows: Sequence[Beat]) -> list[list[Lease]]:
    """Live on, and take over what is due and owned by nobody alive. Answers the conversations taken."""
    until = tx.now + max(row.ttl for row in rows)
    values = {"id": tx.node, "until": until, "started_at": tx.now, "version": version("agent-bridge")}
    if not insert_new(tx.connection, nodes, [values], "id"):
        tx.connection.execute(update(nodes).where(nodes.c.id == tx.node).values(until=until))
    return [_claim(tx, row) for row in rows]


def _claim(tx: Tx, row: Beat) -> list[Lease]:
    """Whole conversations are locked and skipped, never turns, so that their order holds whoever takes them."""
    alive = select(nodes.c.id).where(nodes.c.until > tx.now, true() if not row.exclusive else nodes.c.id == tx.node)
    ready = or_(
        and_(
            conversations.c.owner.is_(None),
            or_(conversations.c.wake_at.is_(None), conversations.c.wake_at <= tx.now),
        ),
        and_(conversations.c.owner.is_not(None), not_(conversations.c.owner.in_(alive))),
    )
    query = (
        select(conversations.c.id, conversations.c.epoch)
        .where(conversations.c.open, ready)
        .order_by(conversations.c.id)
        .limit(row.limit)
        .with_for_update(skip_locked=True)
    )
    taken = [Lease(found.id, found.epoch + 1) for found in tx.connection.execute(query)]
    if taken:
        tx.connection.execute(_TAKE, [{"at": lease.conversation_id, "me": tx.node} for lease in taken])
    return taken


_TAKE = (
    update(conversations)
    .where(conversations.c.id == bindparam("at"))
    .values(owner=bindparam("me"), epoch=conversations.c.epoch + 1, wake_at=None)
)

BEAT: Write[Beat, list[Lease]] = Write(_beat)


def _leave(tx: Tx, rows: Sequence[datetime]) -> list[None]:
    """Let go of everything at once, so that others need not wait for this node's lease to run out."""
    tx.connection.execute(update(conversations).where(conversations.c.owner == tx.node).values(owner=None))
    tx.connection.execute(delete(nodes).where(nodes.c.id == tx.node))
    return [None] * len(rows)


LEAVE: Write[datetime, None] = Write(_leave)
