"""A database with a past: so many conversations in the map, each with one message that was answered long ago."""

from sqlalchemy import Connection, Engine, text

from bridge.store.engine import CACHE_KIB
from bridge.store.tables import metadata

PAD = 22
"""Ids are as long as real ones, and like them they sort by age."""

_AT = "1700000000000000 + i"

# For conversation i; `{i}` is its number, padded.
ROWS = {
    "conversations": {
        "id": "'cnv_' || {i}",
        "source": "'bench'",
        "key": "'c' || i",
        "task_id": "'task-' || {i}",
        "agent": "'local'",
        "seq": "1",
        "epoch": "1",
        "open": "false",
        "created_at": _AT,
        "last_at": _AT,
    },
    "arrivals": {
        "source": "'bench'",
        "delivery_key": "'past-' || {i}",
        "digest": f"'{'0' * 64}'",
        "envelope_id": "'env_' || {i}",
        "state": "'read'",
        "message_keys": "'[\"past-' || {i} || '\"]'",
        "attempt": "0",
        "received_at": _AT,
        "expires_at": _AT,
    },
    "messages": {
        "id": "'msg_' || {i}",
        "source": "'bench'",
        "message_key": "'past-' || {i}",
        "conversation_id": "'cnv_' || {i}",
        "turn_id": "'trn_' || {i}",
        "envelope_id": "'env_' || {i}",
        "act": "'say'",
        "admission": "'admitted'",
        "matched_by": "'thread'",
        "addressed": "'direct'",
        "author_id": "'person'",
        "return_address": "'here'",
        "text": "'What was said a while ago.'",
        "body": "'{{}}'",
        "received_at": _AT,
    },
    "turns": {
        "id": "'trn_' || {i}",
        "conversation_id": "'cnv_' || {i}",
        "seq": "1",
        "state": "'answered'",
        "agent": "'local'",
        "idempotency_key": "'key-' || {i}",
        "task_id": "'task-' || {i}",
        "attempt": "1",
        "status": "'completed'",
        "result": "'What was answered.'",
        "created_at": _AT,
        "finished_at": _AT,
    },
    "deliveries": {
        "id": "'dlv_' || {i}",
        "conversation_id": "'cnv_' || {i}",
        "turn_id": "'trn_' || {i}",
        "source": "'bench'",
        "kind": "'answer'",
        "part": "0",
        "seq": "1",
        "state": "'sent'",
        "body": "'{{}}'",
        "remote_id": "'remote-' || {i}",
        "attempt": "1",
        "created_at": _AT,
        "finished_at": _AT,
    },
    "attempts": {
        "delivery_id": "'dlv_' || {i}",
        "number": "1",
        "started_at": _AT,
        "ended_at": _AT,
        "outcome": "'sent'",
    },
}


def fill(engine: Engine, count: int) -> None:
    """Conversations `c0` to `c{count - 1}` of the source `bench`, all closed. Not safe against a crash in between."""
    indexes = [index for table in ROWS for index in metadata.tables[table].indexes]
    options, lavish, usual = BY_ITSELF[engine.dialect.name]
    with engine.connect().execution_options(**options) as connection:
        _each(connection, lavish)
        for index in indexes:  # built at once they cost a fraction
            index.drop(connection)
        for table in ROWS:
            connection.execute(text(_statement(connection, table)), {"last": count - 1})
        for index in indexes:
            index.create(connection)
        _each(connection, usual)


def _each(connection: Connection, statements: tuple[str, ...]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


# Each statement commits for itself (on SQLite our engine begins transactions in words of its own); what is set for the
# filling alone, and back again; the last of it tells the planner what there is now.
BY_ITSELF: dict[str, tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]] = {
    "sqlite": (
        {"begin": "SELECT 1"},
        ("PRAGMA synchronous=OFF", "PRAGMA cache_size=-1000000"),
        ("PRAGMA synchronous=FULL", f"PRAGMA cache_size=-{CACHE_KIB}", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"),
    ),
    "postgresql": (
        {"isolation_level": "AUTOCOMMIT"},
        ("SET synchronous_commit=off", "SET maintenance_work_mem='512MB'"),
        ("RESET synchronous_commit", "RESET maintenance_work_mem", "VACUUM ANALYZE", "CHECKPOINT"),
    ),
}


def _statement(connection: Connection, table: str) -> str:
    columns, values = ", ".join(ROWS[table]), ", ".join(ROWS[table].values())
    if _is_sqlite(connection):
        series = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
        padded = f"printf('%0{PAD}d', i)"
    else:
        series = "WITH n(i) AS (SELECT generate_series(0, :last))"
        padded = f"lpad(i::text, {PAD}, '0')"
    chosen = values.format(i=padded)
    return f"INSERT INTO {table} ({columns}) {series} SELECT {chosen} FROM n"  # noqa: S608 - our own words


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
