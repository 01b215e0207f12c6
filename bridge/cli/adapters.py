"""What adapters add to the command line: `agent-bridge {adapter} …`, loaded only when it is asked for."""

import importlib
from pathlib import Path

import typer
from typer.core import TyperGroup

from bridge.adapter import Configured
from bridge.cli.reading import settings_from
from bridge.errors import ConfigError

HOME = "adapters"


class WithAdapters(TyperGroup):
    """The commands of the bridge itself, and behind them those of each adapter that has some."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # typer's context is click's
        """The names, without importing what they stand for."""
        return [*super().list_commands(ctx), *_names()]

    def get_command(self, ctx: typer.Context, cmd_name: str):  # type: ignore[no-untyped-def,override]  # noqa: ANN201
        """One command by its name, or None."""
        found = super().get_command(ctx, cmd_name)
        if found is not None or cmd_name not in _names():
            return found
        module = importlib.import_module(f"{HOME}.{cmd_name}.commands")
        found = typer.main.get_command(module.commands(lambda config, source: find_source(cmd_name, config, source)))
        found.name = cmd_name
        return found


def find_source(adapter: str, config: Path | None, name: str | None) -> Configured:
    """The source of this name, or the only one of its adapter. Raises ConfigError."""
    settings = settings_from(config)
    fitting = {s.name: s for s in settings.sources.values() if s.common.adapter in {adapter, f"{HOME}.{adapter}"}}
    if name is None and len(fitting) == 1:
        (name,) = fitting
    if name not in fitting:
        known = ", ".join(sorted(fitting)) or "none"
        missing = "say which source is meant" if name is None else "there is no such source"
        raise ConfigError([f"sources.{name or '…'}: {missing}; those with adapter = {adapter!r} are: {known}."])
    source = fitting[name]
    return Configured(source=name, settings=source.own, public_url=settings.public_url(source))


def _names() -> list[str]:
    home = importlib.import_module(HOME)
    return sorted(path.parent.name for folder in home.__path__ for path in Path(folder).glob("*/commands.py"))
