"""The words every room shares: what arrives, what is said, what is answered.

All of these are values: frozen, compared by content, safe to hand across threads.
Times are aware UTC datetimes; identifiers of ours are prefixed strings that sort by time.
"""

import functools
import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

Json: TypeAlias = Mapping[str, Any]

Addressed = Literal["direct", "mention", "ambient"]
Trust = Literal["verified", "unverified"]

REF: Final = "file:"
"""How the address of a file that is stored here begins."""

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
# Unique, not secret: what guards a message is a signature over its id. The system's own source is asked once, since
# each call of it lets go of the interpreter's lock, and getting that back under load took ten times as long as the id.
_random = random.Random(secrets.randbits(256))  # noqa: S311 - see above
_CHARACTERS = bytes(ord(_BASE32[byte & 31]) for byte in range(256))
"""Five bits of any byte, as a character: every message needs five ids."""


def new_id(prefix: str) -> str:
    """A new identifier such as `msg_06c2…`: 48 bits of milliseconds, then 80 random bits.

    Two ids made in different milliseconds sort by time as plain strings.
    """
    return f"{prefix}_{_stamp(time.time_ns() // 1_000_000)}{_random.randbytes(16).translate(_CHARACTERS).decode()}"


@functools.lru_cache(maxsize=1)
def _stamp(milliseconds: int) -> str:
    return "".join([_BASE32[milliseconds >> shift & 31] for shift in range(45, -1, -5)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A raw arrival, unopened. Nothing in it is trusted until its adapter has verified it."""

    source: str
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order of arrival, duplicates kept."""
    body: bytes
    received_at: datetime
    _index: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """Made once: a request is asked for some ten headers."""

    def __post_init__(self) -> None:
        index: dict[str, tuple[str, ...]] = {}
        for name, value in self.headers:
            index[name] = (*index[name], value) if name in index else (value,)
        object.__setattr__(self, "_index", index)

    def header_values(self, name: str) -> tuple[str, ...]:
        """Every value of a header, none merged: two signature headers are two, not one."""
        return self._index.get(name, ())

    def header(self, name: str) -> str | None:
        """The last value of a header, or None. For security headers use `header_values`."""
        values = self._index.get(name)
        return values[-1] if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who said it, as the platform names them, and how far the platform vouches for that."""

    id: str
    trust: Trust = "unverified"
    name: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    timezone: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file that came with a message or goes out with an answer, by reference only."""

    url: str
    """Where it can be read: an address from outside, or `file:<fil_… id>` once it is stored here."""
    name: str
    media_type: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What is known of a file; its bytes lie under its digest."""

    id: str
    digest: str
    """SHA-256, in hex."""
    name: str
    media_type: str
    size: int
    origin: str
    """Where it came from: a source's name, or `agent`."""
    created_at: datetime

    @property
    def ref(self) -> FileRef:
        """As messages carry it."""
        return FileRef(url=REF + self.id, name=self.name, media_type=self.media_type, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way of finding the conversation a message belongs to."""

    value: str
    matched_by: str
    """How the adapter came to it (`reply_token`, `thread`, …); kept with the message for people."""
    kind: Literal["key", "conversation_id", "task_id"] = "key"
    must_exist: bool = False
    """Refuse the arrival (422) when nothing of this source is known by it."""
    participants_only: bool = False
    """Counts only if the author has already said something in that conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """What one message may ask of the agent beyond its text; None leaves the agent's default."""

    title: str | None = None
    instructions_override: str | None = None
    additional_context: str | None = None
    expected_output: str | None = None
    output_format: str | None = None
    output_schema: Json | None = None
    think_mode: str | None = None
    disable_attachment_injection: bool | None = None
    agent_version: str | None = None


class Act(StrEnum):
    """What a person did. Only `say` makes a message that counts in the ledger."""

    SAY = "say"
    EDIT = "edit"  # the message with this message_key now reads as given
    DELETE = "delete"  # the message with this message_key is gone
    STOP = "stop"  # stop what the agent is doing in this conversation
    MUTE = "mute"
    UNMUTE = "unmute"
    RATE = "rate"  # thumbs on an answer: metadata has `value` ("1" or "-1") and `delivery_id` or `remote_id`
    DECIDE = "decide"  # an approval or a choice: metadata has `decision_id` and `choice`; author is who decided
    RESET = "reset"  # forget the task id: what comes next starts a new agent thread


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """What someone said, in our words. The text is data for the agent and never routes anything."""

    message_key: str
    """The platform's identity of the *message*; two arrivals of one message carry the same key."""
    conversation: tuple[Candidate, ...]
    """Tried in order; where none is known, the last one names the new conversation."""
    return_address: str
    """Where to answer: opaque, read by its adapter alone. Empty: no answer is owed."""
    author: Author
    addressed: Addressed = "direct"
    begins: bool = False
    """Nothing in its conversation was said before it: what came earlier has overtaken it."""
    text: str = ""
    quoted: str = ""
    """Material that came along (a mail's quoted text, thread history): handed on as untrusted."""
    context: str = ""
    """Facts the bridge itself vouches for: channel, permalink, trust level."""
    files: tuple[FileRef, ...] = ()
    options: RequestOptions = RequestOptions()
    metadata: Json = field(default_factory=dict)
    """Echoed to whoever receives the answer; the agent never sees it."""
    agent: str | None = None
    """Another configured agent than the source's own, where the configuration routes so."""
    act: Act = Act.SAY
    declined: str | None = None
    """Why this is not for the agent (`own_message`, `bot`, …): stored and counted, never answered."""
    parked: str | None = None
    """Why it is authentic but cannot be used: stored and counted, kept for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The immediate answer to a platform's request, where the core's standard 202 will not do."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What an adapter made of an envelope.

    `messages` None means: authentic, but to be read later by the adapter's `read` (see `Reads`);
    the arrival is stored and acknowledged all the same. Empty means: nothing to keep; the reply
    alone answers it (a handshake, something ignored) and nothing is stored.
    """

    delivery_key: str = ""
    """The platform's identity of this *transport attempt*; its redelivery carries the same key."""
    messages: tuple[InboundMessage, ...] | None = ()
    reply: Reply | None = None
    """None: the core answers 202 with message_id, conversation_id and status_url."""
    wait_seconds: float | None = None
    """How long the caller is to be kept for the answer although it sent no `Prefer: wait`; see `Answers`."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A node's claim on a conversation. It is void as soon as the row shows another owner or epoch."""

    conversation_id: str
    epoch: int


class TurnState(StrEnum):
    """Where a turn is. The transition into each state stands beside it."""

    QUEUED = "queued"  # ingest, or running -> queued to try again later
    RUNNING = "running"  # queued -> running when a node takes it; paused -> running when it goes on
    PAUSED = "paused"  # running -> paused while the agent waits for a person
    ANSWERED = "answered"  # running -> answered, together with its deliveries
    CANCELLED = "cancelled"  # queued, running, paused -> cancelled by a person
    DEAD = "dead"  # given up, kept for a person; `error` says why


class DeliveryState(StrEnum):
    """Where a delivery is. The transition into each state stands beside it."""

    PENDING = "pending"  # made with its answer; sending -> pending to try again later
    SENDING = "sending"  # pending, unknown -> sending, committed before the call
    SENT = "sent"  # sending -> sent with the platform's id
    UNKNOWN = "unknown"  # sending -> unknown: caught in flight, looked up before it is repeated
    DEAD = "dead"  # given up, kept for a person
    WITHDRAWN = "withdrawn"  # taken back, or no longer wanted


DeliveryKind = Literal["answer", "error", "notice", "progress"]


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a turn, with the id it was given."""

    id: str
    message: InboundMessage
    source: str = ""
    """Where it was said: a conversation may go on through another source than the one it began at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One inbound message, or several collected, at the head of its conversation: all an invoke needs, in one piece."""

    id: str
    lease: Lease
    seq: int
    source: str
    """Where its last message was said."""
    conversation: str
    """The conversation's key."""
    thread_id: str | None
    """The task id the conversation goes on with."""
    agent: str
    agent_version: str | None
    idempotency_key: str
    task_id: str | None
    """Known already: re-attach instead of invoking."""
    event_cursor: str | None
    attempt: int
    """How many calls were begun, this one included."""
    created_at: datetime
    said: tuple[Said, ...]
    started_at: datetime | None = None
    """Since when it is worked on without a wait for a person or for an agent that is away; None: from now on."""
    stopping: bool = False
    """A person wants it stopped."""
    pause: str | None = None
    """What the agent waits for, as it was told to the person."""
    paused_at: datetime | None = None
    notices: int = 0
    """How many notices it has led to."""
    shown: bool = False
    """A view of it stands on the platform already, from an earlier life."""
    listened: bool = False
    """A caller asked for its events."""
    via: str = ""
    """The source that its answers go out through, where that is not its own."""

    @property
    def answered_through(self) -> str:
        """The source that carries what this turn has to say."""
        return self.via or self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMessage:
    """Text and files to put on a platform. Frozen when the answer commits, the same at each try."""

    delivery_id: str
    """Stable over every retry and replay: what a receiver may dedupe on."""
    kind: DeliveryKind
    return_address: str
    text: str
    part: int = 0
    parts: int = 1
    files: tuple[FileRef, ...] = ()
    conversation_id: str = ""
    conversation: str = ""
    """The conversation's key, as the platform or the caller named it."""
    message_ids: tuple[str, ...] = ()
    """The messages this answers, oldest first."""
    turn_id: str = ""
    task_id: str | None = None
    status: str = ""
    """The agent's status, verbatim: completed, failed, paused, …"""
    metadata: Json = field(default_factory=dict)
    created_at: datetime
    repeated: bool = False
    """An earlier try may have got through and the platform cannot be asked: mark the copy."""

    @property
    def ends(self) -> bool:
        """Whether its turn is over with it; other notices are told on the way."""
        return self.kind in {"answer", "error"} or self.status == "stopped"
