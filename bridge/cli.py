"""The command line. Exit 0: done; 1: the thing failed; 2: wrong use or configuration."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Concatenate, ParamSpec, TypeVar

import typer
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bridge import console, demo, server, standalone, trial, world
from bridge.clock import SystemClock
from bridge.errors import BridgeError, ConfigError
from bridge.settings import Settings
from bridge.store import ledger as counts
from bridge.store import reader
from bridge.store.database import Store
from bridge.store.engine import open_engine
from bridge.store.migrations import is_behind, migrate

P = ParamSpec("P")
T = TypeVar("T")

FAILED, MISUSED = 1, 2

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration; else BRIDGE_CONFIG, ./bridge.toml, or the embedded default."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An agent in Slack, behind signed webhooks and behind email, that never loses a message.",
)
conversations = typer.Typer(no_args_is_help=True, help="The map from conversations to agent threads.")
messages = typer.Typer(no_args_is_help=True, help="What was received, and what became of it.")
deliveries = typer.Typer(no_args_is_help=True, help="What is owed to platforms.")
cli.add_typer(conversations, name="conversations")
cli.add_typer(messages, name="messages")
cli.add_typer(deliveries, name="deliveries")


def main() -> None:
    """The entry point of `agent-bridge`: every expected error becomes a sentence and an exit code."""
    try:
        cli()
    except ConfigError as error:
        console.print_error("The configuration cannot be used:")
        for problem in error.problems:
            console.print_error(f"  {problem}")
        sys.exit(MISUSED)
    except BridgeError as error:
        console.print_error(str(error))
        sys.exit(FAILED)


@cli.command("serve")
def serve_command(config: Config = None) -> None:
    """Run the bridge until SIGTERM."""
    asyncio.run(server.serve(_settings(config)))


@cli.command("demo")
def demo_command() -> None:
    """Show one conversation from the signed webhook to the signed answer, on this machine alone."""
    sys.exit(0 if asyncio.run(demo.run()) else FAILED)


@cli.command()
def check(config: Config = None) -> None:
    """Validate the configuration and say what it would serve."""
    settings = _settings(config)
    console.print_table(
        [(name, o.kind, o.brain if o.kind == "embedded" else o.base_url) for name, o in settings.agents.items()],
        "AGENT", "KIND", "WHERE",
    )  # fmt: skip
    console.print_table(
        [(s.name, s.common.adapter, s.common.agent, world.public_url(settings, s)) for s in settings.sources.values()],
        "SOURCE", "ADAPTER", "AGENT", "RECEIVES AT",
    )  # fmt: skip
    for warning in world.warnings(settings):
        console.print_error(f"warning: {warning}")


@cli.command("migrate")
def migrate_command(config: Config = None) -> None:
    """Bring the database to the newest schema; does nothing where it is there already."""
    store_url = _settings(config).bridge.database_url
    asyncio.run(_migrate(store_url))


@cli.command()
def sign(
    source: str,
    text: Annotated[str, typer.Option(help="What to say.")] = "Hello, who are you?",
    body: Annotated[str | None, typer.Option(help="The whole body, instead of --text.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a signed request that this source accepts, as a curl line to paste within five minutes."""
    settings = _settings(config)
    content = body if body is not None else json.dumps({"text": text})
    envelope = trial.signed_request(settings, source, content.encode())
    if as_json:
        url = trial.address(settings, envelope)
        console.print_json({"url": url, "method": "POST", "headers": dict(envelope.headers), "body": content})
    else:
        console.print_line(trial.curl(settings, envelope))


@cli.command()
def agent(
    api_key: Annotated[list[str], typer.Option(help="A key that clients must send; may be repeated.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT")] = "127.0.0.1:8090",
    database: Annotated[str, typer.Option(help="Where tasks are kept.")] = "sqlite:///data/agent.db",
    agent_id: Annotated[str, typer.Option(help="The agent's id in the URLs.")] = "demo",
) -> None:
    """Serve the embedded agent alone, for anything that speaks the contract. Needs no configuration."""
    asyncio.run(standalone.serve(listen, api_key, database, agent_id))


@cli.command()
def ledger(config: Config = None, as_json: AsJson = False) -> None:
    """Prove that nothing disappeared: exit 1 if the books do not balance."""
    found = _read(config, counts.ledger)
    report = counts.report(found)
    if as_json:
        console.print_json(report)
    else:
        console.print_table(report.items(), "MESSAGES", "COUNT")
    if not found.balanced:
        sys.exit(FAILED)


@conversations.command("list")
def conversations_list(
    config: Config = None, source: str | None = None, key: str | None = None, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """The conversations used last, newest first."""
    found = _read(config, reader.conversation_list, source=source, key=key, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        [(c.conversation_id, c.source, c.key, c.task_id, c.turns, c.last_at) for c in found],
        "CONVERSATION", "SOURCE", "KEY", "TASK", "TURNS", "LAST",
    )  # fmt: skip


@conversations.command("show")
def conversations_show(conversation_id: str, config: Config = None, as_json: AsJson = False) -> None:
    """One conversation."""
    _show(
        _read(config, reader.conversation, conversation_id),
        f"There is no conversation {conversation_id}.",
        as_json=as_json,
    )


@messages.command("list")
def messages_list(
    config: Config = None,
    source: str | None = None,
    state: str | None = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest messages, newest first."""
    found = _read(config, reader.message_list, source=source, state=state, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        [(m.message_id, m.source, m.state, m.task_id, m.received_at, m.text) for m in found],
        "MESSAGE", "SOURCE", "STATE", "TASK", "RECEIVED", "TEXT",
    )  # fmt: skip


@messages.command("show")
def messages_show(message_id: str, config: Config = None, as_json: AsJson = False) -> None:
    """One message with its journey: turn, task, deliveries."""
    _show(_read(config, reader.message, message_id), f"There is no message {message_id}.", as_json=as_json)


@deliveries.command("list")
def deliveries_list(
    config: Config = None, state: str | None = None, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """The newest deliveries, newest first."""
    found = _read(config, reader.delivery_list, state=state, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        [(d.delivery_id, d.source, d.kind, d.state, d.attempt, d.remote_id, d.error) for d in found],
        "DELIVERY", "SOURCE", "KIND", "STATE", "TRIES", "REMOTE", "ERROR",
    )  # fmt: skip


def _settings(config: Path | None) -> Settings:
    return world.load_settings(config, os.environ)


def _read(
    config: Path | None, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Look at the rows, also while a server runs: nothing is locked and nothing is made."""
    url = _settings(config).bridge.database_url
    engine = open_engine(url)
    try:
        if is_behind(engine):
            raise BridgeError("The database is not there yet, or older than this program: run `agent-bridge migrate`.")
        with engine.connect() as connection:
            return function(connection, *args, **kwargs)
    except DBAPIError as error:
        raise BridgeError(f"The database cannot be read: {error.orig}") from error
    finally:
        engine.dispose()


def _show(view: object | None, missing: str, *, as_json: bool) -> None:
    if view is None:
        raise BridgeError(missing)
    if as_json:
        console.print_json(view)
    else:
        console.print_fields(view)


async def _migrate(database_url: str) -> None:
    store = Store.open(database_url, SystemClock())  # takes the lock: never beside a running server on SQLite
    try:
        changed = await asyncio.to_thread(migrate, store.engine)
    finally:
        await store.close()
    console.print_error("The database is up to date." if not changed else "The database was migrated.")
