"""Every table, the same on SQLite and PostgreSQL. Impossible combinations are CHECK constraints."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.types import TypeDecorator

from bridge.model import DeliveryState, TurnState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970: it compares and sorts the same on both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - the base's signature
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else _EPOCH + timedelta(microseconds=value)


def _one_of(column: str, states: type[TurnState | DeliveryState]) -> CheckConstraint:
    names = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({names})", name=f"{column}_known")


def constants(*words: str) -> list[ColumnElement[str]]:
    """Words written into a statement instead of bound to it: SQLite uses a partial index for nothing less."""
    return [literal_column(f"'{word}'", String) for word in words]


(UNREAD,) = constants("unread")
LIVE_TURN_STATES = constants("queued", "running", "paused")
LIVE_DELIVERY_STATES = constants("pending", "sending", "unknown")
LIVE_TURN = "state IN ('queued', 'running', 'paused')"
LIVE_DELIVERY = "state IN ('pending', 'sending', 'unknown')"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


# Rows here change several times in a few seconds: vacuumed when 2 % are dead, not 20 %, and with room on the page for
# new versions, so that most updates touch no index.
_HOT = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_analyze_scale_factor": 0.05, "fillfactor": 80}


def _partial(name: str, *columns: str, where: str, on_sqlite: str | None = None, unique: bool = False) -> Index:
    """Spelt as the statements spell it, or it is of no use to them: on SQLite, `open` is `open = 1`."""
    return Index(name, *columns, unique=unique, sqlite_where=text(on_sqlite or where), postgresql_where=text(where))


envelopes = Table(
    "envelopes",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # encrypted; credential headers were dropped before
    Column("created_at", Instant, nullable=False, index=True),
)

arrivals = Table(
    "arrivals",
    metadata,
    Column("source", String, primary_key=True),
    Column("delivery_key", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("envelope_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("message_keys", Text),  # JSON; what a copy is answered with, even where it would be read otherwise
    Column("owner", String),  # the node that reads it
    Column("attempt", Integer, nullable=False),
    Column("not_before", Instant),
    Column("error", Text),
    Column("received_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    CheckConstraint("state IN ('read', 'unread', 'parked')", name="state_known"),
    _partial("ix_arrivals_unread", "source", "received_at", where="state = 'unread'"),
    _partial("ix_arrivals_envelope_id", "envelope_id", where="state = 'unread'"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("key", String, nullable=False),
    Column("task_id", String),
    Column("agent", String),
    Column("agent_version", String),
    Column("seq", Integer, nullable=False),  # of the newest turn
    Column("owner", String),
    Column("epoch", Integer, nullable=False),  # grows with every change of owner
    Column("open", Boolean, nullable=False),  # something is left to do
    Column("wake_at", Instant),  # when, where nobody owns it meanwhile
    Column("nudged", Boolean, nullable=False, server_default=text("false")),  # another node left its owner work here
    Column("muted", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    UniqueConstraint("source", "key"),
    CheckConstraint("owner IS NULL OR open", name="owned_is_open"),
    _partial("ix_conversations_owner_wake_at", "owner", "wake_at", where="open", on_sqlite="open = 1"),
    _partial("ix_conversations_nudged", "owner", where="nudged", on_sqlite="nudged = 1"),
    _partial("ix_conversations_task_id", "source", "task_id", where="task_id IS NOT NULL"),
    postgresql_with=_HOT,
)

ERASED_KEY = literal_column("'erased:'", String) + conversations.c.id
"""The key of a conversation that was erased: nobody says it, and nothing that is said belongs there any more."""

aliases = Table(
    "aliases",
    metadata,
    Column("source", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("conversation_id", String, ForeignKey(conversations.c.id), nullable=False, index=True),
)

messages = Table(
    "messages",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("message_key", String, nullable=False),
    Column("conversation_id", String),
    Column("turn_id", String),
    Column("envelope_id", String),
    Column("act", String, nullable=False),  # say; an edit that became a turn of its own is kept beside it, uncounted
    Column("admission", String, nullable=False),  # admitted, declined:<reason>, parked:<reason>, cancelled:<reason>
    Column("matched_by", String),
    Column("stray_key", String),  # the conversation it would be of, had that begun; only of what came before it
    Column("addressed", String, nullable=False),
    Column("author_id", String, nullable=False),
    Column("return_address", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("body", Text, nullable=False),  # the rest of the InboundMessage as JSON: author, files, options, …
    Column("blanked", Boolean, nullable=False, server_default=text("false")),  # what was said is forgotten
    Column("received_at", Instant, nullable=False, index=True),
    UniqueConstraint("source", "message_key"),
    CheckConstraint("admission = 'admitted' OR turn_id IS NULL", name="only_admitted_have_turns"),
    Index("ix_messages_turn_id", "turn_id"),
    _partial("ix_messages_stray", "source", "stray_key", where="stray_key IS NOT NULL"),
    Index("ix_messages_conversation_id", "conversation_id", "author_id"),
)

turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("conversation_id", String, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("replay_of", String),  # the turn whose messages it took over, by an operator's wish
    Column("agent", String, nullable=False),
    Column("idempotency_key", String, nullable=False),
    Column("task_id", String),
    Column("event_cursor", String),
    Column("attempt", Integer, nullable=False),
    Column("not_before", Instant),
    Column("status", String),  # the agent's last status, verbatim
    Column("result", Text),  # the answer, whether or not anyone is owed a delivery of it
    Column("files", Text),  # what came with it, as JSON
    Column("error", Text),
    Column("stop_at", Instant),  # a person wants it stopped; whoever runs it does so
    Column(
        "restart", Boolean, nullable=False, server_default=text("false")
    ),  # … and begun anew with what was said since
    Column("asked_at", Instant),  # the person's answer to the agent's question: only what was said from then on is new
    Column("pause", Text),  # what the agent waits for, as JSON
    Column("paused_at", Instant),
    Column("notices", Integer, nullable=False, server_default=text("0")),  # how many were made of it
    Column("listened", Boolean, nullable=False, server_default=text("false")),  # a caller asked for its events
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),  # the first call was about to be made
    Column("tasked_at", Instant),  # the task id was known
    Column("finished_at", Instant),
    UniqueConstraint("conversation_id", "seq"),
    _one_of("state", TurnState),
    CheckConstraint("(finished_at IS NULL) = (" + LIVE_TURN + ")", name="finished_is_final"),
    _partial("ix_turns_live", "conversation_id", "seq", where=LIVE_TURN),
    _partial("ix_turns_stop_at", "stop_at", where="stop_at IS NOT NULL AND " + LIVE_TURN),
    _partial("uq_turns_running", "conversation_id", where="state = 'running'", unique=True),
    _partial("ix_turns_listened", "id", where="listened AND " + LIVE_TURN, on_sqlite="listened = 1 AND " + LIVE_TURN),
    _partial("ix_turns_finished_at", "finished_at", where="finished_at IS NOT NULL"),
    postgresql_with=_HOT,
)

events = Table(
    "events",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("type", String, nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Column("created_at", Instant, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("conversation_id", String, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("source", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("part", Integer, nullable=False),
    Column("copy", Integer, nullable=False, server_default=text("0")),  # 0: counts; more: set aside by a replay
    Column("seq", Integer, nullable=False),  # of its turn: answers go out in this order
    Column("state", String, nullable=False),
    Column("body", Text, nullable=False),  # the OutboundMessage, frozen
    Column("marker", String),  # withdraw, revise: what is to be done with what was sent
    Column("remote_id", String),
    Column("attempt", Integer, nullable=False),
    Column("not_before", Instant),
    Column("error", Text),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    UniqueConstraint("turn_id", "kind", "copy", "part"),
    _one_of("state", DeliveryState),
    CheckConstraint("kind IN ('answer', 'error', 'notice', 'progress')", name="kind_known"),
    CheckConstraint("(finished_at IS NULL) = (" + LIVE_DELIVERY + ")", name="finished_is_final"),
    _partial("ix_deliveries_live", "conversation_id", "seq", where=LIVE_DELIVERY),
    _partial("ix_deliveries_dead", "created_at", where="state = 'dead'"),
    postgresql_with=_HOT,
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("outcome", String, nullable=False),  # sent, retry, permanent, unknown
    Column("error", Text),
    Column("retry_after", Integer),  # seconds the platform asked for
)

budgets = Table(
    "budgets",
    metadata,
    Column("key", String, primary_key=True),
    Column("full_at", Instant, nullable=False),  # when the allowance will be whole again, if nothing more is spent
    Column("frozen_until", Instant),  # the platform said so (Retry-After); holds for all nodes
)

circuits = Table(
    "circuits",
    metadata,
    Column("agent", String, primary_key=True),
    Column("failures", Integer, nullable=False),  # in a row
    Column("opens_at", Instant),  # when it may be tried again; null: it is not away
    Column("probed_until", Instant),  # until then one node's try decides for all
)

destinations = Table(  # only those that fail, or are disabled
    "destinations",
    metadata,
    Column("id", String, primary_key=True),  # made of source and address
    Column("source", String, nullable=False),
    Column("address", Text, nullable=False),
    Column("failures", Integer, nullable=False),  # in a row
    Column("failing_since", Instant, nullable=False),
    Column("failed_at", Instant, nullable=False, index=True),  # the last time
    Column("error", Text),
    Column("disabled_at", Instant),
    Column("refused", Integer, nullable=False),  # failures in a row that speak against its being there
    Column("opens_at", Instant),  # left alone until then, by all nodes
    Column("probed_until", Instant),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", String, primary_key=True),
    Column("conversation_id", String, nullable=False),
    Column("turn_id", String, nullable=False, index=True),
    Column("delivery_id", String),  # the notice that asks; none where nobody can be told
    Column("kind", String, nullable=False),  # question, approval
    Column("choices", Text, nullable=False),  # JSON
    Column("people", Text, nullable=False),  # JSON: the author ids it is bound to
    Column("choice", String),  # set once, by the first of them
    Column("decided_by", String),
    Column("decided_at", Instant),
    Column("told_at", Instant),  # when the agent was told
    Column("open", Boolean, nullable=False, server_default=text("true")),  # false: its turn went on without it
    Column("expires_at", Instant, nullable=False),
    CheckConstraint("(choice IS NULL) = (decided_at IS NULL)", name="decided_whole"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("delivery_id", String, primary_key=True),
    Column("author_id", String, primary_key=True),
    Column("conversation_id", String, nullable=False, index=True),
    Column("value", Integer, nullable=False),  # 1 or -1; taken back: 0
    Column("given_at", Instant, nullable=False),
    Column("told_at", Instant),  # when the agent was told, where its service takes it
    _partial("ix_feedback_untold", "given_at", where="told_at IS NULL"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String, primary_key=True),
    Column("until", Instant, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("version", String, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("until", Instant, nullable=False),
)

vault = Table(
    "vault",
    metadata,
    Column("source", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("expires_at", Instant, index=True),  # null: kept for as long as the source is
    Column("conversation_id", String, index=True),  # erased with it
)

files = Table(
    "files",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("name", String, nullable=False),
    Column("media_type", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("origin", String, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
    UniqueConstraint("digest", "name"),
)

file_uses = Table(
    "file_uses",
    metadata,
    Column("conversation_id", String, primary_key=True),
    Column("file_id", String, primary_key=True, index=True),  # fetched for the agent; no other row names it
)

captures = Table(
    "captures",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the raw request and its answer
    Column("created_at", Instant, nullable=False),
    Index("ix_captures_source", "source", "created_at"),
)

discards = Table(
    "discards",
    metadata,
    Column("digest", String, primary_key=True),  # of stored bytes that no row of `files` names any more
    Column("created_at", Instant, nullable=False),
)
