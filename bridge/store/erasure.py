"""Erases a conversation: what people said and were answered goes, the counts stay, a later message starts anew."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Table, bindparam, delete, func, select, update

from bridge.model import REF, FileRef
from bridge.store.blanks import blank, in_slices
from bridge.store.bodies import load_files, load_inbound, load_outbound
from bridge.store.embedded_erasing import ERASE as ERASE_TASKS
from bridge.store.statements import AnyRow, insert_missing
from bridge.store.tables import (
    ERASED_KEY,
    aliases,
    captures,
    conversations,
    deliveries,
    discards,
    file_uses,
    files,
    messages,
    turns,
    vault,
)
from bridge.store.writer import Tx, Write

SLICE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """The conversation to be erased, and the files that only it names."""

    conversation_id: str
    file_ids: tuple[str, ...] = ()
    looked_at: datetime
    """When that was found out: what came again since then is somebody else's, too."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was done, or would be."""

    conversation_id: str
    dry_run: bool
    does: str
    messages: int
    deliveries: int
    files: int


def files_of(connection: Connection, conversation_id: str) -> tuple[str, ...]:
    """The stored files that this conversation names and no other does."""
    named = _named(connection, conversation_id)
    return tuple(sorted(file_id for file_id in named if not _is_named_elsewhere(connection, file_id, conversation_id)))


def _named(connection: Connection, conversation_id: str) -> set[str]:
    said = connection.execute(
        select(messages.c.body).where(messages.c.conversation_id == conversation_id, ~messages.c.blanked)
    ).scalars()
    sent = connection.execute(select(deliveries.c.body).where(_OF_IT), {"at": conversation_id}).scalars()
    came = connection.execute(select(turns.c.files).where(turns.c.conversation_id == conversation_id)).scalars()
    refs: list[FileRef] = [ref for body in said for ref in load_inbound(body, "").files]
    refs += [ref for body in sent for ref in load_outbound(body).files]
    refs += [ref for files in came for ref in load_files(files)]
    fetched = select(file_uses.c.file_id).where(file_uses.c.conversation_id == conversation_id)
    named = {ref.url.removeprefix(REF) for ref in refs if ref.url.startswith(REF)}
    return named | set(connection.execute(fetched).scalars())


def _is_named_elsewhere(connection: Connection, file_id: str, conversation_id: str) -> bool:
    # Of a conversation that retention has emptied nothing is left that could need the file.
    lives = select(turns.c.id).where(turns.c.conversation_id == file_uses.c.conversation_id).exists()
    others = (file_uses.c.file_id == file_id, file_uses.c.conversation_id != conversation_id, lives)
    if connection.execute(select(file_uses.c.file_id).where(*others).limit(1)).first():
        return True
    return any(
        connection.execute(
            select(table.c.id)
            .where(
                column.contains(f'"file:{file_id}"', autoescape=True),
                table.c.conversation_id.is_distinct_from(conversation_id),
            )
            .limit(1)
        ).first()
        for table, column in ((messages, messages.c.body), (deliveries, deliveries.c.body), (turns, turns.c.files))
    )


def _erase(tx: Tx, rows: Sequence[Erase]) -> list[Erased]:
    return [_erase_one(tx, row) for row in rows]


ERASE: Write[Erase, Erased] = Write(_erase, conversation=lambda row: row.conversation_id, long=True)


def _erase_one(tx: Tx, row: Erase) -> Erased:
    said = _ids(tx, messages, row.conversation_id)
    told = tx.connection.execute(_COUNT, {"at": row.conversation_id}).scalar_one()
    if not row.dry_run:
        _end_all(tx, row.conversation_id)
        for message_ids in in_slices(said, SLICE):
            blank(tx, message_ids, ())
        for turn_ids in in_slices(_ids(tx, turns, row.conversation_id), SLICE):
            blank(tx, (), turn_ids)
        ERASE_TASKS.run(tx, _task_ids(tx, row.conversation_id))
        for statement in _FORGET:
            tx.connection.execute(statement, {"at": row.conversation_id})
        if (held := tx.held.get(row.conversation_id)) is not None:
            tx.moved(row.conversation_id, None, held.epoch + 1)
        forget_files(tx, row.file_ids, before=row.looked_at)
    return Erased(
        conversation_id=row.conversation_id,
        dry_run=row.dry_run,
        does=(
            f"Erase what was said in {len(said)} and sent in {told} parts, with {len(row.file_ids)} files; "
            "the counts and the keys that recognise late copies stay."
        ),
        messages=len(said),
        deliveries=told,
        files=len(row.file_ids),
    )


