"""Addresses that answers go to, as far as they fail: since when, why, and whether they are left alone for good."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, case, delete, select, update

from bridge.circuit import CLOSED, PROBE, Circuit
from bridge.errors import Missing
from bridge.store.statements import insert_missing
from bridge.store.tables import Instant, destinations
from bridge.store.writer import Tx, Write

FAILING: Final = timedelta(days=5)
"""Failures and nothing else for this long: it is disabled."""
PAGE = 100


def destination_id(source: str, address: str) -> str:
    """The id of an address, the same at every node and however long the address is."""
    return "dst_" + hashlib.sha256(f"{source}\0{address}".encode()).hexdigest()[:26]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationView:
    """A destination that fails, or that is disabled."""

    destination_id: str
    source: str
    address: str
    state: str
    """`failing` or `disabled`."""
    failures: int
    """In a row."""
    failing_since: datetime
    failed_at: datetime
    disabled_at: datetime | None
    error: str | None


def destination_list(
    connection: Connection, *, source: str | None = None, state: str | None = None, limit: int = PAGE
) -> Sequence[DestinationView]:
    """Those that failed last, newest first."""
    query = select(destinations).order_by(destinations.c.failed_at.desc(), destinations.c.id).limit(limit)
    if source is not None:
        query = query.where(destinations.c.source == source)
    if state is not None:
        is_disabled = destinations.c.disabled_at.is_not(None)
        query = query.where(is_disabled if state == "disabled" else ~is_disabled)
    return [_view(row) for row in connection.execute(query)]


def destination(connection: Connection, id: str) -> DestinationView | None:  # noqa: A002 - what it is
    """One of them; None for one that does not fail."""
    row = connection.execute(select(destinations).where(destinations.c.id == id)).one_or_none()
    return None if row is None else _view(row)


@dataclass(frozen=True, slots=True)
class Noted:
    """What all nodes know of a destination that fails."""

    is_disabled: bool
    circuit: Circuit


def troubled(connection: Connection) -> dict[str, Noted]:
    """All ids of which something is noted."""
    return {row.id: _noted(row) for row in connection.execute(select(*_NOTED))}


_NOTED = [destinations.c[name] for name in ("id", "disabled_at", "refused", "opens_at", "probed_until")]


def _noted(row: Any) -> Noted:
    return Noted(row.disabled_at is not None, Circuit(row.refused, row.opens_at, row.probed_until))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A try that brought nothing."""

    source: str
    address: str
    error: str
    final: bool
    """The destination itself wants no more."""
    away: bool = True
    """Nobody was there, or in no state to answer; whoever refuses for good is there."""


def _fail(tx: Tx, rows: Sequence[Failure]) -> list[Noted]:
    """Note the failures; tells what is known of each destination now."""
    noted = {destination_id(row.source, row.address): row for row in rows}  # of several, the newest
    times = Counter(destination_id(row.source, row.address) for row in rows)
    final = {destination_id(row.source, row.address) for row in rows if row.final}
    new: list[dict[str, Any]] = [
        {"id": one, "source": row.source, "address": row.address, "failures": 0, "refused": 0}
        | {"failing_since": tx.now, "failed_at": tx.now}
        for one, row in sorted(noted.items())
    ]
    insert_missing(tx.connection, destinations, new)
    circuits = _circuits(tx, rows)
    tx.connection.execute(
        _FAILED,
        [
            {"at": one, "times": times[one], "now": tx.now, "why": noted[one].error}
            | {"over": one in final, "before": tx.now - FAILING}
            | {"away": circuits[one].failures, "opens": circuits[one].opens_at}
            for one in sorted(noted)
        ],
    )
    found = {row.id: _noted(row) for row in tx.connection.execute(select(*_NOTED).where(destinations.c.id.in_(noted)))}
    return [found[destination_id(row.source, row.address)] for row in rows]


