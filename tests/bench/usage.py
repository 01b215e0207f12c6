"""What processes use, as Linux counts it."""

import os
import resource
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> float:
    """Memory of a process that is really there."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1024


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes, and of their children that are gone."""
    return sum(_cpu(pid) for pid in pids)


def family(pid: int) -> list[int]:
    """A process and its children of now."""
    return [pid, *(child for child in _processes() if _parent(child) == pid)]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on: the name before it may hold anything. Nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _parent(pid: int) -> int:
    found = _fields(pid)
    return int(found[1]) if found else 0


def _cpu(pid: int) -> float:
    return sum(int(ticks) for ticks in _fields(pid)[11:15]) / _TICK
