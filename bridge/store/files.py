"""The rows of attachments: what is known of each file; its bytes lie elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, select, update

from bridge.model import Lease, StoredFile
from bridge.store.database import Store
from bridge.store.statements import AnyRow, insert_missing
from bridge.store.tables import file_uses, files
from bridge.store.writer import Tx, Write


def _add(tx: Tx, rows: Sequence[StoredFile]) -> list[StoredFile]:
    """Store the rows, or find those that have the same digest and name already."""
    values = {(row.digest, row.name): _values(row) for row in rows}
    insert_missing(tx.connection, files, [values[key] for key in sorted(values)])
    tx.connection.execute(_WANTED, [{"of": digest, "called": name, "now": tx.now} for digest, name in sorted(values)])
    known = {}
    for digest, name in values:
        row = tx.connection.execute(select(files).where(files.c.digest == digest, files.c.name == name)).one()
        known[digest, name] = _file(row)
    return [known[row.digest, row.name] for row in rows]


# As new again: retention goes by this age, so that what names a file is never younger than its row.
_WANTED = (
    update(files)
    .where(files.c.digest == bindparam("of"), files.c.name == bindparam("called"))
    .values(created_at=bindparam("now"))
)
ADD: Write[StoredFile, StoredFile] = Write(_add)


@dataclass(frozen=True, slots=True)
class Uses:
    """Files that were fetched for the agent: until here nothing told whose they are."""

    lease: Lease
    file_ids: tuple[str, ...]


def _note_uses(tx: Tx, rows: Sequence[Uses]) -> list[None]:
    pairs = sorted({(row.lease.conversation_id, file_id) for row in rows for file_id in row.file_ids})
    values = [{"conversation_id": conversation_id, "file_id": file_id} for conversation_id, file_id in pairs]
    insert_missing(tx.connection, file_uses, values)
    return [None] * len(rows)


NOTE_USES: Write[Uses, None] = Write(_note_uses, lease=lambda row: row.lease)


class StoredFileRows:
    """The `files` table, as the attachments want it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, file: StoredFile) -> StoredFile:
        return await self._store.write(ADD, file)

    async def find(self, file_id: str) -> StoredFile | None:
        return await self._store.read(_one, files.c.id == file_id)


def _one(connection: Connection, where: ColumnElement[bool]) -> StoredFile | None:
    row = connection.execute(select(files).where(where)).one_or_none()
    return None if row is None else _file(row)


def _values(file: StoredFile) -> dict[str, object]:
    return {
        "id": file.id,
        "digest": file.digest,
        "name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "origin": file.origin,
        "created_at": file.created_at,
    }


def _file(row: AnyRow) -> StoredFile:
    return StoredFile(
        id=row.id,
        digest=row.digest,
        name=row.name,
        media_type=row.media_type,
        size=row.size,
        origin=row.origin,
        created_at=row.created_at,
    )
