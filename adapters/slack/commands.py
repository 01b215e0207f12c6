"""`agent-bridge slack`: the app manifest, and a look at the app from outside."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from adapters.slack.doctor import Finding, examine
from adapters.slack.manifest import manifest
from bridge.adapter import Configured, FindSource
from bridge.clock import SystemClock

Config = Annotated[Path | None, typer.Option("--config", help="The configuration; else the usual one.")]
Source = Annotated[str | None, typer.Argument(help="Which source; not needed where there is one only.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def commands(find: FindSource) -> typer.Typer:
    """The commands, over whatever configuration `find` reads."""
    slack = typer.Typer(no_args_is_help=True, help="Setting up Slack apps.")

    @slack.command("manifest")
    def manifest_command(
        source: Source = None,
        config: Config = None,
        command: Annotated[str, typer.Option(help="The slash command.")] = "/agent",
    ) -> None:
        """Print the app manifest: paste it at api.slack.com/apps, New App, From a manifest."""
        found = find(config, source)
        if advice := _unreachable(found):
            typer.echo(f"Slack cannot reach {found.public_url}. {advice}", err=True)
        made = manifest(found.settings, found.public_url, command=command)
        typer.echo(json.dumps(made, indent=2, ensure_ascii=False))

    @slack.command("doctor")
    def doctor_command(source: Source = None, config: Config = None, *, as_json: AsJson = False) -> None:
        """Look at the app with the configured tokens and say what to click. Exit 1 if something does not work."""
        found = find(config, source)
        findings = asyncio.run(examine(found.settings, SystemClock()))
        if advice := _unreachable(found):
            findings.append(Finding("fail", f"Slack cannot reach {found.public_url}.", advice))
        if as_json:
            typer.echo(json.dumps([{"verdict": f.verdict, "what": f.what, "do": f.do} for f in findings], indent=2))
        else:
            for finding in findings:
                typer.echo(f"{finding.verdict:4}  {finding.what}" + (f"\n      {finding.do}" if finding.do else ""))
        if any(finding.verdict == "fail" for finding in findings):
            raise typer.Exit(1)

    return slack


def _unreachable(found: Configured) -> str:
    """What to do where the manifest is good, and Slack could still not get here; nothing where it can."""
    settings = found.settings
    if found.public_url.startswith("https://") or (settings.app_token is not None and settings.client_id is None):
        return ""
    return "Set [bridge] public_url to an https address, or use Socket Mode (app_token) with a bot_token."
