"""What every command shares: its options, the configuration, and looking at the rows."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Concatenate, Final, ParamSpec, TypeVar

import typer
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from bridge import console, world
from bridge.errors import BridgeError
from bridge.secrets_file import read_or_lend
from bridge.settings import Settings
from bridge.store.engine import open_engine
from bridge.store.migrations import is_behind
from bridge.units import duration_from_text

P = ParamSpec("P")
T = TypeVar("T")

DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration; else BRIDGE_CONFIG, ./bridge.toml, or the embedded default."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
SourceName = Annotated[str | None, typer.Option("--source", help="Only of this source.")]


def moment(text: str) -> datetime:
    """A point in time: so long ago ("2h"), or an ISO date or time (UTC unless it says otherwise)."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.now(UTC) - duration_from_text(text)
        except ValueError as error:
            raise typer.BadParameter(f'{error}; or an ISO time such as "2026-11-22T12:00"') from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=moment, metavar="WHEN", help='Not older than that: "2h", or an ISO time.'),
]


def settings_from(config: Path | None) -> Settings:
    """The configuration, for a command that only looks: nothing is made. Raises ConfigError."""
    return world.load_settings(config, os.environ, read_or_lend)


def settings_to_serve(config: Path | None) -> Settings:
    """The configuration, with secrets that are there from then on. Raises ConfigError."""
    return world.load_settings(config, os.environ)


def read(
    config: Path | None, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Look at the rows, also while a server runs: nothing is locked and nothing is made."""
    with _there(settings_from(config).bridge.database_url) as engine, engine.connect() as connection:
        return function(connection, *args, **kwargs)


def check_database(database_url: str) -> None:
    """Raises BridgeError where there is nothing yet to work on."""
    with _there(database_url):
        pass


@contextmanager
def _there(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    try:
        if is_behind(engine):
            raise BridgeError("The database is not there yet, or older than this program: run `agent-bridge migrate`.")
        yield engine
    except DBAPIError as error:
        raise BridgeError(f"The database cannot be read: {error.orig}") from error
    finally:
        engine.dispose()


def show(view: object | None, missing: str, *, as_json: bool) -> None:
    """Print one thing, or say that it is not there."""
    if view is None:
        raise BridgeError(missing)
    if as_json:
        console.print_json(view)
    else:
        console.print_fields(view)
