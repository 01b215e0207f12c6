"""The command line. Exit 0: done; 1: the thing failed; 2: wrong use or configuration."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
import typer
import uvloop

from bridge import console, demo, server, standalone, trial
from bridge.cli import conversations, deliveries, destinations, keys, messages, relaying
from bridge.cli.adapters import WithAdapters
from bridge.cli.reading import FAILED, MISUSED, AsJson, Config, read, settings_from, settings_to_serve
from bridge.clock import SystemClock
from bridge.errors import BridgeError, ConfigError
from bridge.rehearsal import problems_of, rehearse
from bridge.store import ledger as counts
from bridge.store.database import Store
from bridge.store.migrations import migrate
from bridge.surprises import surprises
from bridge.telemetry import write_down
from bridge.units import duration_from_text

cli = typer.Typer(
    cls=WithAdapters,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An agent in Slack, behind signed webhooks and behind email, that never loses a message.",
)
for noun in (conversations, messages, deliveries, destinations):
    cli.add_typer(noun.cli, name=noun.__name__.rpartition(".")[2])


def main() -> None:
    """The entry point of `agent-bridge`: every expected error becomes a sentence and an exit code."""
    write_down("console", "warning")  # on stderr: stdout belongs to what was asked for
    if sys.argv[1:2] == [relaying.NAME]:
        relaying.run(sys.argv[2:])
    _refuse_other_encodings(sys.argv[1:])
    os.umask(0o077)  # what people say is written down, and it is for the owner of this process alone
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


def _refuse_other_encodings(arguments: Sequence[str]) -> None:
    """Nothing that is kept here is named in another encoding, and a database takes no such words."""
    for number, text in enumerate(arguments, 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            console.print_error(f"Argument {number} is not UTF-8: {text!a}")
            sys.exit(MISUSED)


@cli.command("serve")
def serve_command(config: Config = None) -> None:
    """Run the bridge until SIGTERM."""
    settings = settings_to_serve(config)
    options = settings.bridge
    chosen = options.log if "log" in options.model_fields_set or not sys.stderr.isatty() else "console"
    write_down(chosen, options.log_level, secrets=settings.secrets())
    if settings.path is None:  # nothing is configured: here is something to try
        request = trial.signed_request(settings, "demo", b'{"text": "Hello, my name is Ada.", "conversation": "first"}')
        console.print_line(
            f"Paste this into another terminal within five minutes:\n\n{trial.curl(settings, request)}\n"
        )
    for warning in surprises(settings):
        structlog.get_logger().warning("configuration", warning=warning)
    uvloop.run(server.serve(settings))


@cli.command("demo")
def demo_command() -> None:
    """Show one conversation from the signed webhook to the signed answer, on this machine alone."""
    sys.exit(0 if asyncio.run(demo.run()) else FAILED)


@cli.command()
def check(config: Config = None) -> None:
    """Tell every mistake of the configuration, or what it would serve."""
    try:
        settings = settings_from(config)
    except ConfigError as error:
        raise asyncio.run(problems_of(config, os.environ, error)) from None
    asyncio.run(rehearse(settings))
    console.print_table(
        [(name, o.kind, o.brain if o.kind == "embedded" else o.base_url) for name, o in settings.agents.items()],
        "AGENT", "KIND", "WHERE",
    )  # fmt: skip
    console.print_table(
        [(s.name, s.common.adapter, s.common.agent, settings.receives_at(s)) for s in settings.sources.values()],
        "SOURCE", "ADAPTER", "AGENT", "RECEIVES AT",
    )  # fmt: skip
    for warning in surprises(settings):
        console.print_error(f"warning: {warning}")


@cli.command("migrate")
def migrate_command(config: Config = None) -> None:
    """Bring the database to the newest schema; does nothing where it is there already."""
    store_url = settings_to_serve(config).bridge.database_url
    asyncio.run(_migrate(store_url))


@cli.command()
def sign(
    source: str,
    text: Annotated[str, typer.Option(help="What to say.")] = "Hello, who are you?",
    conversation: Annotated[str | None, typer.Option(help="The conversation to say it in; else a new one.")] = None,
    body: Annotated[str | None, typer.Option(help="The whole body, instead of these.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(help='Another header, for example "X-GitHub-Event: issues"; may be repeated.')
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a signed request that this source accepts, as a curl line to paste within five minutes."""
    settings = settings_to_serve(config)
    said = {"text": text} if conversation is None else {"text": text, "conversation": conversation}
    content = body if body is not None else json.dumps(said)
    headers = [_header(each) for each in header or ()]
    envelope = trial.signed_request(settings, source, content.encode(), headers=headers)
    if as_json:
        url = trial.address(settings, envelope)
        signed = envelope.body.decode()  # some senders sign within the body
        console.print_json({"url": url, "method": "POST", "headers": dict(envelope.headers), "body": signed})
    else:
        console.print_line(trial.curl(settings, envelope))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not value.strip().isprintable():
        raise typer.BadParameter(f'{text!r} is no header; write it as "Name: value".', param_hint="--header")
    return name.strip(), value.strip()


@cli.command()
def agent(
    api_key: Annotated[list[str], typer.Option(help="A key that clients must send; may be repeated.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT")] = "127.0.0.1:8090",
    database: Annotated[str, typer.Option(help="Where tasks are kept.")] = "sqlite:///data/agent.db",
    agent_id: Annotated[str, typer.Option(help="The agent's id in the URLs.")] = "demo",
    function: Annotated[str | None, typer.Option(help="package.module:function that answers.")] = None,
) -> None:
    """Serve the embedded agent alone, for anything that speaks the contract. Needs no configuration."""
    write_down("json", "info", secrets=api_key)
    options = standalone.standalone(
        listen=listen, api_key=api_key, database=database, agent_id=agent_id, function=function
    )
    uvloop.run(standalone.serve(options))


@cli.command()
def ledger(
    config: Config = None,
    stuck: Annotated[
        timedelta | None,
        typer.Option(parser=duration_from_text, metavar="TIME", help="What has not moved for so long (limits.stuck)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that nothing disappeared: exit 1 if the books do not balance or a conversation is stuck."""
    bound = stuck if stuck is not None else settings_from(config).bridge.limits.stuck
    found = read(config, counts.books, stuck_before=datetime.now(UTC) - bound)
    report = counts.report(found)
    if as_json:
        console.print_json(report)
    else:
        offenders = ("lost", "stuck")
        console.print_table([row for row in report.items() if row[0] not in offenders], "MESSAGES", "COUNT")
        for message_id in found.lost:
            console.print_error(f"lost: {message_id}")
        for head in found.stuck:
            console.print_error(f"stuck: {head.id} of {head.conversation_id} is {head.state} since {head.since}")
    if not found.sound:
        sys.exit(FAILED)


async def _migrate(database_url: str) -> None:
    store = Store.open(database_url, SystemClock())  # takes the lock: never beside a running server on SQLite
    try:
        changed = await asyncio.to_thread(migrate, store.engine)
    finally:
        await store.close()
    console.print_error("The database is up to date." if not changed else "The database was migrated.")


cli.command("keys")(keys.keys_command)
cli.command(relaying.NAME)(relaying.relay_command)
