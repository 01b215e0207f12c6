"""Between values as the code has them and values as a driver takes them and gives them."""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol, TypeAlias

from sqlalchemy import ColumnElement, Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Values: TypeAlias = Mapping[str, Any]
Binder: TypeAlias = Callable[[Any], Any]


class Record(Protocol):
    """A row; its columns are read by name."""

    def __getattr__(self, name: str) -> Any: ...


class Binding:
    """A statement's parameters in their order."""

    def __init__(self, compiled: SQLCompiler, dialect: Dialect) -> None:
        names = compiled.positiontup or ()
        self._constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
        binders = [(at, binder(compiled.binds[name].type, dialect)) for at, name in enumerate(names)]
        self._binders = [(at, bound) for at, bound in binders if bound is not None]
        # half the time of picking them one by one; of fewer than two it would make no tuple
        self._pick: Callable[[Values], Sequence[Any]] = (
            itemgetter(*names) if len(names) > 1 else lambda values: [values[name] for name in names]
        )

    def __call__(self, values: Values) -> tuple[Any, ...]:
        """What the driver takes."""
        given = list(self._pick({**self._constants, **values} if self._constants else values))
        for at, bound in self._binders:
            given[at] = bound(given[at])
        return tuple(given)


class Reading:
    """A statement's rows as `Record`s."""

    def __init__(self, columns: Iterable[ColumnElement[Any]], dialect: Dialect) -> None:
        columns = list(columns)
        self._readers = [(at, reader) for at, column in enumerate(columns) if (reader := _reader(column, dialect))]
        self.record: Any = namedtuple("_record", [column.key for column in columns])  # type: ignore[misc]  # noqa: PYI024 - columns are data

    def __call__(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """What the driver gave, converted."""
        if not self._readers:
            return [self.record._make(row) for row in rows]
        return [self.record._make(self._converted(row)) for row in rows]

    def _converted(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for at, reader in self._readers:
            values[at] = reader(values[at])
        return values


def binder(type_: TypeEngine[Any], dialect: Dialect) -> Binder | None:
    """What makes a value of this type one for the driver; None where it is one already."""
    return type_.dialect_impl(dialect).bind_processor(dialect)


def _reader(column: ColumnElement[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return column.type.dialect_impl(dialect).result_processor(dialect, None)
