"""Finds the conversations a batch of messages belongs to, and locks their rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, or_, select

from bridge.model import Candidate, InboundMessage, new_id
from bridge.store.prepared import Asked, Prepared, Values, among
from bridge.store.tables import ERASED_KEY, aliases, conversations, messages
from bridge.store.writer import Tx


@dataclass(slots=True)
class Conversation:
    """A conversation's row within one transaction; `changed` ones are written back at its end."""

    id: str
    source: str
    key: str
    seq: int = 0
    owner: str | None = None
    epoch: int = 0
    open: bool = False
    muted: bool = False
    task_id: str | None = None
    agent: str | None = None
    """Whom its own source asked last: the task is that agent's."""
    is_new: bool = False
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """The conversation a message belongs to, and how that was found."""

    conversation: Conversation
    matched_by: str


_COLUMNS = [
    conversations.c[name]
    for name in ("id", "source", "key", "seq", "owner", "epoch", "open", "muted", "task_id", "agent")
]
_LOCKED = select(*_COLUMNS).order_by(conversations.c.id).with_for_update()
# Asked with the lock: one that was erased while this transaction waited for it leads nowhere any more, either.
_LIVES = _LOCKED.where(conversations.c.key != ERASED_KEY)
_HERE = conversations.c.source == bindparam("source")
_SENT_HERE = select(aliases.c.key).where(
    aliases.c.source == bindparam("source"), aliases.c.conversation_id == conversations.c.id
)
_BY_ID = Prepared(_LIVES.where(among(conversations.c.id, "values")))
_BY: Mapping[str, Prepared] = {
    "key": Prepared(_LOCKED.where(_HERE, among(conversations.c.key, "values"))),
    # One of another source counts where something of it was sent here.
    "conversation_id": Prepared(_LIVES.where(or_(_HERE, _SENT_HERE.exists()), among(conversations.c.id, "values"))),
    "task_id": Prepared(
        _LIVES.where(_HERE, among(conversations.c.task_id, "values"), conversations.c.task_id.is_not(None))
    ),
}
_ALIASES = Prepared(
    select(aliases.c.key, aliases.c.conversation_id).where(
        aliases.c.source == bindparam("source"), among(aliases.c.key, "keys")
    )
)
_PARTICIPANTS = Prepared(
    select(messages.c.conversation_id, messages.c.author_id)
    .where(among(messages.c.conversation_id, "ids"), among(messages.c.author_id, "authors"))
    .where(messages.c.admission == "admitted")  # what was declined or parked made nobody a participant
    .distinct()
)


