"""`agent-bridge messages`."""

from typing import Annotated

import typer

from bridge import console
from bridge.captures import shown
from bridge.cli.operating import Wish, fulfil
from bridge.cli.reading import AsJson, Config, Limit, Since, SourceName, read, settings_from, show
from bridge.errors import ConfigError
from bridge.operations import Operations
from bridge.results import with_question
from bridge.sealing import Sealer
from bridge.store import reader
from bridge.store.captures import captured
from bridge.store.ledger import VERDICTS
from bridge.store.outcomes import outcome
from bridge.store.replay import WAYS, How

cli = typer.Typer(no_args_is_help=True, help="What was received, and what became of it.")


def _state(text: str) -> str:
    known = (*VERDICTS, "queued", "running", "paused")
    if text not in known:
        raise typer.BadParameter(f"{text!r} is no state; use one of {', '.join(known)}.")
    return text


def _how(text: str) -> How:
    for way in WAYS:
        if way == text:
            return way
    raise typer.BadParameter(f"{text!r} is no way to replay; use one of {', '.join(WAYS)}.")


State = Annotated[
    str | None,
    typer.Option("--state", parser=_state, metavar="STATE", help="Only these, by what the ledger counts them as."),
]


@cli.command("list")
def messages_list(
    config: Config = None,
    source: SourceName = None,
    state: State = None,
    since: Since = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest messages, newest first."""
    found = read(config, reader.message_list, source=source, state=state, since=since, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_table(
        [(m.message_id, m.source, _seen(m), m.task_id, m.received_at, m.text or m.reason) for m in found],
        "MESSAGE", "SOURCE", "STATE", "TASK", "RECEIVED", "TEXT",
    )  # fmt: skip


def _seen(message: reader.MessageView) -> str:
    """The state; why it was kept from the agent where that does not stand in place of its words; or what of it died."""
    if message.state == "answered" != message.counted:
        return f"{message.counted}:answer"
    is_kept = message.state in {"parked", "declined"} and message.text and message.reason
    return f"{message.state}:{message.reason}" if is_kept else message.state


@cli.command("show")
def messages_show(message_id: str, config: Config = None, as_json: AsJson = False) -> None:
    """One message with its journey: turn, task, deliveries."""
    found = read(config, reader.message, message_id)
    if found is not None and found.state == "paused":
        found = with_question(found, read(config, outcome, message_id))
    show(found, f"There is no message {message_id}.", as_json=as_json)


@cli.command("captured")
def messages_captured(source: str, config: Config = None, as_json: AsJson = False) -> None:
    """The last raw requests of a source with `capture = true`, newest first, and how each was answered."""
    settings = settings_from(config)
    if source not in settings.sources:
        known = ", ".join(sorted(settings.sources))
        raise ConfigError([f"sources.{source}: there is no such source; configured are {known}."])
    sealer = Sealer([key.get_secret_value() for key in settings.bridge.secret_keys])
    found = shown(read(config, captured, source), sealer, settings, settings.sources[source])
    if as_json:
        console.print_json(found)
        return
    for request in found:
        target = f"{request.path}?{request.query}" if request.query else request.path
        why = f" (signature: {request.failed_check})" if request.failed_check else ""
        at = f"{request.received_at:%Y-%m-%d %H:%M:%S}"
        console.print_line(console.shown(f"{at}  {request.method} {target} -> {request.status}{why}"))
        for name, value in request.headers:
            console.print_line(console.shown(f"  {name}: {value}"))
        console.print_line(console.shown(f"\n  {request.body or '(no body)'}\n\n  {request.answer}\n"))
    if not found:
        console.print_error("Nothing was captured yet. The source needs `capture = true`.")


@cli.command("replay")
def messages_replay(
    message_ids: Annotated[list[str] | None, typer.Argument(help="Which; or choose them by --state.")] = None,
    how: Annotated[
        str,
        typer.Option(
            "--how",
            metavar="|".join(WAYS),
            help="invoke: ask the agent anew, in a new turn. reattach: go on from the turn's task id. "
            "repost: send what it owes again, or a fresh copy. done: answered by other means, send nothing more.",
        ),
    ] = ...,  # type: ignore[assignment]  # typer's way to say that it is required
    config: Config = None,
    source: SourceName = None,
    state: State = None,
    since: Since = None,
    limit: Limit = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set messages going again, oldest first, by id or by filter. Exit 1 if any of them is refused."""
    way = _how(how)
    if bool(message_ids) == (state is not None):
        raise typer.BadParameter("Give ids, or choose the messages by --state (with --source, --since, --limit).")
    chosen = message_ids or _chosen(config, source=source, state=state, since=since, limit=limit)
    fulfil(config, [_wish(message_id, way, dry_run=dry_run) for message_id in chosen], noun="message", as_json=as_json)


def _chosen(config: Config, *, source: SourceName, state: State, since: Since, limit: int) -> list[str]:
    """One message for each turn, oldest first: replaying one takes all of its turn along."""
    found = read(config, reader.message_list, source=source, state=state, since=since, limit=limit)
    return list({view.turn_id or view.message_id: view.message_id for view in reversed(found)}.values())


def _wish(message_id: str, how: How, *, dry_run: bool) -> Wish:
    async def alone(operations: Operations) -> object:
        return await operations.replay(message_id, how, dry_run=dry_run)

    return Wish(
        id=message_id,
        method="POST",
        path=f"messages/{message_id}/replay",
        body={"how": how, "dry_run": dry_run},
        alone=alone,
    )
