"""The few statements whose spelling differs between the two databases, or that every table needs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Table
from sqlalchemy.dialects import postgresql, sqlite

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
"""A row of any statement; its columns are read by name."""


def insert_new(connection: Connection, table: Table, values: Sequence[dict[str, Any]], *key: str) -> Sequence[Row[Any]]:
    """Insert the rows whose key is not there yet; returns the `key` columns of those that went in.

    Values come sorted by key, so that two batches on PostgreSQL never wait for each other in a circle.
    """
    if not values:
        return ()
    columns = [table.c[name] for name in key]
    if connection.dialect.name == "sqlite":
        return connection.execute(sqlite.insert(table).on_conflict_do_nothing().returning(*columns), values).all()
    return connection.execute(postgresql.insert(table).on_conflict_do_nothing().returning(*columns), values).all()
