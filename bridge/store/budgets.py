"""Rate limits shared by all nodes: each key is one timestamp, the moment its allowance will be whole again."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from bridge.store.prepared import Prepared, among
from bridge.store.tables import budgets
from bridge.store.writer import Tx, Write

Cost: TypeAlias = tuple[str, float, int]
"""A key, how many a minute it allows, and how many at once (the burst)."""


class Purse:
    """The allowances that some costs count against: asked for, and locked until the commit."""

    def __init__(self, tx: Tx, costs: Iterable[Sequence[Cost]]) -> None:
        self._tx = tx
        keys = sorted({key for one in costs for key, _, _ in one})
        self._state = dict.fromkeys(keys, _Allowance(tx.now))
        self._asked = _LOAD.ask(tx.connection, {"keys": keys}) if keys else None

    def spend(self, costs: Sequence[Sequence[Cost]]) -> list[datetime | None]:
        """Spend one of each key for those that have room in all of theirs; for the others, when they will have.

        The generic cell rate algorithm (ITU-T I.371): no counter to refill, one comparison a key.
        """
        if self._asked is None:
            return [None] * len(costs)
        self._state |= {row.key: _Allowance(row.full_at, row.frozen_until) for row in self._asked.rows()}
        state = dict(self._state)
        answers = [_spend_one(self._tx.now, state, one) for one in costs]
        spent = [{"key": key, "full_at": left.full_at} for key, left in state.items() if left != self._state[key]]
        _keeping(self._tx.connection.dialect.name, "full_at").run(self._tx.connection, spent)
        return answers


@dataclass(frozen=True, slots=True)
class Freeze:
    """Nothing is spent from these keys before then, at any node."""

    keys: tuple[str, ...]
    until: datetime


def _freeze(tx: Tx, rows: Sequence[Freeze]) -> list[None]:
    # of several for one key the last to end counts
    until = {key: row.until for row in sorted(rows, key=lambda row: row.until) for key in row.keys}
    frozen = [{"key": key, "full_at": tx.now, "frozen_until": at} for key, at in sorted(until.items())]
    _keeping(tx.connection.dialect.name, "frozen_until").run(tx.connection, frozen)
    return [None] * len(rows)


@dataclass(frozen=True, slots=True)
class _Allowance:
    """When it will be whole again, and from when on anything of it may be spent."""

    full_at: datetime
    frozen_until: datetime | None = None


def _spend_one(now: datetime, state: dict[str, _Allowance], costs: Sequence[Cost]) -> datetime | None:
    waits = [_wait(now, state[key], per_minute, burst) for key, per_minute, burst in costs]
    if latest := max((at for at in waits if at is not None), default=None):
        return latest
    for key, per_minute, _ in costs:
        full_at = max(state[key].full_at, now) + timedelta(minutes=1) / per_minute
        state[key] = _Allowance(full_at, state[key].frozen_until)
    return None


def _wait(now: datetime, left: _Allowance, per_minute: float, burst: int) -> datetime | None:
    if left.frozen_until is not None and left.frozen_until > now:
        return left.frozen_until
    room_at = left.full_at - timedelta(minutes=1) / per_minute * (burst - 1)
    return room_at if room_at > now else None


_LOAD = Prepared(select(budgets).where(among(budgets.c.key, "keys")).order_by(budgets.c.key).with_for_update())


@functools.cache
def _keeping(dialect: str, column: str) -> Prepared:
    """Keeps one column of rows that are there, all of those that are new.

    Rows that are there are locked since they were loaded. Where two nodes use a key for the first time at the same
    moment, the later one's row counts: one more than allowed may go out then, once.
    """
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    new = insert(budgets)
    return Prepared(new.on_conflict_do_update(index_elements=["key"], set_={column: new.excluded[column]}))


FREEZE: Write[Freeze, None] = Write(_freeze)
