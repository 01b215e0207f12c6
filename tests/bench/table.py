"""What the benchmarks print: Markdown tables, row by row as the figures come, and where they come from."""

import platform
import sqlite3
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import version


class Table:
    """Prints its head at once and a row whenever there is one: a run that is cut off has still said something."""

    def __init__(self, *columns: str, title: str = "") -> None:
        if title:
            say(f"\n### {title}\n")
        self._width = len(columns)
        row(*columns)
        say("|" + "---|" * len(columns))

    def row(self, *cells: str) -> None:
        assert len(cells) == self._width, f"{len(cells)} cells under {self._width} columns"
        row(*cells)


def row(*cells: str) -> None:
    """One line of a table whose head was printed before."""
    say("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def verdict(*, met: bool) -> str:
    """What a goal's column says. A goal that is missed is told, it is no failure of the run."""
    return "met" if met else "**missed**"


def middle(values: Sequence[float]) -> float:
    """The median, of at least one."""
    return statistics.median(values)


def machine() -> str:
    """One line on where this runs; absolute figures mean nothing without it."""
    cores = len(_models())
    libraries = ", ".join(f"{name} {version(name)}" for name in ("starlette", "uvicorn", "SQLAlchemy", "psycopg"))
    return (
        f"{cores} x {_models()[0]}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {libraries}"
    )


def _models() -> list[str]:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 - not a file
        found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found or ["unknown processor"]
