"""Statements handed to the driver as they are: put into SQL once, with what their values and columns need.

A message runs through some thirty statements. SQLAlchemy's own way of executing one costs 60 to 100 us of Python, five
to ten times what SQLite needs for it; a prepared one costs what the driver costs (measured). Everything that is not
on the way of every message is executed in the usual way.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Insert, Select, Text, Update, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator

from bridge.documents import written
from bridge.store.binding import Binding, Reading, Record, Values
from bridge.store.bulk import POSTGRESQL, Bulk, OneByOne, bulk
from bridge.store.line import Sent, line

__all__ = ["Asked", "Prepared", "Record", "Values", "Words", "among"]


class Words(TypeDecorator[Collection[str]]):
    """Any number of words as one value, so that the statement is the same however many there are."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> str:
        words = list(value or ())
        return _array(words) if dialect.name == "postgresql" else written(words).decode()


def _array(words: Iterable[str]) -> str:
    """As PostgreSQL reads an array: psycopg's own way of writing one takes ten microseconds a word."""
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words)
    return "{" + ",".join([f'"{word}"' for word in quoted]) + "}"


class among(ColumnElement[bool]):  # noqa: N801 - reads like the operator it stands for
    """`column IN (…)` for as many words as the value `name` has."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.words = bindparam(name, type_=Words())


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, words = compiler.process(element.column, **kwargs), compiler.process(element.words, **kwargs)
    return f"{column} IN (SELECT value FROM json_each({words}))"  # noqa: S608 - both are put into SQL by the compiler


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, words = compiler.process(element.column, **kwargs), compiler.process(element.words, **kwargs)
    return f"{column} = ANY(CAST({words} AS VARCHAR[]))"


class Asked:
    """A question that was put; several of them share the way to the database until the first answer is wanted."""

    __slots__ = ("_reading", "_sent")

    def __init__(self, sent: Sent, reading: Reading) -> None:
        self._sent = sent
        self._reading = reading

    def rows(self) -> list[Any]:
        """Its rows as `Record`s."""
        return self._reading(self._sent.rows())


class Prepared:
    """One statement. Which columns an insert fills is told by its first row."""

    def __init__(self, statement: Select[Any] | Update | Insert) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}
        self._bulks: dict[tuple[str, tuple[str, ...]], Bulk] = {}

    def ask(self, connection: Connection, values: Values | None = None) -> Asked:
        """Run it once, in its order among the others; what it found can be asked later."""
        form = self._form(connection.dialect)
        return Asked(line(connection).send(connection, form.sql, form.binding(values or {})), form.reading)

    def rows(self, connection: Connection, values: Values | None = None) -> list[Any]:
        """Run it once; its rows as `Record`s."""
        return self.ask(connection, values).rows()

    def words(self, connection: Connection, values: Values | None = None) -> list[Any]:
        """Run it once; the first column of each of its rows."""
        return [row[0] for row in self.rows(connection, values)]

    def run(self, connection: Connection, values: Sequence[Values]) -> None:
        """Run it for each of these values, no two of which change the same row."""
        if values:
            self._bulk(connection, values[0]).run(connection, values)

    def insert_new(self, connection: Connection, values: Sequence[Values], *key: str) -> list[Any]:
        """Insert those of these rows that do not conflict; the `key` of each that went in, as `Record`s.

        The statement ignores conflicts and returns the key.
        """
        found = self._bulk(connection, values[0])
        assert not isinstance(found, OneByOne), "it is an insert"
        return found.insert_new(connection, values, key)

    @property
    def spellings(self) -> Sequence[str]:
        """The SQL it was put into so far."""
        return [form.sql for form in self._forms.values()] + [bulk.sql for bulk in self._bulks.values()]

    def _form(self, dialect: Dialect) -> "_Form":
        form = self._forms.get(dialect.name)
        if form is None:
            form = self._forms[dialect.name] = _Form(self._statement, dialect)
        return form

    def _bulk(self, connection: Connection, values: Values) -> Bulk:
        statement, dialect = self._statement, connection.dialect
        assert not isinstance(statement, Select), "it changes something"
        key = (dialect.name, tuple(values) if isinstance(statement, Insert) else ())
        found = self._bulks.get(key)
        if found is None:
            found = self._bulks[key] = bulk(statement, tuple(values), dialect)
        return found


class _Form:
    """A statement that runs once, in one database's words."""

    def __init__(self, statement: Select[Any] | Update | Insert, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=POSTGRESQL if dialect.name == "postgresql" else dialect)
        assert isinstance(compiled, SQLCompiler)
        self.sql = compiled.string
        self.binding = Binding(compiled, dialect)
        self.reading = Reading(statement.exported_columns if isinstance(statement, Select) else (), dialect)
