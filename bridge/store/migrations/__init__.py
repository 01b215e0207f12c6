"""Brings a database to the newest schema: only when it is behind, and by one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from bridge.errors import StoreUnavailable
from bridge.store.engine import is_sqlite

_ADVISORY_LOCK = 0x0A6E_7B71  # any number of our own; held for the length of a migration


def is_behind(engine: Engine) -> bool:
    """Whether the schema is older than this program. Reads one row and changes nothing. Raises StoreUnavailable."""
    if is_sqlite(engine) and not Path(str(engine.url.database)).exists():
        return True  # looking would make the file
    with _told(), engine.connect() as connection:
        current, script = _current(connection), ScriptDirectory.from_config(_config(None))
        if current not in {None, *(revision.revision for revision in script.walk_revisions())}:
            raise StoreUnavailable(
                f"The database belongs to a newer version of this program (its schema is {current}): "
                "install that version again, or restore the backup that was made before it."
            )
        return current != script.get_current_head()


def migrate(engine: Engine, *, patience: str = "10s") -> bool:
    """Bring the schema up to date. False if there was nothing to do. Safe to run on several nodes at once.

    Another one that migrates is waited for as long as that takes; nodes at work are waited for with `patience` only,
    since whoever comes behind would wait, too. Raises StoreUnavailable.
    """
    if not is_behind(engine):
        return False  # no DDL, not even a harmless-looking one: it would wait for locks of nodes at work
    with _told(), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), {"patience": patience})
        if _current(connection) == _newest():
            return False
        command.upgrade(_config(connection), "head")
    return True


@contextmanager
def _told() -> Iterator[None]:
    """What the database says, in a sentence: a start is where an address, a password or a file turns out wrong."""
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable(f"The database cannot be used: {' '.join(str(error.orig).split())}") from error


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _newest() -> str | None:
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
