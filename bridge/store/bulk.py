"""Inserts of many rows in one statement, each database's own way.

One by one, every row of SQLite's gives the interpreter's lock away and takes it back, and every row of
PostgreSQL's is bound, planned and answered by itself.
"""

import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

from sqlalchemy import Dialect, Table

Rows: TypeAlias = Sequence[tuple[Any, ...]]
Insert: TypeAlias = Callable[[Any, Rows], tuple[int, list[Any]]]
"""Takes the driver's connection and the rows; how many went in, and what they return (PostgreSQL alone)."""

_VALUES: Final = re.compile(r" VALUES (\([^()]*\))")
_SIZES: Final = (64, 16, 4, 1)


def bulk_insert(sql: str, table: Table, columns: Sequence[str], dialect: Dialect) -> Insert:
    """The statement, which inserts one row, for many."""
    if dialect.name == "sqlite":
        return _in_blocks(sql)
    types = [table.c[name].type.compile(dialect) for name in columns]
    return _from_arrays(sql, types)


def _in_blocks(sql: str) -> Insert:
    """64, 16, 4 rows or one at a time, so that there are few statements to keep.

    Returns no rows: each of them would be a step of its own.
    """
    head, values, tail = _VALUES.split(sql)
    tail = tail.partition(" RETURNING ")[0]
    blocks = [(size, f"{head} VALUES " + ", ".join([values] * size) + tail) for size in _SIZES]

    def insert(driver: Any, rows: Rows) -> tuple[int, list[Any]]:
        count = at = 0
        for size, block in blocks:
            while len(rows) - at >= size:
                count += driver.execute(block, tuple(chain.from_iterable(rows[at : at + size]))).rowcount
                at += size
        return count, []

    return insert


def _from_arrays(sql: str, types: Sequence[str]) -> Insert:
    """One array a column: the same statement however many rows there are."""
    head, _, tail = _VALUES.split(sql)
    arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
    statement = f"{head} SELECT * FROM unnest({arrays}){tail}"  # noqa: S608 - columns and types are the table's

    def insert(driver: Any, rows: Rows) -> tuple[int, list[Any]]:
        cursor = driver.execute(statement, [list(column) for column in zip(*rows, strict=True)])
        return cursor.rowcount, cursor.fetchall() if cursor.description else []

    return insert
