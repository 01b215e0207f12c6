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


@functools.cache
def _insert_new(dialect: str, table: Table, key: tuple[str, ...]) -> Prepared:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return Prepared(insert(table).on_conflict_do_nothing().returning(*[table.c[name] for name in key]))
