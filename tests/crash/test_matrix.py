"""The crash matrix in short: killed at every boundary, nothing is lost, doubled, out of order or worked on twice."""

import asyncio
from pathlib import Path

import pytest

from tests.conftest import fresh_database
from tests.crash.cells import BOUNDARIES, Boundary, Cell, Findings, run

AT_ONCE = 3


async def _faults(cells: list[Cell], folder: Path) -> dict[str, list[str]]:
    """What is broken, by boundary. Several cells at a time, since each mostly waits."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, cell: Cell) -> list[str]:
        async with places:
            own = folder / str(number)
            own.mkdir()
            return (await run(cell, own)).faults(cell)

    found = await asyncio.gather(*(one(number, cell) for number, cell in enumerate(cells)))
    return {cell.boundary.name: faults for cell, faults in zip(cells, found, strict=True) if faults}


async def test_killed_at_any_boundary_one_process_keeps_every_promise_when_it_is_back(tmp_path: Path) -> None:
    cells = [
        Cell(
            boundary=boundary,
            database_url=f"sqlite:///{tmp_path}/{number}/bridge.db",
            redelivered=number % 2 == 0,
            conversations=4,
        )
        for number, boundary in enumerate(BOUNDARIES)
    ]
    assert await _faults(cells, tmp_path) == {}


async def test_killed_at_any_boundary_another_node_takes_over(tmp_path: Path, postgres: str) -> None:
    chosen = [each for each in BOUNDARIES if each.held_by != "bridge" or each.name == "result known"]
    cells = [
        Cell(boundary=boundary, database_url=fresh_database(postgres), redelivered=True, conversations=4)
        for boundary in chosen
    ]
    assert await _faults(cells, tmp_path) == {}


async def test_an_agent_that_ignores_keys_works_twice_inside_the_open_call_and_nowhere_else(tmp_path: Path) -> None:
    open_call = next(each for each in BOUNDARIES if each.in_the_open_call)
    cell = Cell(
        boundary=open_call,
        database_url=f"sqlite:///{tmp_path}/bridge.db",
        redelivered=True,
        honours_keys=False,
        conversations=4,
    )
    findings = await run(cell, tmp_path)
    assert findings.faults(cell) == []
    assert findings.worked_again == 4


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda each: each.name)
def test_every_boundary_allows_only_what_nobody_could_prevent(boundary: Boundary) -> None:
    """The table's own rules: a repeated call outside the open call is a fault, wherever it is counted."""
    cell = Cell(boundary=boundary, database_url="sqlite://", redelivered=False)
    clean = Findings(accepted=20, balanced=True)
    assert clean.faults(cell) == []
    again = Findings(accepted=20, balanced=True, invoked_again=1)
    assert bool(again.faults(cell)) is not boundary.in_the_open_call
    assert Findings(accepted=20, balanced=True, lost=1).faults(cell) == ["lost 1"]
    assert Findings(accepted=20, balanced=True, duplicated=1).faults(cell) == ["duplicated 1"]
    assert Findings(accepted=20).faults(cell) == ["the ledger does not balance"]
