"""Statements handed to the driver as they are: put into SQL once, with what their values and columns need.

A message runs through some thirty statements. SQLAlchemy's own way of executing one costs 60 to 100 us of Python, five
to ten times what SQLite needs for it; a prepared one costs what the driver costs (measured). Everything that is not
on the way of every message is executed in the usual way.
"""

import json
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Protocol

from sqlalchemy import ARRAY, ColumnElement, Connection, Dialect, Insert, Select, String, Table, Text, Update, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine

from bridge.store import bulk

Values = Mapping[str, Any]

_encoded = json.JSONEncoder(ensure_ascii=False).encode


class Record(Protocol):
    """A row; its columns are read by name."""

    def __getattr__(self, name: str) -> Any: ...


class _Words(TypeDecorator[Collection[str]]):
    """Any number of words as one value, so that the statement is the same however many there are."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(String()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> Any:
        words = list(value or ())
        return words if dialect.name == "postgresql" else _encoded(words)


class among(ColumnElement[bool]):  # noqa: N801 - reads like the operator it stands for
    """`column IN (…)` for as many words as the value `name` has."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.words = bindparam(name, type_=_Words())


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, words = compiler.process(element.column, **kwargs), compiler.process(element.words, **kwargs)
    return f"{column} IN (SELECT value FROM json_each({words}))"  # noqa: S608 - both are put into SQL by the compiler


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, words = compiler.process(element.column, **kwargs), compiler.process(element.words, **kwargs)
    return f"{column} = ANY({words})"


class Prepared:
    """One statement. Which columns an insert fills is told by its first row."""

    def __init__(self, statement: Select[Any] | Update | Insert) -> None:
        self._statement = statement
        self._forms: dict[tuple[str, tuple[str, ...]], _Form] = {}

    def rows(self, connection: Connection, values: Values | None = None) -> list[Any]:
        """Run it once; its rows as `Record`s."""
        values = values or {}
        form = self._form(connection, values)
        with _Driving(connection, form.sql) as driver:
            found = driver.execute(form.sql, form.bind(values)).fetchall()
        return form.read(found)

    def words(self, connection: Connection, values: Values | None = None) -> list[Any]:
        """Run it once; the first column of each of its rows."""
        return [row[0] for row in self.rows(connection, values)]

    def run(self, connection: Connection, values: Sequence[Values]) -> None:
        """Run it for each of these values, in their order; on PostgreSQL within one round trip."""
        if not values:
            return
        form = self._form(connection, values[0])
        bound = [form.bind(one) for one in values]
        with _Driving(connection, form.sql) as driver:
            if form.insert:
                form.insert(driver, bound)
            else:
                driver.cursor().executemany(form.sql, bound)

    def insert_new(self, connection: Connection, values: Sequence[Values], *key: str) -> list[Any]:
        """Insert those of these rows that do not conflict; the `key` of each that went in, as `Record`s.

        The statement ignores conflicts and returns the key.
        """
        form = self._form(connection, values[0])
        assert form.insert is not None, "this is an insert"
        bound = [form.bind(one) for one in values]
        with _Driving(connection, form.sql) as driver:
            if connection.dialect.name != "sqlite":
                return form.read(form.insert(driver, bound)[1])
            if _all_or_none(driver, form.insert, bound):
                return [form.record(*(value[name] for name in key)) for value in values]
            return form.read(row for one in bound for row in driver.execute(form.sql, one).fetchall())

    @property
    def spellings(self) -> Sequence[str]:
        """The SQL it was put into so far."""
        return [form.sql for form in self._forms.values()]

    def _form(self, connection: Connection, values: Values) -> "_Form":
        dialect = connection.dialect
        key = (dialect.name, tuple(values) if isinstance(self._statement, Insert) else ())
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = _Form(self._statement, dialect, key[1])
        return form


class _Form:
    """A statement in one database's words."""

    def __init__(self, statement: Select[Any] | Update | Insert, dialect: Dialect, columns: tuple[str, ...]) -> None:
        spelling = _POSTGRESQL if dialect.name == "postgresql" else dialect
        compiled = statement.compile(dialect=spelling, column_keys=columns or None)
        assert isinstance(compiled, SQLCompiler)
        names = compiled.positiontup or ()
        self.sql = compiled.string
        self._constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
        self._binders = [(name, _binder(compiled.binds[name].type, dialect)) for name in names]
        self.insert: bulk.Insert | None = None
        if isinstance(statement, Insert) and isinstance(statement.table, Table):
            self.insert = bulk.bulk_insert(self.sql, statement.table, names, dialect)
        returned = list(statement.exported_columns) if not isinstance(statement, Update) else []
        self._readers = [(at, reader) for at, column in enumerate(returned) if (reader := _reader(column, dialect))]
        self.record: Any = namedtuple("_record", [column.key for column in returned])  # type: ignore[misc]  # noqa: PYI024 - columns are data

    def bind(self, values: Values) -> tuple[Any, ...]:
        given = {**self._constants, **values} if self._constants else values
        return tuple([given[name] if binder is None else binder(given[name]) for name, binder in self._binders])

    def read(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        if not self._readers:
            return [self.record._make(row) for row in rows]
        return [self.record._make(self._converted(row)) for row in rows]

    def _converted(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for at, reader in self._readers:
            values[at] = reader(values[at])
        return values


Binder = Callable[[Any], Any]
_POSTGRESQL: Final = postgresql.psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
"""Values by position, as SQLite has them."""


def _binder(type_: TypeEngine[Any], dialect: Dialect) -> Binder | None:
    return type_.dialect_impl(dialect).bind_processor(dialect)


def _reader(column: ColumnElement[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return column.type.dialect_impl(dialect).result_processor(dialect, None)


def _all_or_none(driver: Any, insert: bulk.Insert, bound: bulk.Rows) -> bool:
    """Insert all of these rows at once or, where one of them is there already, none."""
    driver.execute("SAVEPOINT all_or_none")
    whole = insert(driver, bound)[0] == len(bound)
    driver.execute("RELEASE all_or_none" if whole else "ROLLBACK TO all_or_none")
    return whole


class _Driving:
    """The driver's own connection; its errors come out as SQLAlchemy's, without the values: people said them."""

    __slots__ = ("_connection", "_sql")

    def __init__(self, connection: Connection, sql: str) -> None:
        self._connection = connection
        self._sql = sql

    def __enter__(self) -> Any:
        return self._connection.connection.driver_connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        dialect = self._connection.dialect
        if not isinstance(error, dialect.loaded_dbapi.Error):
            return
        driver: Any = self._connection.connection.driver_connection
        broken = dialect.is_disconnect(error, driver, None)
        if broken:
            self._connection.invalidate(error)
        raise DBAPIError.instance(
            self._sql,
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=broken,
            dialect=dialect,
        ) from error
