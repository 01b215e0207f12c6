"""Whatever is stored encrypted, by the key it was sealed with, so that a key can be taken out of use."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from sqlalchemy import Connection, Table, and_, bindparam, func, select, tuple_, update

from bridge.errors import Unsealable
from bridge.sealing import MARK_BYTES
from bridge.store.tables import captures, envelopes, vault
from bridge.store.writer import Tx, Write

What = Literal["vault", "envelope", "capture"]
"""What it was sealed for."""

SLICE: Final = 200
PURPOSES: Final[tuple[What, ...]] = get_args(What)
_PLACES: Final[Mapping[What, Table]] = {"vault": vault, "envelope": envelopes, "capture": captures}


@dataclass(frozen=True, slots=True)
class Sealed:
    """One value and where it stands."""

    what: What
    key: tuple[str, ...]
    sealed: bytes


def sealed_otherwise(
    connection: Connection, what: What, mark: bytes, after: tuple[str, ...] | None
) -> Sequence[Sealed]:
    """The next values, in the order of their keys, that another key than the marked one sealed."""
    table = _PLACES[what]
    columns = list(table.primary_key.columns)
    query = select(*columns, table.c.sealed).where(func.substr(table.c.sealed, 1, MARK_BYTES) != mark)
    if after is not None:
        query = query.where(tuple_(*columns) > tuple_(*after))
    rows = connection.execute(query.order_by(*columns).limit(SLICE))
    return [Sealed(what, tuple(row[:-1]), bytes(row[-1])) for row in rows]


def marks(connection: Connection) -> Counter[bytes]:
    """How many values each key has sealed."""
    found: Counter[bytes] = Counter()
    for table in _PLACES.values():
        mark = func.substr(table.c.sealed, 1, MARK_BYTES)
        for row in connection.execute(select(mark, func.count()).group_by(mark)):
            found[bytes(row[0])] += row[1]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reseal:
    """Values that are to be sealed with the newest key; what cannot be opened stays as it is."""

    values: Sequence[Sealed]
    seal: Callable[[bytes, str], bytes]
    """The value under the newest key. Raises Unsealable."""


def _reseal(tx: Tx, rows: Sequence[Reseal]) -> list[int]:
    return [sum(_reseal_one(tx, row, value) for value in row.values) for row in rows]


RESEAL: Write[Reseal, int] = Write(_reseal, long=True)
"""How many were. One that was changed or forgotten since it was read is left alone."""


def _reseal_one(tx: Tx, row: Reseal, value: Sealed) -> int:
    try:
        again = row.seal(value.sealed, value.what)
    except Unsealable:
        return 0
    table = _PLACES[value.what]
    here: list[Any] = [column == part for column, part in zip(table.primary_key.columns, value.key, strict=True)]
    change = update(table).where(and_(*here), table.c.sealed == bindparam("before")).values(sealed=bindparam("again"))
    return tx.connection.execute(change, {"before": value.sealed, "again": again}).rowcount