def _circuits(tx: Tx, rows: Sequence[Failure]) -> dict[str, Circuit]:
    """The breakers behind these failures, in their order; the rows are locked in the order of their ids."""
    ids = {destination_id(row.source, row.address) for row in rows}
    query = select(*_NOTED).where(destinations.c.id.in_(ids)).order_by(destinations.c.id).with_for_update()
    known = {row.id: _noted(row).circuit for row in tx.connection.execute(query)}
    for row in rows:
        one = destination_id(row.source, row.address)
        known[one] = known[one].failed(tx.now) if row.away else CLOSED
    return known


_NOW = bindparam("now", type_=Instant)
_FAILED = (
    update(destinations)
    .where(destinations.c.id == bindparam("at"))
    .values(
        failures=destinations.c.failures + bindparam("times"),
        failed_at=_NOW,
        error=bindparam("why"),
        refused=bindparam("away"),
        opens_at=bindparam("opens", type_=Instant),
        probed_until=None,
        disabled_at=case(
            (destinations.c.disabled_at.is_not(None), destinations.c.disabled_at),
            (bindparam("over"), _NOW),
            (destinations.c.failing_since <= bindparam("before", type_=Instant), _NOW),
            else_=None,
        ),
    )
)

FAIL: Write[Failure, Noted] = Write(_fail)


def _probe(tx: Tx, rows: Sequence[str]) -> list[bool]:
    """Whether each may be tried now: of all who ask, at whatever node, one is told so. What is well again may be."""
    return [_probe_one(tx, row) for row in rows]


def _probe_one(tx: Tx, id_: str) -> bool:
    free = destinations.c.probed_until.is_(None) | (destinations.c.probed_until <= tx.now)
    probing = update(destinations).where(destinations.c.id == id_, destinations.c.opens_at <= tx.now, free)
    if tx.connection.execute(probing.values(probed_until=tx.now + PROBE)).rowcount:
        return True
    held = select(destinations.c.id).where(destinations.c.id == id_, destinations.c.opens_at.is_not(None))
    return tx.connection.execute(held).first() is None


PROBE_ONE: Write[str, bool] = Write(_probe)


def _recover(tx: Tx, rows: Sequence[str]) -> list[None]:
    """A success ends a row of failures; what was disabled stays so until a person enables it."""
    _forget(tx, rows, only_failing=True)
    return [None] * len(rows)


RECOVER: Write[str, None] = Write(_recover)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enable:
    """A destination that is to be called again."""

    destination_id: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Enabled:
    """What was done, or would be."""

    destination_id: str
    dry_run: bool
    does: str


def _enable(tx: Tx, rows: Sequence[Enable]) -> list[Enabled | Missing]:
    return [_enable_one(tx, row) for row in rows]


def _enable_one(tx: Tx, row: Enable) -> Enabled | Missing:
    found = destination(tx.connection, row.destination_id)
    if found is None:
        return Missing(f"Nothing is noted of a destination {row.destination_id}: it is called as ever.")
    if not row.dry_run:
        _forget(tx, [row.destination_id])
    does = f"Call {found.address} again. What died meanwhile: agent-bridge deliveries retry --state dead."
    return Enabled(destination_id=row.destination_id, dry_run=row.dry_run, does=does)


ENABLE: Write[Enable, Enabled] = Write(_enable)  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller


def _forget(tx: Tx, ids: Collection[str], *, only_failing: bool = False) -> None:
    statement = delete(destinations).where(destinations.c.id.in_(ids))
    tx.connection.execute(statement.where(destinations.c.disabled_at.is_(None)) if only_failing else statement)


def _view(row: Any) -> DestinationView:
    return DestinationView(
        destination_id=row.id,
        source=row.source,
        address=row.address,
        state="failing" if row.disabled_at is None else "disabled",
        failures=row.failures,
        failing_since=row.failing_since,
        failed_at=row.failed_at,
        disabled_at=row.disabled_at,
        error=row.error,
    )
