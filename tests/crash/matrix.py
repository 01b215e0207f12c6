"""`make crash-matrix`: the bridge is killed at every boundary, and a table tells what became of every message."""

import asyncio
import itertools
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg

from tests.conftest import postgres_server
from tests.crash.cells import BOUNDARIES, Cell, Findings, run

AT_ONCE = 4
HEAD = ("KILLED", "REDELIVERED", "DATABASE", "AGENT'S KEYS", "ACCEPTED", "LOST", "DUPLICATED", "INVOKED AGAIN",
        "WORKED AGAIN", "SENT AGAIN", "RESUMED IN", "")  # fmt: skip


def cells(admin: str) -> Iterator[Cell]:
    """Every boundary, with and without redelivery, on both databases; the open call also with an agent without keys."""
    for boundary, redelivered, kind in itertools.product(BOUNDARIES, (False, True), ("sqlite", "postgresql")):
        yield Cell(boundary=boundary, redelivered=redelivered, database_url=_database(kind, admin))
        if boundary.in_the_open_call:
            yield Cell(
                boundary=boundary, redelivered=redelivered, database_url=_database(kind, admin), honours_keys=False
            )


_numbers = itertools.count(1)


def _database(kind: str, admin: str) -> str:
    if kind == "sqlite":
        return "sqlite"
    name = f"matrix_{next(_numbers)}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    head, _, tail = admin.partition("/postgres?")
    return f"{head}/{name}?{tail}"


async def trial(cell: Cell, places: asyncio.Semaphore) -> tuple[Cell, Findings | None]:
    """One cell in a folder of its own; without findings where it did not come to its end in time."""
    async with places:
        with tempfile.TemporaryDirectory(prefix="crash-") as folder:
            if cell.database_url == "sqlite":
                cell = replace(cell, database_url=f"sqlite:///{folder}/bridge.db")
            try:
                return cell, await run(cell, Path(folder))
            except TimeoutError:
                return cell, None


async def main() -> int:
    """Print the table; 1 if any cell breaks a promise."""
    with postgres_server() as server:
        places = asyncio.Semaphore(AT_ONCE)
        trials = [asyncio.ensure_future(trial(cell, places)) for cell in cells(server.get_uri())]
        rows: list[tuple[str, ...]] = [HEAD]
        broken = 0
        for each in trials:
            cell, findings = await each
            faults = (
                findings.faults(cell) if findings else ["did not end in time: try it again with more PATIENCE_SECONDS"]
            )
            broken += bool(faults)
            rows.append(_row(cell, findings or Findings(), faults))
            sys.stderr.write(".")
            sys.stderr.flush()
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    verdict = f"{broken} of {len(trials)} cells break a promise." if broken else "Every promise held in every cell."
    sys.stdout.write(verdict + "\n")
    return 1 if broken else 0


def _row(cell: Cell, findings: Findings, faults: list[str]) -> tuple[str, ...]:
    return (
        cell.boundary.name,
        "yes" if cell.redelivered else "no",
        "PostgreSQL, 2 nodes" if cell.has_second_node else "SQLite",
        "kept" if cell.honours_keys else "ignored",
        *(
            str(number)
            for number in (
                findings.accepted, findings.lost, findings.duplicated, findings.invoked_again,
                findings.worked_again, findings.posted_again,
            )
        ),
        f"{findings.resumed_seconds:.1f} s",
        "; ".join(faults),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
