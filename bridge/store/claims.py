"""Timed claims by name: a mailbox, a token rotation, retention. One node at a time holds each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, delete, or_, select, update

from bridge.store.statements import insert_new
from bridge.store.tables import leases
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class Claim:
    """To have a name for `ttl` from now on. Said again before that has run out, it is kept."""

    name: str
    ttl: timedelta


def _hold(tx: Tx, rows: Sequence[Claim]) -> list[int | None]:
    """The epoch under which each name is this node's, or None where another node has it."""
    return [_hold_one(tx, row) for row in rows]


def _hold_one(tx: Tx, row: Claim) -> int | None:
    until = tx.now + row.ttl
    if insert_new(tx.connection, leases, [{"name": row.name, "owner": tx.node, "epoch": 1, "until": until}], "name"):
        return 1
    held = tx.connection.execute(
        select(leases.c.owner, leases.c.epoch)
        .where(leases.c.name == row.name, or_(leases.c.owner == tx.node, leases.c.until <= tx.now))
        .with_for_update()
    ).one_or_none()
    if held is None:
        return None
    epoch: int = held.epoch if held.owner == tx.node else held.epoch + 1
    tx.connection.execute(_RENEW, {"at": row.name, "me": tx.node, "to_epoch": epoch, "to_until": until})
    return epoch


_RENEW = (
    update(leases)
    .where(leases.c.name == bindparam("at"))
    .values(owner=bindparam("me"), epoch=bindparam("to_epoch"), until=bindparam("to_until"))
)

HOLD: Write[Claim, int | None] = Write(_hold)


def _release(tx: Tx, rows: Sequence[str]) -> list[None]:
    tx.connection.execute(delete(leases).where(leases.c.name.in_(rows), leases.c.owner == tx.node))
    return [None] * len(rows)


RELEASE: Write[str, None] = Write(_release)
