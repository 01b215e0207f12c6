"""What adapters must remember: small named values of a source, encrypted, changed only by compare-and-set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, bindparam, delete, select, update

from bridge.sealing import Sealer
from bridge.store.database import Store
from bridge.store.statements import insert_new
from bridge.store.tables import ERASED_KEY, conversations, vault
from bridge.store.writer import Tx, Write

PURPOSE = "vault"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    source: str
    name: str
    sealed: bytes | None
    version: int | None
    keep: timedelta | None = None
    conversation_id: str | None = None


def _put(tx: Tx, rows: Sequence[_Put]) -> list[bool]:
    return [_put_one(tx, row) for row in rows]


def _put_one(tx: Tx, row: _Put) -> bool:
    here = (vault.c.source == row.source) & (vault.c.name == row.name)
    if row.sealed is None:
        return bool(tx.connection.execute(delete(vault).where(here)).rowcount)
    expires_at = tx.now + row.keep if row.keep is not None else None
    # Asked with a lock, so that an erasure that is under way is waited for, and a later one sees this.
    if row.conversation_id is not None and tx.connection.execute(_IS_ERASED, {"at": row.conversation_id}).scalar():
        return True  # an answer was under way when it was erased: nothing may lead there again
    if row.version is None:
        values = {
            "source": row.source,
            "name": row.name,
            "sealed": row.sealed,
            "version": 1,
            "updated_at": tx.now,
            "expires_at": expires_at,
            "conversation_id": row.conversation_id,
        }
        return bool(insert_new(tx.connection, vault, [values], "source", "name"))
    change = update(vault).where(here, vault.c.version == row.version)
    change = change.values(
        sealed=row.sealed,
        version=row.version + 1,
        updated_at=tx.now,
        expires_at=expires_at,
        conversation_id=row.conversation_id,
    )
    return bool(tx.connection.execute(change).rowcount)


_IS_ERASED = (
    select(conversations.c.key == ERASED_KEY).where(conversations.c.id == bindparam("at")).with_for_update(read=True)
)
PUT: Write[_Put, bool] = Write(_put)


class StoredVault:
    """The vault of one source."""

    def __init__(self, store: Store, sealer: Sealer, source: str) -> None:
        self._store = store
        self._sealer = sealer
        self._source = source

    async def get(self, name: str) -> tuple[bytes, int] | None:
        row = await self._store.read(_get, self._source, name)
        return None if row is None else (self._sealer.open(row[0], purpose=PURPOSE), row[1])

    async def put(
        self,
        name: str,
        value: bytes,
        *,
        version: int | None,
        keep: timedelta | None = None,
        conversation_id: str | None = None,
    ) -> bool:
        row = _Put(
            source=self._source,
            name=name,
            sealed=self._sealer.seal(value, purpose=PURPOSE),
            version=version,
            keep=keep,
            conversation_id=conversation_id,
        )
        return await self._store.write(PUT, row)

    async def delete(self, name: str) -> None:
        await self._store.write(PUT, _Put(source=self._source, name=name, sealed=None, version=None))

    async def names(self, prefix: str = "") -> Sequence[str]:
        return await self._store.read(_names, self._source, prefix)


def _get(connection: Connection, source: str, name: str) -> tuple[bytes, int] | None:
    query = select(vault.c.sealed, vault.c.version).where(vault.c.source == source, vault.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.sealed, row.version)


def _names(connection: Connection, source: str, prefix: str) -> list[str]:
    query = select(vault.c.name).where(vault.c.source == source, vault.c.name.startswith(prefix, autoescape=True))
    return list(connection.execute(query.order_by(vault.c.name)).scalars())
