"""What `check` does: all that would be served is built once, over a database that is thrown away."""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from bridge import loading
from bridge.clock import SystemClock
from bridge.errors import ConfigError
from bridge.settings import Settings
from bridge.store.database import Store
from bridge.store.engine import open_engine
from bridge.store.migrations import migrate
from bridge.world import World, adapter_settings


async def problems_of(config: Path | None, environ: Mapping[str, str], told: ConfigError) -> ConfigError:
    """What loading told, and what only building the rest of it finds."""
    try:
        await rehearse(loading.load_sound_part(config, environ, adapter_settings))
    except ConfigError as error:
        return ConfigError(list(dict.fromkeys([*told.problems, *error.problems])))
    return told


async def rehearse(settings: Settings) -> None:
    """Build all that `serve` would build, over an empty database. Raises ConfigError with what only building finds."""
    open_engine(settings.bridge.database_url).dispose()  # which connects nowhere
    with tempfile.TemporaryDirectory(prefix="agent-bridge-check-") as folder:
        async with AsyncExitStack() as stack:
            clock = SystemClock()
            store = Store.open(f"sqlite:///{folder}/check.db", clock)
            stack.push_async_callback(store.close)
            await asyncio.to_thread(migrate, store.engine)
            stack.callback(_clear, _missing_folders(settings.bridge.files_url))
            _ = (await World.open(settings, store, clock, stack)).routes


def _missing_folders(files_url: str) -> list[Path]:
    """The folders that opening the place of files makes, the innermost first."""
    place = Path(files_url).absolute()
    with suppress(OSError):  # no name for a folder, which opening it tells
        return [] if "://" in files_url else [folder for folder in (place, *place.parents) if not folder.exists()]
    return []


def _clear(made: list[Path]) -> None:
    """They could be made; to have them is for who serves, whoever that is on this machine."""
    with suppress(OSError, ValueError):  # not made after all, or in use already
        for folder in made:
            folder.rmdir()