class Lookup:
    """What a batch's candidates lead to. Candidates of several kinds, one look each, rows locked in order of id."""

    def __init__(self, tx: Tx, said: Sequence[tuple[str, InboundMessage]]) -> None:
        self._tx = tx
        self._heard: dict[tuple[str, str, str], Conversation] = {}
        self._participants: set[tuple[str, str]] = set()
        wanted: dict[tuple[str, str], set[str]] = {}
        for source, message in said:
            for candidate in message.conversation:
                wanted.setdefault((source, candidate.kind), set()).add(candidate.value)
        self._asked = [self._ask(source, kind, values) for (source, kind), values in sorted(wanted.items())]
        if any(candidate.participants_only for _, message in said for candidate in message.conversation):
            self._learn_participants({message.author.id for _, message in said})

    def match(self, source: str, message: InboundMessage) -> Match | None:
        """The first candidate that leads somewhere, or None."""
        for candidate in message.conversation:
            conversation = self._found.get((source, candidate.kind, candidate.value))
            if conversation is not None and self._counts(source, candidate, conversation, message):
                return Match(conversation, candidate.matched_by)
        return None

    def hold(self, conversation_id: str, source: str) -> Conversation | None:
        """A conversation by its id, locked; None if there is none. Matches it for what this source says later, too."""
        found = next((known for known in self._conversations() if known.id == conversation_id), None)
        if found is None:
            found = next(iter(self._select(_BY_ID, {"values": [conversation_id]})), None)
        if found is not None:
            self._found[source, "conversation_id", found.id] = found
        return found

    def missing(self, source: str, message: InboundMessage) -> Candidate | None:
        """A candidate that must exist and does not."""
        for candidate in message.conversation:
            if candidate.must_exist and (source, candidate.kind, candidate.value) not in self._found:
                return candidate
        return None

    def create(self, source: str, candidates: Sequence[Candidate], agent: str) -> Match:
        """A new conversation with this agent, named by the last candidate; later messages of the batch find it, too.

        Where a candidate is a task id, the conversation goes on with that task.
        """
        last = candidates[-1]
        key = f"task:{last.value}" if last.kind == "task_id" else last.value
        conversation = self._of_that_name(source, key) if last.kind != "key" else None
        if conversation is None:
            task_id = next((candidate.value for candidate in candidates if candidate.kind == "task_id"), None)
            conversation = Conversation(
                id=new_id("cnv"), source=source, key=key, task_id=task_id, agent=agent, is_new=True
            )
        self._found[source, last.kind, last.value] = conversation
        return Match(conversation, last.matched_by)

    def changed(self) -> list[Conversation]:
        """The conversations whose rows are to be written back, in the order of their ids."""
        return sorted((c for c in self._conversations() if c.changed), key=lambda c: c.id)

    def _conversations(self) -> Iterable[Conversation]:
        return {id(c): c for c in self._found.values()}.values()

    def _counts(self, source: str, candidate: Candidate, conversation: Conversation, message: InboundMessage) -> bool:
        if not candidate.participants_only or (conversation.id, message.author.id) in self._participants:
            return True
        # Of another source: the operator sent its answers to an address here, and whoever is there may go on.
        return conversation.source != source

    @property
    def _found(self) -> dict[tuple[str, str, str], Conversation]:
        """What each candidate leads to. Asked at the beginning: the way to the database is shared with what follows."""
        asked, self._asked = self._asked, []
        for one in asked:
            self._hear(one)
        return self._heard

    def _ask(self, source: str, kind: str, values: set[str]) -> "_Asked":
        connection = self._tx.connection
        by_kind = _BY[kind].ask(connection, {"source": source, "values": values})
        by_alias = _ALIASES.ask(connection, {"source": source, "keys": values}) if kind == "key" else None
        return _Asked(source, kind, by_kind, by_alias)

    def _hear(self, asked: "_Asked") -> None:
        source, kind = asked.source, asked.kind
        for conversation in self._met(asked.by_kind.rows()):
            value = {"key": conversation.key, "conversation_id": conversation.id, "task_id": conversation.task_id}[kind]
            self._heard[source, kind, str(value)] = conversation
        if asked.by_alias is not None:
            self._follow(source, {row.key: row.conversation_id for row in asked.by_alias.rows()})

    def _follow(self, source: str, owners: Mapping[str, str]) -> None:
        """By what else the conversations are known, before the key of one that began by such a name: see `Ahead`."""
        if owners:
            rows = {c.id: c for c in self._select(_BY_ID, {"values": set(owners.values())})}
            for key, conversation_id in owners.items():
                if (conversation := rows.get(conversation_id)) is not None:
                    self._heard[source, "key", key] = conversation

    def _select(self, query: Prepared, values: Values) -> list[Conversation]:
        return self._met(query.rows(self._tx.connection, values))

    def _met(self, rows: Sequence[Any]) -> list[Conversation]:
        if not rows:
            return []
        known = {c.id: c for c in self._heard.values()}
        return [known.get(row.id) or Conversation(*row) for row in rows]

    def _learn_participants(self, author_ids: set[str]) -> None:
        ids = {c.id for c in self._conversations()}
        rows = _PARTICIPANTS.rows(self._tx.connection, {"ids": ids, "authors": author_ids})
        self._participants = {(row.conversation_id, row.author_id) for row in rows}

    def _of_that_name(self, source: str, key: str) -> Conversation | None:
        """One that was named by a task, say, and has gone on with another since."""
        return next(iter(self._select(_BY["key"], {"source": source, "values": [key]})), None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions about one source's candidates of one kind."""

    source: str
    kind: str
    by_kind: Asked
    by_alias: Asked | None
