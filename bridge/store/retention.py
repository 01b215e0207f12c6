"""Forgetting by age, some rows at a time: raw arrivals first, then what was said, last what recognises copies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, select, text

from bridge.errors import Replaced
from bridge.store.blanks import blank, forget_asides
from bridge.store.erasure import forget_files
from bridge.store.statements import AnyRow
from bridge.store.tables import (
    LIVE_DELIVERY_STATES,
    arrivals,
    attempts,
    budgets,
    captures,
    conversations,
    deliveries,
    destinations,
    discards,
    envelopes,
    events,
    files,
    leases,
    messages,
    nodes,
    turns,
    vault,
)
from bridge.store.writer import Tx, Write

SLICE = 500
PAGES = 1_000
"""How much of a SQLite file is given back in one transaction: 4 MB."""
NAME = "retention"
"""The lease under which one node does all of this."""
DAY = timedelta(days=1)

What = Literal[
    "envelopes", "captures", "words", "turns", "messages", "arrivals",
    "files", "vault", "destinations", "budgets", "nodes", "pages",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What is to be forgotten of one kind: everything older than `before`, under this epoch of the lease."""

    what: What
    before: datetime
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How long things are kept."""

    payloads: timedelta
    rows: timedelta
    dedupe: timedelta

    def slices(self, now: datetime, epoch: int) -> list[Slice]:
        """What to forget now, in this order.

        A message whose copy could still come stays as a row without words, so that the copy is recognised.
        """
        long_gone = now - max(self.rows, self.dedupe)
        cutoffs: dict[What, datetime] = {
            "envelopes": now - self.payloads,
            "captures": now - self.payloads,
            "words": now - self.rows,
            "turns": long_gone,
            "messages": long_gone,
            "arrivals": now,
            "files": now - self.rows - DAY,
            "vault": now,
            "destinations": now - self.rows,
            "budgets": now - DAY,
            "nodes": now - DAY,
            "pages": now,
        }
        if self.rows >= self.dedupe:
            del cutoffs["words"]  # they go with their rows
        return [Slice(what=what, before=before, epoch=epoch) for what, before in cutoffs.items()]


def _forget(tx: Tx, rows: Sequence[Slice]) -> list[int | Replaced]:
    return [_FORGETTING[row.what](tx, row.before) if _is_ours(tx, row.epoch) else Replaced() for row in rows]


FORGET: Write[Slice, int] = Write(_forget, long=True)  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller
"""Forget one slice; how many it was. Fewer than SLICE: nothing is left. Raises Replaced: another node does it now."""


def _is_ours(tx: Tx, epoch: int) -> bool:
    held = select(leases.c.name).where(leases.c.name == NAME, leases.c.owner == tx.node, leases.c.epoch == epoch)
    return tx.connection.execute(held.with_for_update()).first() is not None


def _envelopes(tx: Tx, before: datetime) -> int:
    """What is not read yet is kept whatever its age: it is all there is of it."""
    unread = select(arrivals.c.envelope_id).where(arrivals.c.state == "unread")
    old = select(envelopes.c.id).where(envelopes.c.created_at < before, envelopes.c.id.not_in(unread))
    ids = tx.connection.execute(old.order_by(envelopes.c.created_at).limit(SLICE)).scalars().all()
    tx.connection.execute(delete(envelopes).where(envelopes.c.id.in_(ids)))
    tx.connection.execute(delete(captures).where(captures.c.created_at < before))  # some fifty to a source at most
    return len(ids)


def _captures(tx: Tx, before: datetime) -> int:
    ids = (
        tx.connection.execute(select(captures.c.id).where(captures.c.created_at < before).limit(SLICE)).scalars().all()
    )
    tx.connection.execute(delete(captures).where(captures.c.id.in_(ids)))
    return len(ids)


def _words(tx: Tx, before: datetime) -> int:
    query = (
        select(messages.c.id, messages.c.turn_id, turns.c.conversation_id)
        .outerjoin(turns, turns.c.id == messages.c.turn_id)
        .where(messages.c.received_at < before, ~messages.c.blanked)
        .where(messages.c.turn_id.is_(None) | _settled())
        .order_by(messages.c.received_at)
        .limit(SLICE)
    )
    found: Sequence[AnyRow] = tx.connection.execute(query).all()
    over = _held(tx, {row.turn_id: row.conversation_id for row in found if row.turn_id})
    alone = set(_held_alone(tx, [row.id for row in found if row.turn_id is None]))
    gone = [row.id for row in found if row.turn_id in over or row.id in alone]
    blank(tx, gone, over)
    return len(gone)


def _turns(tx: Tx, before: datetime) -> int:
    """Whole turns with all that was said in them and sent for them."""
    query = select(turns.c.id, turns.c.conversation_id).where(turns.c.finished_at < before, _settled())
    found = tx.connection.execute(query.order_by(turns.c.finished_at).limit(SLICE)).all()
    ids = _held(tx, {row.id: row.conversation_id for row in found})
    forget_asides(tx, ids)
    sent = select(deliveries.c.id).where(deliveries.c.turn_id.in_(ids))
    tx.connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(sent)))
    for table in (deliveries, messages, events):
        tx.connection.execute(delete(table).where(table.c.turn_id.in_(ids)))
    tx.connection.execute(delete(turns).where(turns.c.id.in_(ids)))
    return len(ids)


def _held(tx: Tx, of: Mapping[str, str]) -> set[str]:
    """Of these turns, by their conversations, those that nobody sets going again before the commit.

    Whoever does so locks the conversation. One that is being set going again at this moment is left alone.
    """
    here = select(conversations.c.id).where(conversations.c.id.in_(set(of.values())))
    held = tx.connection.execute(here.order_by(conversations.c.id).with_for_update(skip_locked=True)).scalars().all()
    over = select(turns.c.id).where(turns.c.id.in_(of), turns.c.conversation_id.in_(held), _settled())
    return set(tx.connection.execute(over).scalars())


def _held_alone(tx: Tx, message_ids: Sequence[str]) -> Sequence[str]:
    """Likewise of these messages without a turn those that nobody lets in before the commit."""
    alone = select(messages.c.id).where(messages.c.id.in_(message_ids), messages.c.turn_id.is_(None))
    return tx.connection.execute(alone.order_by(messages.c.id).with_for_update(skip_locked=True)).scalars().all()


def _settled() -> ColumnElement[bool]:
    live = select(deliveries.c.id).where(
        deliveries.c.turn_id == turns.c.id, deliveries.c.state.in_(LIVE_DELIVERY_STATES)
    )
    return turns.c.finished_at.is_not(None) & ~live.exists()


def _messages(tx: Tx, before: datetime) -> int:
    """What never had a turn: declined, parked, withdrawn before it began."""
    query = select(messages.c.id).where(messages.c.received_at < before, messages.c.turn_id.is_(None))
    found = tx.connection.execute(query.order_by(messages.c.received_at).limit(SLICE)).scalars().all()
    ids = _held_alone(tx, found)
    tx.connection.execute(delete(messages).where(messages.c.id.in_(ids)))
    return len(ids)


def _arrivals(tx: Tx, before: datetime) -> int:
    """Each has an expiry of its own. What is unread is not over; what is parked is kept with its envelope."""
    kept = select(envelopes.c.id).where(envelopes.c.id == arrivals.c.envelope_id).exists()
    query = select(arrivals.c.source, arrivals.c.delivery_key).where(
        arrivals.c.expires_at < before, (arrivals.c.state == "read") | ((arrivals.c.state == "parked") & ~kept)
    )
    found = tx.connection.execute(query.order_by(arrivals.c.expires_at).limit(SLICE)).all()
    for source in {row.source for row in found}:
        keys = [row.delivery_key for row in found if row.source == source]
        tx.connection.execute(delete(arrivals).where(arrivals.c.source == source, arrivals.c.delivery_key.in_(keys)))
    return len(found)


def _files(tx: Tx, before: datetime) -> int:
    """A file that is stored again is as new again, so whatever names an old one is older still."""
    query = select(files.c.id).where(files.c.created_at < before).order_by(files.c.created_at).limit(SLICE)
    ids = tx.connection.execute(query).scalars().all()
    forget_files(tx, ids, before=before)
    return len(ids)


def _vault(tx: Tx, before: datetime) -> int:
    """What adapters wanted remembered for some time only."""
    query = select(vault.c.source, vault.c.name).where(vault.c.expires_at < before).order_by(vault.c.expires_at)
    found = tx.connection.execute(query.limit(SLICE)).all()
    for source in {row.source for row in found}:
        names = [row.name for row in found if row.source == source]
        gone = delete(vault).where(vault.c.source == source, vault.c.name.in_(names), vault.c.expires_at < before)
        tx.connection.execute(gone)
    return len(found)


def _destinations(tx: Tx, before: datetime) -> int:
    """A destination that was not called for so long begins anew; a disabled one stays so."""
    query = select(destinations.c.id).where(destinations.c.failed_at < before, destinations.c.disabled_at.is_(None))
    ids = tx.connection.execute(query.order_by(destinations.c.failed_at).limit(SLICE)).scalars().all()
    tx.connection.execute(delete(destinations).where(destinations.c.id.in_(ids)))
    return len(ids)


def _nodes(tx: Tx, before: datetime) -> int:
    ids = tx.connection.execute(select(nodes.c.id).where(nodes.c.until < before).limit(SLICE)).scalars().all()
    tx.connection.execute(delete(nodes).where(nodes.c.id.in_(ids)))
    return len(ids)


def _budgets(tx: Tx, before: datetime) -> int:
    """One that is whole again says as little as none."""
    whole = (budgets.c.full_at < before, budgets.c.frozen_until.is_(None) | (budgets.c.frozen_until < before))
    keys = tx.connection.execute(select(budgets.c.key).where(*whole).limit(SLICE)).scalars().all()
    tx.connection.execute(delete(budgets).where(budgets.c.key.in_(keys), *whole))
    return len(keys)


def _pages(tx: Tx, before: datetime) -> int:  # noqa: ARG001 - free pages have no age
    """Give free pages of a SQLite file back to the system; PostgreSQL's autovacuum does it by itself."""
    if tx.connection.dialect.name != "sqlite":
        return 0
    free: int = tx.connection.execute(text("PRAGMA freelist_count")).scalar_one()
    cursor = tx.connection.connection.cursor()
    for _ in range(min(free, PAGES)):
        cursor.execute("PRAGMA incremental_vacuum(1)")  # the driver steps once, which is one page whatever is asked for
    return SLICE if free > PAGES else 0


_FORGETTING: Mapping[What, Callable[[Tx, datetime], int]] = {
    "envelopes": _envelopes,
    "captures": _captures,
    "words": _words,
    "turns": _turns,
    "messages": _messages,
    "arrivals": _arrivals,
    "files": _files,
    "vault": _vault,
    "destinations": _destinations,
    "budgets": _budgets,
    "nodes": _nodes,
    "pages": _pages,
}


def discarded(connection: Connection) -> list[str]:
    """Digests of bytes to be deleted. One that a row names again meanwhile is not among them."""
    named = select(files.c.digest).where(files.c.digest == discards.c.digest).exists()
    query = select(discards.c.digest).where(~named).order_by(discards.c.created_at).limit(SLICE)
    return list(connection.execute(query).scalars())


def _gone(tx: Tx, rows: Sequence[str]) -> list[None]:
    tx.connection.execute(delete(discards).where(discards.c.digest.in_(rows)))
    return [None] * len(rows)


GONE: Write[str, None] = Write(_gone)
"""The bytes of this digest are deleted."""
