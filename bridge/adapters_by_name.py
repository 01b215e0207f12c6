"""What `adapter = "…"` in the configuration names: a module that builds an adapter."""

import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final, get_args

from pydantic import BaseModel

from bridge.abilities import misfits
from bridge.adapter import Adapter, Kit
from bridge.errors import ConfigError
from bridge.options import Busy
from bridge.problems import unknown_name

HOME: Final = "adapters"
"""Where the adapters are that come along."""
_OF_YOURS: Final = (
    """; one of your own is named as Python imports it, such as "plugins.acme_chat", with a dot at least"""
)


def adapter_names() -> list[str]:
    """The adapters that come along, whether configured or not."""
    return [module.name for module in pkgutil.iter_modules(importlib.import_module(HOME).__path__)]


def adapter_module(name: str) -> ModuleType:
    """The module of an adapter: a name under `adapters/`, or a dotted path, looked for in the working directory, too.

    It has `Settings` and `build`. Raises LookupError with a sentence.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise LookupError("is no name of a module" + _OF_YOURS)
    path = name if "." in name else f"{HOME}.{name}"
    if "." in name and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # an installed command does not look there by itself
    try:
        module = importlib.import_module(path)
    except Exception as error:  # whatever a module of the operator does as it is imported
        if isinstance(error, ModuleNotFoundError) and error.name == path:
            raise LookupError("is no adapter" + unknown_name(name, adapter_names()) + _OF_YOURS) from error
        raise LookupError(f"cannot import the adapter {path!r}: {_said(error)}") from error
    if not (_is_model(getattr(module, "Settings", None)) and callable(getattr(module, "build", None))):
        raise LookupError(f"{path!r} is no adapter: it needs Settings, a pydantic model, and build(settings, kit)")
    if wrong := _wrong_usage(module):
        raise LookupError(f"{path!r} is no adapter: {wrong}")
    return module


def build(name: str, settings: BaseModel, kit: Kit) -> Adapter:
    """The adapter of that name, for one source. Raises ConfigError, or ValueError about one of the settings."""
    place = f"sources.{kit.source}.adapter"
    try:
        adapter = adapter_module(name).build(settings, kit)
    except (ConfigError, ValueError):
        raise
    except Exception as error:  # whatever else a module of the operator does
        raise ConfigError([f"{place}: {name!r} cannot be built: {_said(error)}"]) from error
    if not isinstance(adapter, Adapter):
        raise ConfigError([f"{place}: what {name!r} builds is no adapter: it needs max_chars, receive and send"])
    if found := list(misfits(adapter)):
        raise ConfigError([f"{place}: what {name!r} builds does not fit: {misfit}" for misfit in found])
    return adapter


def _wrong_usage(module: ModuleType) -> str | None:
    """What is wrong with what suits this platform where the configuration says nothing."""
    busy, most = getattr(module, "BUSY", "queue"), getattr(module, "MAX_BODY", 1)
    if busy not in get_args(Busy):
        return f"its BUSY should be one of {', '.join(get_args(Busy))}"
    return None if isinstance(most, int) and most > 0 else "its MAX_BODY should be a number of bytes"


def _is_model(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


def _said(error: Exception) -> str:
    if isinstance(error, ImportError | SyntaxError):  # which name their place themselves
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
