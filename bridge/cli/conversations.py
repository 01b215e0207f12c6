"""`agent-bridge conversations`."""

import typer

from bridge import console
from bridge.cli.reading import AsJson, Config, Limit, SourceName, read, show
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
