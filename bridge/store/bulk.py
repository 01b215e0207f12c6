"""Statements over many rows, each database's own way.

One by one, every row of SQLite's gives the interpreter's lock away and takes it back, and every row of
PostgreSQL's is bound, planned and answered by itself.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

from sqlalchemy import JSON, Connection, Dialect, Insert, LargeBinary, Update, bindparam, column, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import NullType, TypeEngine

from bridge.documents import written
from bridge.store.binding import Binder, Binding, Reading, Values, binder
from bridge.store.line import Sent, line, translated

Change: TypeAlias = Insert | Update

POSTGRESQL: Final = postgresql.psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
"""Values by position, as SQLite has them."""

_GIVEN: Final = "given"
_VALUES: Final = re.compile(r" VALUES (\([^()]*\))")
_SIZES: Final = (64, 16, 4, 1)


def bulk(statement: Change, columns: tuple[str, ...], dialect: Dialect) -> "Bulk":
    """The statement for many rows; an insert fills these columns."""
    spelling = POSTGRESQL if dialect.name == "postgresql" else dialect
    compiled = statement.compile(dialect=spelling, column_keys=columns if isinstance(statement, Insert) else None)
    assert isinstance(compiled, SQLCompiler)
    if dialect.name == "postgresql":
        return Given(
            statement, {str(name): bind.type for name, bind in compiled.binds.items() if bind.required}, dialect
        )
    return Blocks(statement, compiled, dialect) if isinstance(statement, Insert) else OneByOne(compiled, dialect)


class OneByOne:
    """SQLite's update: it knows no other, but is handed all of them at once."""

    def __init__(self, compiled: SQLCompiler, dialect: Dialect) -> None:
        self.sql = compiled.string
        self._binding = Binding(compiled, dialect)

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        bound = [self._binding(row) for row in rows]
        with translated(connection, self.sql):
            connection.connection.driver_connection.cursor().executemany(self.sql, bound)  # type: ignore[union-attr]


class Blocks:
    """SQLite's insert of 64, 16, 4 rows or one at a time, so that there are few statements to keep.

    Many at once return no rows: each of them would be a step of its own.
    """

    def __init__(self, statement: Insert, compiled: SQLCompiler, dialect: Dialect) -> None:
        self.sql = compiled.string
        self._binding = Binding(compiled, dialect)
        self._reading = Reading(statement.exported_columns, dialect)
        head, values, tail = _VALUES.split(self.sql)
        tail = tail.partition(" RETURNING ")[0]
        self._blocks = [(size, f"{head} VALUES " + ", ".join([values] * size) + tail) for size in _SIZES]

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        self._insert(connection, [self._binding(row) for row in rows])

    def insert_new(self, connection: Connection, rows: Sequence[Values], key: Sequence[str]) -> list[Any]:
        """All of these rows at once or, where one of them is there already, each by itself."""
        bound = [self._binding(row) for row in rows]
        direct = line(connection)
        direct.send(connection, "SAVEPOINT all_or_none")
        whole = self._insert(connection, bound) == len(bound)
        direct.send(connection, "RELEASE all_or_none" if whole else "ROLLBACK TO all_or_none")
        if whole:
            return [self._reading.record(*(row[name] for name in key)) for row in rows]
        return self._reading(row for one in bound for row in direct.send(connection, self.sql, one).rows())

    def _insert(self, connection: Connection, bound: Sequence[tuple[Any, ...]]) -> int:
        return sum(line(connection).send(connection, *block).count() for block in self._split(bound))

    def _split(self, bound: Sequence[tuple[Any, ...]]) -> Iterable[tuple[str, tuple[Any, ...]]]:
        at = 0
        for size, block in self._blocks:
            while len(bound) - at >= size:
                yield block, tuple(chain.from_iterable(bound[at : at + size]))
                at += size


class Given:
    """PostgreSQL's: the same statement over the rows of one JSON value, however many there are.

    An array for each column would do, too, but psycopg makes one of texts in ten microseconds of Python an element
    (measured: 2.1 ms of processor time for an insert of 13 messages).
    """

    def __init__(self, statement: Change, types: Mapping[str, TypeEngine[Any]], dialect: Dialect) -> None:
        untyped = [name for name, type_ in types.items() if isinstance(type_, NullType)]
        assert not untyped, f"{untyped} need a type: bindparam(…, type_=…)"
        compiled = _over_given(statement, types).compile(dialect=POSTGRESQL)
        assert isinstance(compiled, SQLCompiler)
        names = compiled.positiontup or []
        left = [name for name in names if name != _GIVEN and compiled.binds[name].required]
        assert not left, f"{left} cannot differ by row"
        self.sql = compiled.string
        self._binders = [(name, _json_binder(type_, dialect)) for name, type_ in types.items()]
        self._fixed = [None if name == _GIVEN else compiled.binds[name].effective_value for name in names]
        self._at = names.index(_GIVEN)
        self._reading = Reading(statement.exported_columns if isinstance(statement, Insert) else (), dialect)

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        self._send(connection, rows)

    def insert_new(self, connection: Connection, rows: Sequence[Values], key: Sequence[str]) -> list[Any]:  # noqa: ARG002 - it returns them
        return self._reading(self._send(connection, rows).rows())

    def _send(self, connection: Connection, rows: Sequence[Values]) -> Sent:
        given = [
            {name: row[name] if bound is None else bound(row[name]) for name, bound in self._binders} for row in rows
        ]
        values = list(self._fixed)
        values[self._at] = written(given).decode()
        return line(connection).send(connection, self.sql, values)


Bulk: TypeAlias = Blocks | OneByOne | Given


def _over_given(statement: Change, types: Mapping[str, TypeEngine[Any]]) -> Change:
    columns = [column(name, type_) for name, type_ in types.items()]
    rows = (
        func.json_to_recordset(bindparam(_GIVEN, type_=JSON))
        .table_valued(*columns)
        .render_derived(name=_GIVEN, with_types=True)
    )
    if isinstance(statement, Insert):
        return statement.from_select(list(types), select(*rows.c), include_defaults=False)

    def from_row(element: Any, **_: Any) -> Any:
        return rows.c[element.key] if isinstance(element, BindParameter) and element.required else None

    changed = replacement_traverse(statement, {}, from_row)
    assert isinstance(changed, Update)
    return changed


def _json_binder(type_: TypeEngine[Any], dialect: Dialect) -> Binder | None:
    return _hexadecimal if isinstance(type_, LargeBinary) else binder(type_, dialect)


def _hexadecimal(value: bytes | None) -> str | None:
    return None if value is None else f"\\x{value.hex()}"
