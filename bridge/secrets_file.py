"""Secrets the bridge makes for itself, once, in files that only their owner can read."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bridge.errors import ConfigError


def read_or_make(path: Path, value: str) -> str:
    """What the file holds; where there is none, `value`, which it holds from then on.

    Processes that start together agree on one value, and none ever reads half of it: the file gets
    its name only when it is whole and on the disk. Raises ConfigError where it cannot be read or made.
    """
    with _told(path):
        with suppress(FileNotFoundError):
            return _read(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _publish(path, value)
        return _read(path)


def read_or_lend(path: Path, value: str) -> str:
    """What the file holds; where there is none, `value`, which nobody keeps: for those who only look.

    Raises ConfigError where the file cannot be read.
    """
    with _told(path):
        return _read(path) if path.exists() else value


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError([f"Cannot keep a generated secret in {path}: {error.strerror or error}."]) from error


def _read(path: Path) -> str:
    if text := path.read_text(encoding="ascii", errors="replace").strip():
        return text
    raise ConfigError([f"{path} is empty. Restore it from a backup; only if there is nothing to read yet, delete it."])


def _publish(path: Path, value: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first; its value counts
            os.link(draft, path)  # unlike a rename, never replaces
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
