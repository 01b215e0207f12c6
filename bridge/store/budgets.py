"""Rate limits shared by all nodes: each key is one timestamp, the moment its allowance will be whole again."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import bindparam, select, update

from bridge.store.prepared import Prepared, among
from bridge.store.statements import insert_new
from bridge.store.tables import Instant, budgets
from bridge.store.writer import Tx

Cost: TypeAlias = tuple[str, float, int]
"""A key, how many a minute it allows, and how many at once (the burst)."""


def spend(tx: Tx, costs: Sequence[Iterable[Cost]]) -> list[datetime | None]:
    """Spend one of each key for those that have room in all of theirs; for the others, when they will have.

    The generic cell rate algorithm (ITU-T I.371): no counter to refill, one comparison a key.
    """
    keys = sorted({key for one in costs for key, _, _ in one})
    state = _load(tx, keys)
    answers = [_spend_one(tx.now, state, list(one)) for one in costs]
    _SAVE.run(tx.connection, [{"at": key, "full": full} for key, (full, _) in state.items()])
    return answers


def freeze(tx: Tx, until: Mapping[str, datetime]) -> None:
    """Nothing is spent from these keys before then, at any node."""
    if not until:
        return
    _load(tx, sorted(until))
    _FREEZE.run(tx.connection, [{"at": key, "thaw": at} for key, at in until.items()])


def _load(tx: Tx, keys: Sequence[str]) -> dict[str, tuple[datetime, datetime | None]]:
    found = _stored(tx, keys)
    if len(found) < len(keys):
        missing = [{"key": key, "full_at": tx.now} for key in keys if key not in found]
        insert_new(tx.connection, budgets, missing, "key")
        found = _stored(tx, keys)
    return found


def _stored(tx: Tx, keys: Sequence[str]) -> dict[str, tuple[datetime, datetime | None]]:
    return {row.key: (row.full_at, row.frozen_until) for row in _LOAD.rows(tx.connection, {"keys": keys})}


def _spend_one(
    now: datetime, state: dict[str, tuple[datetime, datetime | None]], costs: Sequence[Cost]
) -> datetime | None:
    waits = [_wait(now, *state[key], per_minute, burst) for key, per_minute, burst in costs]
    if latest := max((at for at in waits if at is not None), default=None):
        return latest
    for key, per_minute, _ in costs:
        full, frozen = state[key]
        state[key] = (max(full, now) + timedelta(minutes=1) / per_minute, frozen)
    return None


def _wait(now: datetime, full: datetime, frozen: datetime | None, per_minute: float, burst: int) -> datetime | None:
    if frozen is not None and frozen > now:
        return frozen
    room_at = full - timedelta(minutes=1) / per_minute * (burst - 1)
    return room_at if room_at > now else None


_LOAD = Prepared(select(budgets).where(among(budgets.c.key, "keys")).order_by(budgets.c.key).with_for_update())
_HERE = update(budgets).where(budgets.c.key == bindparam("at"))
_SAVE = Prepared(_HERE.values(full_at=bindparam("full", type_=Instant)))
_FREEZE = Prepared(_HERE.values(frozen_until=bindparam("thaw", type_=Instant)))
