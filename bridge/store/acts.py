"""What people do besides saying something: edit, delete, stop, mute, begin anew. Applied where it arrives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from sqlalchemy import bindparam, func, or_, select, update

from bridge.model import Act, Candidate, FileRef, InboundMessage
from bridge.store import asked, opinions
from bridge.store.arrivals import Arrival, digest
from bridge.store.batch import Batch
from bridge.store.bodies import dump_inbound, load_inbound
from bridge.store.lookup import Conversation
from bridge.store.said import Said
from bridge.store.statements import AnyRow
from bridge.store.tables import conversations, messages, turns
from bridge.store.taking_back import STOP, cancel, stop_all, withdraw_words

EDITED = "(Edited, it now reads:) "
_RESTARTING = frozenset({"interrupt", "steer"})


Done: TypeAlias = tuple[Arrival, InboundMessage, str]


def apply(batch: Batch, done: Iterable[Done]) -> list[Done]:
    """Apply each act in the order of arrival; what an edit leads to is placed like something said.

    Returns what changes a message that is not there, or not admitted: it may have overtaken that.
    """
    early = []
    for each in done:
        arrival, message, envelope_id = each
        if message.act in {Act.EDIT, Act.DELETE}:
            row = _target(batch, arrival, message)
            conversation = batch.lookup.hold(row.conversation_id, arrival.source) if row and row.turn_id else None
        else:
            row, conversation = None, _conversation(batch, arrival, message)
        if conversation is None:  # no reason to begin
            early += [each] if message.act in {Act.EDIT, Act.DELETE} else []
            continue
        batch.touch(arrival, conversation)
        if row is None:
            batch.place(_ACTS[message.act](batch, conversation, Said(arrival, message, envelope_id)) or ())
        elif message.act is Act.DELETE:
            _delete(batch, conversation, row, Said(arrival, message, envelope_id))
            batch.owe(arrival, conversation)
        else:
            batch.place(_edit(batch, conversation, row, Said(arrival, message, envelope_id, act="edit")))
    return early


def _conversation(batch: Batch, arrival: Arrival, message: InboundMessage) -> Conversation | None:
    """The one an act is meant for.

    A button can be pressed before what it stands below is known by its name at the platform: then it leads
    to where the delivery belongs that it names, if that was sent to this source.
    """
    match = batch.lookup.match(arrival.source, message)
    found = match.conversation.id if match else opinions.about(batch.tx, arrival.source, message)
    return batch.lookup.hold(found, arrival.source) if found else None


def _edit(batch: Batch, conversation: Conversation, row: AnyRow, said: Said) -> list[Said]:
    """Before its turn starts: the new text. While it runs: by policy. After: a turn of its own, if it differs."""
    arrival, message = said.arrival, said.message
    newest = _newest(batch, row, said)
    old = load_inbound(newest.body, newest.text)
    text = message.text if newest.id == row.id else EDITED + message.text
    if (old.text, _names(old.files)) == (text, _names(message.files)):
        return []  # an unfurled link, a detected language, a second copy: nothing was said
    if _is_unheard(newest) and newest.attempt == 0 and newest.stop_at is None:
        _rewrite(batch, newest, replace(old, text=text, files=message.files))
        return []
    is_stopped = newest.stop_at is not None and not newest.restart
    if newest.state == "running" and _is_read(newest) and arrival.busy in _RESTARTING and not is_stopped:
        _rewrite(batch, newest, replace(old, text=text, files=message.files))
        batch.tx.connection.execute(_RESTART, {"at": newest.turn_id, "now": batch.tx.now})
        batch.stops.add(conversation.id)
        return []
    # Named after what it changes: whoever edits to and fro is heard each time.
    key = f"{message.message_key}#{digest(f'{newest.id} {message.text}'.encode())[:16]}"
    here = (Candidate(value=conversation.id, kind="conversation_id", matched_by="edit"),)
    again = replace(
        message, act=Act.SAY, message_key=key, text=EDITED + message.text, addressed="direct", conversation=here
    )
    return [replace(said, message=again)]


def _newest(batch: Batch, row: AnyRow, said: Said) -> AnyRow:
    """The message as the agent heard it last: itself, or the last edit that became a turn of its own."""
    return next(iter(_edits(batch, row, said)), row)


def _edits(batch: Batch, row: AnyRow, said: Said) -> Sequence[AnyRow]:
    which = {"conversation": row.conversation_id, "of_source": said.arrival.source}
    edits = _EDITS.where(messages.c.message_key.startswith(f"{said.message.message_key}#", autoescape=True))
    return batch.tx.connection.execute(edits, which).all()


def _delete(batch: Batch, conversation: Conversation, row: AnyRow, said: Said) -> None:
    """The message and whatever was edited into it afterwards."""
    for version in (row, *_edits(batch, row, said)):
        if version.turn_id is not None:
            _take_out(batch, conversation, version)


def _take_out(batch: Batch, conversation: Conversation, row: AnyRow) -> None:
    """Before its turn starts: cancelled. While it runs: stopped. After: the answer is taken back, where possible.

    What others said in the same turn keeps it going, and keeps its answer.
    """
    others = batch.tx.connection.execute(_OTHERS, {"turn": row.turn_id, "not_this": row.id}).first()
    if others is not None:
        if _is_unheard(row) or row.restart:
            batch.tx.connection.execute(_UNSAY, {"at": row.id})
    elif _is_unheard(row):
        cancel(batch.tx, row.turn_id)
    elif row.state in {"queued", "running", "paused"}:
        batch.tx.connection.execute(STOP, {"at": row.turn_id, "now": batch.tx.now})
        asked.close(batch.tx, [row.turn_id], asked.OVER)
        batch.stops.add(conversation.id)
    else:
        withdraw_words(batch.tx, row.turn_id)


def _is_unheard(row: AnyRow) -> bool:
    """Whether its turn waits to be asked. One that has a task waits to go on with that."""
    return row.state == "queued" and row.task_id is None and _is_read(row)


def _is_read(row: AnyRow) -> bool:
    """Whether its turn asks this. What stands before the answer to a question was heard before that was asked."""
    return row.asked_at is None or bool(row.received_at >= row.asked_at)


def _stop(batch: Batch, conversation: Conversation, _: Said) -> None:
    """Everything that waits is cancelled, and what runs is stopped by whoever runs it."""
    stop_all(batch.tx, conversation.id)
    batch.stops.add(conversation.id)


def _mute(batch: Batch, conversation: Conversation, _: Said) -> None:
    batch.tx.connection.execute(_SET_MUTED, {"at": conversation.id, "to": True})
    conversation.muted = True


def _unmute(batch: Batch, conversation: Conversation, _: Said) -> None:
    batch.tx.connection.execute(_SET_MUTED, {"at": conversation.id, "to": False})
    conversation.muted = False


def _reset(batch: Batch, conversation: Conversation, said: Said) -> None:
    """What comes next starts a new thread at the agent. What is still going on in the old one ends."""
    _stop(batch, conversation, said)
    batch.tx.connection.execute(_FORGET_TASK, {"at": conversation.id})
    conversation.task_id = None


_ACTS: Mapping[Act, Callable[[Batch, Conversation, Said], Sequence[Said] | None]] = {
    Act.STOP: _stop,
    Act.MUTE: _mute,
    Act.UNMUTE: _unmute,
    Act.RESET: _reset,
    Act.RATE: opinions.rate,
    Act.DECIDE: opinions.decide,
}


def _rewrite(batch: Batch, row: AnyRow, message: InboundMessage) -> None:
    values = {"at": row.id, "to_text": message.text, "to_body": dump_inbound(message)}
    batch.tx.connection.execute(_REWRITE, values)


def _target(batch: Batch, arrival: Arrival, message: InboundMessage) -> AnyRow | None:
    """The message as it stands, read once its conversation is locked, so that its turn cannot start meanwhile."""
    which = {"of_source": arrival.source, "key": message.message_key}
    row = batch.tx.connection.execute(_TARGET, which).first()
    if row is None or row.conversation_id is None:
        return None
    batch.lookup.hold(row.conversation_id, arrival.source)
    return batch.tx.connection.execute(_TARGET, which).first()


def _names(files: Iterable[FileRef]) -> list[str]:
    return [file.name for file in files]


_SAID = select(
    messages.c.id,
    messages.c.conversation_id,
    messages.c.turn_id,
    messages.c.text,
    messages.c.body,
    messages.c.received_at,
    turns.c.asked_at,
    turns.c.state,
    turns.c.attempt,
    turns.c.task_id,
    turns.c.stop_at,
    turns.c.restart,
).outerjoin(turns, turns.c.id == messages.c.turn_id)
_TARGET = _SAID.where(
    messages.c.source == bindparam("of_source"), messages.c.message_key == bindparam("key"), ~messages.c.blanked
)
_EDITS = _SAID.where(
    messages.c.conversation_id == bindparam("conversation"),
    messages.c.source == bindparam("of_source"),
    messages.c.act == "edit",
).order_by(func.coalesce(turns.c.seq, 0).desc(), messages.c.received_at.desc(), messages.c.id.desc())
_OTHERS = (
    select(messages.c.id)
    .join(turns, turns.c.id == messages.c.turn_id)
    .where(messages.c.turn_id == bindparam("turn"), messages.c.id != bindparam("not_this"), messages.c.act == "say")
    .where(or_(turns.c.asked_at.is_(None), messages.c.received_at >= turns.c.asked_at))
)
_UNSAY = update(messages).where(messages.c.id == bindparam("at")).values(turn_id=None, admission="cancelled:deleted")
_REWRITE = (
    update(messages)
    .where(messages.c.id == bindparam("at"))
    .values(text=bindparam("to_text"), body=bindparam("to_body"))
)
_RESTART = update(turns).where(turns.c.id == bindparam("at")).values(stop_at=bindparam("now"), restart=True)
_SET_MUTED = update(conversations).where(conversations.c.id == bindparam("at")).values(muted=bindparam("to"))
_FORGET_TASK = update(conversations).where(conversations.c.id == bindparam("at")).values(task_id=None)
