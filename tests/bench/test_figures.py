"""What the benchmarks make of their figures."""

import os
import subprocess
import sys

import pytest

from bridge.store.database import Store
from bridge.store.ledger import ledger
from tests.bench.fill import fill
from tests.bench.growth import growth, second_half
from tests.bench.plan import Load, Message, nodes, rows
from tests.bench.table import Table, machine, verdict
from tests.bench.usage import cpu_seconds, family, resident_kib


def test_a_straight_line_is_found_with_no_doubt() -> None:
    found = growth([(minute, 100.0 + 7 * minute) for minute in range(10)])
    assert found.slope == pytest.approx(7)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert str(found) == "+7.0 ± 0.0"


def test_noise_around_a_level_is_no_growth() -> None:
    found = growth([(minute, 100.0 + (5 if minute % 2 else -5)) for minute in range(40)])
    assert abs(found.slope) < found.error


def test_the_error_is_that_of_the_textbook() -> None:
    # Residuals of 3/2 + x/2: -1/2, 1, -1/2; their squares' sum by n - 2, by the spread of x, 2
    found = growth([(0, 1), (1, 3), (2, 2)])
    assert found.slope == pytest.approx(0.5)
    assert found.error == pytest.approx((1.5 / 1 / 2) ** 0.5)


def test_two_samples_prove_no_line() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        growth([(0, 1), (1, 2)])


def test_the_second_half_is_told_by_time_and_not_by_count() -> None:
    assert second_half([(0, 1), (0.1, 2), (0.2, 3), (9, 4), (10, 5)]) == [(9, 4), (10, 5)]


def test_a_table_is_markdown_and_its_rows_come_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("what", "figure", title="Figures")
    table.row("a | b", verdict(met=False))
    assert capsys.readouterr().out == "\n### Figures\n\n| what | figure |\n|---|---|\n| a \\| b | **missed** |\n"
    with pytest.raises(AssertionError, match="1 cells under 2 columns"):
        table.row("alone")


def test_the_machine_is_told_with_what_runs_on_it() -> None:
    assert f"Python {sys.version.split(maxsplit=1)[0]}" in machine()


def test_usage_is_that_of_the_process_and_of_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "sum(range(10**6)); input()"], stdin=subprocess.PIPE) as child:
        assert set(family(os.getpid())) >= {os.getpid(), child.pid}
        assert resident_kib(child.pid) > 0
        child.communicate(b"\n")
    assert cpu_seconds([child.pid]) == 0  # gone: it counts for its parent from now on
    assert cpu_seconds([os.getpid()]) > 0


async def test_a_filled_database_balances_and_holds_a_past_for_each_conversation(store: Store) -> None:
    fill(store.engine, 50)
    books = await store.read(ledger)
    assert books.accepted == books.answered == 50


MESSAGE = Message(bridge_ms=3, database_ms=0.9, inserted=9, updated=6, wal_bytes=10_000, disk_bytes=7_000)


def test_a_plan_is_what_one_message_takes_times_their_number() -> None:
    told = {what: figure for what, figure, _ in rows(MESSAGE, Load(rate=10_000, agent_seconds=5))}
    assert told["cores busy with the bridge"] == "30.0"
    assert told["nodes, one core each"] == "50"
    assert told["WAL, MB a second"] == "100"
    assert told["database grows, GB a day"] == "6,048"
    assert told["connections to the database"] == "350"
    assert told["turns in flight"] == "50,000"
    assert told["turns in flight at each node"] == "1,000"


def test_cells_share_the_messages_and_a_rest_of_a_node_is_a_node() -> None:
    assert nodes(MESSAGE, Load(rate=10_000, agent_seconds=5, cells=5)) == 10
    assert nodes(MESSAGE, Load(rate=10_010, agent_seconds=5, cells=5)) == 11
