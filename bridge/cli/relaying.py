"""`agent-bridge relay SOURCE`: a mail on stdin, posted to a running bridge.

Whatever goes wrong, a slip in the configuration or in the command's own arguments included, ends as the mail
server's temporary failure: it keeps the mail and tries again, and nobody's mail bounces.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from bridge import console
from bridge.adapters_by_name import adapter_module, adapter_names
from bridge.cli.reading import Config, settings_from
from bridge.egress import open_client
from bridge.errors import ConfigError
from bridge.trial import local_url

NAME: Final = "relay"
TEMPORARY: Final = 75
"""EX_TEMPFAIL of sysexits.h."""
TEMPORARY_QMAIL: Final = 111
SECONDS: Final = 60
LOCAL: Final = "http://127.0.0.1:8080"

Server = Literal["postfix", "exim", "qmail"]


def run(arguments: Sequence[str]) -> None:
    """Run the command and leave the process: with 0 if the mail is stored, else as a temporary failure."""
    failed = TEMPORARY_QMAIL if "qmail" in "=".join(arguments).split("=") else TEMPORARY
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(NAME)(relay_command)
    try:
        alone(list(arguments), prog_name=f"agent-bridge {NAME}")
    except SystemExit as leaving:
        code = leaving.code if leaving.code in {0, failed} else failed
        raise SystemExit(code) from None
    except BaseException as error:  # noqa: BLE001 - a traceback's exit code would bounce the mail
        console.print_error(
            f"4.3.5 the mail could not be handed on: {' '.join(str(error).split()) or type(error).__name__}"
        )
        raise SystemExit(failed) from None


def relay_command(
    source: str,
    recipients: Annotated[
        list[str] | None, typer.Argument(help="Who the mail is for, as its envelope says.", envvar="RECIPIENT")
    ] = None,
    sender: Annotated[str | None, typer.Option("--from", help="The envelope's sender.", envvar="SENDER")] = None,
    mail_server: Annotated[Server, typer.Option(help="Whose exit codes to speak.")] = "postfix",
    secret_file: Annotated[
        Path | None, typer.Option(help="A file that holds one of the source's secrets: no configuration is read then.")
    ] = None,
    bridge: Annotated[str, typer.Option(help="Where the bridge listens, with --secret-file.")] = LOCAL,
    config: Config = None,
) -> None:
    """Hand a mail on stdin to the running bridge: the command for a mail server's pipe or alias."""
    hand_on = _by_secret(source, secret_file, bridge) if secret_file else _by_configuration(source, config)
    raw = sys.stdin.buffer.read()

    async def post() -> Any:
        async with open_client(timeout=SECONDS) as http:
            return await hand_on(
                raw=raw,
                mail_from=sender,
                recipients=recipients or (),
                server=mail_server,
                http=http,
                now=datetime.now(UTC),
            )

    outcome = asyncio.run(post())
    console.print_line(outcome.line)
    raise typer.Exit(outcome.code)


def _by_configuration(source: str, config: Path | None) -> Callable[..., Awaitable[Any]]:
    settings = settings_from(config)
    if source not in settings.sources:
        raise ConfigError([f"sources.{source}: there is no such source."])
    configured = settings.sources[source]
    hand_on = getattr(adapter_module(configured.common.adapter), "relay_mail", None)
    if hand_on is None:
        raise ConfigError([f"sources.{source}: the adapter {configured.common.adapter!r} takes no mail."])
    return partial(hand_on, configured.own, url=f"{local_url(settings)}/in/{source}")


def _by_secret(source: str, secret_file: Path, bridge: str) -> Callable[..., Awaitable[Any]]:
    """Without the configuration: a mail server's user needs to read none of the other secrets."""
    modules = [adapter_module(name) for name in adapter_names()]
    hand_on = next(found for module in modules if (found := getattr(module, "relay_signed", None)))
    return partial(hand_on, secret_file.read_text().strip(), url=f"{bridge.rstrip('/')}/in/{source}")
