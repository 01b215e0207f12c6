"""`agent-bridge conversations`."""

from typing import Annotated

import typer

from bridge import console
from bridge.cli.operating import Wish, fulfil
from bridge.cli.reading import AsJson, Config, Limit, SourceName, read, show
from bridge.operations import Operations
from bridge.store import reader

cli = typer.Typer(no_args_is_help=True, help="The map from conversations to agent threads.")


@cli.command("list")
def conversations_list(
    config: Config = None, source: SourceName = None, key: str | None = None, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """The conversations used last, newest first."""
    found = read(config, reader.conversation_list, source=source, key=key, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        [(c.conversation_id, c.source, c.key, c.task_id, c.turns, c.last_at) for c in found],
        "CONVERSATION", "SOURCE", "KEY", "TASK", "TURNS", "LAST",
    )  # fmt: skip


@cli.command("show")
def conversations_show(conversation_id: str, config: Config = None, as_json: AsJson = False) -> None:
    """One conversation."""
    show(
        read(config, reader.conversation, conversation_id),
        f"There is no conversation {conversation_id}.",
        as_json=as_json,
    )


DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")]


@cli.command("stop")
def conversations_stop(
    conversation_id: str, config: Config = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Cancel what waits and stop what runs."""

    async def alone(operations: Operations) -> object:
        return await operations.stop(conversation_id, dry_run=dry_run)

    path, body = f"conversations/{conversation_id}/stop", {"dry_run": dry_run}
    wish = Wish(id=conversation_id, method="POST", path=path, body=body, alone=alone)
    fulfil(config, [wish], noun="conversation", as_json=as_json)


@cli.command("erase")
def conversations_erase(
    conversation_id: str,
    config: Config = None,
    dry_run: DryRun = False,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget what was said and answered, files included; the counts stay. There is no way back."""
    if not (sure or dry_run):
        typer.confirm(f"Erase {conversation_id} for good?", abort=True, err=True)

    async def alone(operations: Operations) -> object:
        return await operations.erase(conversation_id, dry_run=dry_run)

    path, body = f"conversations/{conversation_id}", {"dry_run": dry_run}
    wish = Wish(id=conversation_id, method="DELETE", path=path, body=body, alone=alone)
    fulfil(config, [wish], noun="conversation", as_json=as_json)
