"""`agent-bridge destinations`."""

from enum import StrEnum
from typing import Annotated

import typer

from bridge import console
from bridge.cli.operating import Wish, fulfil
from bridge.cli.reading import AsJson, Config, Limit, SourceName, read
from bridge.operations import Operations
from bridge.store.destinations import destination_list

cli = typer.Typer(no_args_is_help=True, help="Callback targets that fail, or are not called any more.")


class State(StrEnum):
    """How a destination stands."""

    FAILING = "failing"
    DISABLED = "disabled"


@cli.command("list")
def destinations_list(
    config: Config = None,
    source: SourceName = None,
    state: Annotated[State | None, typer.Option("--state", help="Only these.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Those that failed last, newest first. A destination that is called and answers is not listed."""
    found = read(config, destination_list, source=source, state=state, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        [(d.destination_id, d.source, d.state, d.failures, d.failing_since, d.address, d.error) for d in found],
        "DESTINATION", "SOURCE", "STATE", "FAILURES", "SINCE", "ADDRESS", "ERROR",
    )  # fmt: skip


@cli.command("enable")
def destinations_enable(
    destination_ids: Annotated[list[str], typer.Argument(help="Which.")],
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Call disabled destinations again. What died meanwhile is set going by `agent-bridge deliveries retry`."""
    fulfil(config, [_wish(each, dry_run=dry_run) for each in destination_ids], noun="destination", as_json=as_json)


def _wish(destination_id: str, *, dry_run: bool) -> Wish:
    async def alone(operations: Operations) -> object:
        return await operations.enable(destination_id, dry_run=dry_run)

    path = f"destinations/{destination_id}/enable"
    return Wish(id=destination_id, method="POST", path=path, body={"dry_run": dry_run}, alone=alone)
