"""`agent-bridge deliveries`."""

from typing import Annotated

import typer

from bridge import console
from bridge.cli.operating import Wish, fulfil
from bridge.cli.reading import AsJson, Config, Limit, Since, SourceName, read
from bridge.model import DeliveryState
from bridge.operations import Operations
from bridge.store import reader

cli = typer.Typer(no_args_is_help=True, help="What is owed to platforms.")

State = Annotated[DeliveryState | None, typer.Option("--state", help="Only these.")]


@cli.command("list")
def deliveries_list(
    config: Config = None,
    source: SourceName = None,
    state: State = None,
    since: Since = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest deliveries, newest first."""
    found = read(config, reader.delivery_list, source=source, state=state, since=since, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        [(d.delivery_id, d.source, d.kind, d.state, d.attempt, d.remote_id, d.error) for d in found],
        "DELIVERY", "SOURCE", "KIND", "STATE", "TRIES", "REMOTE", "ERROR",
    )  # fmt: skip


@cli.command("retry")
def deliveries_retry(
    delivery_ids: Annotated[list[str] | None, typer.Argument(help="Which; or choose them by --state.")] = None,
    config: Config = None,
    source: SourceName = None,
    state: State = None,
    since: Since = None,
    limit: Limit = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try deliveries again now, oldest first, under the same ids. Exit 1 if any of them is refused."""
    if bool(delivery_ids) == (state is not None):
        raise typer.BadParameter("Give ids, or choose the deliveries by --state (with --source, --since, --limit).")
    if not delivery_ids:
        found = read(config, reader.delivery_list, source=source, state=state, since=since, limit=limit)
        delivery_ids = [view.delivery_id for view in reversed(found)]
    fulfil(config, [_wish(each, dry_run=dry_run) for each in delivery_ids], noun="delivery", as_json=as_json)


def _wish(delivery_id: str, *, dry_run: bool) -> Wish:
    async def alone(operations: Operations) -> object:
        return await operations.retry(delivery_id, dry_run=dry_run)

    body = {"dry_run": dry_run}
    return Wish(id=delivery_id, method="POST", path=f"deliveries/{delivery_id}/retry", body=body, alone=alone)
