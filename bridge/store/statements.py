"""The few statements whose spelling differs between the two databases, or that every table needs."""

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Table
from sqlalchemy.dialects import postgresql, sqlite

from bridge.store.prepared import Prepared, Record

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
"""A row of any statement; its columns are read by name."""


def insert_new(connection: Connection, table: Table, values: Sequence[dict[str, Any]], *key: str) -> Sequence[Record]:
    """Insert the rows whose key is not there yet; returns the `key` columns of those that went in.

    Values come sorted by key, so that two batches on PostgreSQL never wait for each other in a circle.
    """
    if not values:
        return ()
    return _insert_new(connection.dialect.name, table, key).insert_new(connection, values, *key)


def insert_missing(connection: Connection, table: Table, values: Sequence[dict[str, Any]]) -> None:
    """Insert the rows that are not there yet, likewise sorted; nobody waits for which those were."""
    _insert_missing(connection.dialect.name, table).run(connection, values)


@functools.cache
def _insert_missing(dialect: str, table: Table) -> Prepared:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return Prepared(insert(table).on_conflict_do_nothing())


@functools.cache
def _insert_new(dialect: str, table: Table, key: tuple[str, ...]) -> Prepared:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return Prepared(insert(table).on_conflict_do_nothing().returning(*[table.c[name] for name in key]))
