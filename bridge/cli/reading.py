"""What every command shares: its options, the configuration, and looking at the rows."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Concatenate, Final, ParamSpec, TypeVar

import typer
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bridge import console, world
from bridge.errors import BridgeError
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
    """The configuration. Raises ConfigError."""
    return world.load_settings(config, os.environ)


def read(
    config: Path | None, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Look at the rows, also while a server runs: nothing is locked and nothing is made."""
    engine = open_engine(settings_from(config).bridge.database_url)
    try:
        if is_behind(engine):
            raise BridgeError("The database is not there yet, or older than this program: run `agent-bridge migrate`.")
        with engine.connect() as connection:
            return function(connection, *args, **kwargs)
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