def _ids(tx: Tx, table: Table, conversation_id: str) -> list[str]:
    return list(tx.connection.execute(select(table.c.id).where(table.c.conversation_id == conversation_id)).scalars())


def _task_ids(tx: Tx, conversation_id: str) -> list[str]:
    """What the embedded agent may know it by; another service keeps its tasks by its own rules."""
    of_turns = select(turns.c.task_id).where(turns.c.conversation_id == conversation_id, turns.c.task_id.is_not(None))
    of_it = select(conversations.c.task_id).where(
        conversations.c.id == conversation_id, conversations.c.task_id.is_not(None)
    )
    return sorted(tx.connection.execute(of_turns.union(of_it)).scalars())


def _end_all(tx: Tx, conversation_id: str) -> None:
    """Whoever still works on it finds its lease lost at the next write, and stops silently."""
    tx.connection.execute(_CANCEL, {"at": conversation_id, "now": tx.now})
    tx.connection.execute(_UNSEND, {"at": conversation_id, "now": tx.now})


def forget_files(tx: Tx, file_ids: Iterable[str], *, before: datetime) -> None:
    """Forget these rows, but for what was stored again since `before`.

    Bytes that no row names any more are put down to be deleted, which may take a while.
    """
    for ids in in_slices(file_ids, SLICE):
        old = delete(files).where(files.c.id.in_(ids), files.c.created_at <= before)
        rows: Sequence[AnyRow] = tx.connection.execute(old.returning(files.c.id, files.c.digest)).all()
        tx.connection.execute(delete(file_uses).where(file_uses.c.file_id.in_([row.id for row in rows])))
        gone = [row.digest for row in rows]
        kept = set(tx.connection.execute(select(files.c.digest).where(files.c.digest.in_(gone))).scalars())
        values = [{"digest": digest, "created_at": tx.now} for digest in sorted(set(gone) - kept)]
        insert_missing(tx.connection, discards, values)


# By its turns: deliveries have an index for what is open in a conversation, and none for what was.
_OF_IT = deliveries.c.turn_id.in_(select(turns.c.id).where(turns.c.conversation_id == bindparam("at")))
_COUNT = select(func.count()).select_from(deliveries).where(_OF_IT)
_CANCEL = (
    update(turns)
    .where(turns.c.conversation_id == bindparam("at"), turns.c.finished_at.is_(None))
    .values(state="cancelled", finished_at=bindparam("now"), not_before=None)
)
_UNSEND = (
    update(deliveries)
    .where(_OF_IT, deliveries.c.finished_at.is_(None))
    .values(state="withdrawn", finished_at=bindparam("now"), not_before=None)
)
_FORGET = (
    delete(file_uses).where(file_uses.c.conversation_id == bindparam("at")),
    delete(aliases).where(aliases.c.conversation_id == bindparam("at")),
    # What adapters remember of it (reply tokens, ids of mails): nothing leads here any more.
    delete(vault).where(vault.c.conversation_id == bindparam("at")),
    # Raw requests that an operator looks at tell nothing of conversations, so all of those sources go.
    delete(captures).where(
        captures.c.source.in_(select(messages.c.source).where(messages.c.conversation_id == bindparam("at")))
    ),
    update(turns).where(turns.c.conversation_id == bindparam("at")).values(task_id=None, event_cursor=None),
    update(deliveries).where(_OF_IT).values(remote_id=None),
    # Under a key of its own nobody finds it any more: what comes later is another conversation.
    update(conversations)
    .where(conversations.c.id == bindparam("at"))
    .values(
        key=ERASED_KEY,
        task_id=None,
        agent_version=None,
        owner=None,
        epoch=conversations.c.epoch + 1,
        open=False,
        wake_at=None,
        nudged=False,
        muted=False,
    ),
)
