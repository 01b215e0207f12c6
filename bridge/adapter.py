"""What a platform must be able to do, and what it is given. One small protocol per ability.

A module under `adapters/` exposes `Settings` (a pydantic model of its table in the configuration)
and `build(settings, kit) -> Adapter`. Optional abilities are the side protocols below, found by
`isinstance` when the bridge starts. An adapter keeps no state between calls, never touches the
store and never decides whether to answer.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import httpx2

from bridge.clock import Clock
from bridge.errors import ReceiveError
from bridge.model import Envelope, FileRef, InboundMessage, OutboundMessage, Received, Reply
from bridge.tokens import Tokens

R = TypeVar("R")


@runtime_checkable
class Adapter(Protocol):
    """Speaks one platform, both directions."""

    max_chars: int
    """The longest text one message of the platform holds; the core splits above it."""

    async def receive(self, envelope: Envelope) -> Received:
        """Verify first, then parse. Runs before the platform's 2xx: no network, no heavy parsing.

        Raises ReceiveError and nothing else, whatever the bytes are.
        """
        ...

    async def send(self, message: OutboundMessage) -> str:
        """Put the message on the platform and return the platform's id for it.

        May be called again with the same `delivery_id` after a crash. Raises Retryable or
        Permanent and nothing else.
        """
        ...


@runtime_checkable
class Reads(Protocol):
    """Opens an arrival after it was acknowledged, where that needs the network or much work."""

    async def read(self, envelope: Envelope) -> Sequence[InboundMessage]:
        """May run more than once for one arrival and must then find the same message keys."""
        ...


Accept: TypeAlias = Callable[[Received, Envelope], Awaitable[object]]
"""Stores what arrived; returns only after the commit, so that a platform may be told then."""


@runtime_checkable
class Connects(Protocol):
    """Has a connection of its own to the platform (a socket, a mailbox)."""

    async def run(self, accept: Accept) -> None:
        """Runs until cancelled, on one node at a time. May raise: it is started again, with back-off."""
        ...


@runtime_checkable
class Admits(Protocol):
    """Must ask the network whether a message is for the agent at all, which cannot be asked before the 2xx."""

    async def admit(self, message: InboundMessage) -> InboundMessage:
        """The message, `declined` where it is not. May be asked again for the same message.

        Raises Retryable where that cannot be told now: the message waits, unanswered, and is asked about again, while
        what was said behind it waits, too. Raises Permanent where it will not be told: the message is given up.
        """
        ...


@runtime_checkable
class Enriches(Protocol):
    """Adds to a message what needs the network: people, history, files."""

    async def enrich(self, message: InboundMessage) -> InboundMessage:
        """Time-boxed by the core; on failure the message goes on as it was."""
        ...


class Progress(Protocol):
    """A view of a running turn on the platform. Losing it loses nothing but the view; no method raises SendError."""

    @property
    def remote_id(self) -> str | None:
        """The platform's id of what is shown now, None while nothing is.

        Committed whenever it has changed: after a crash it is revised or withdrawn before anything new is posted.
        """
        ...

    async def show(self, kind: str, data: Any) -> None:
        """Show a task event: `chunk` (str), `tool_call_request` or `plan_updated` (mappings), and so on."""
        ...

    async def close(self, final: OutboundMessage | None) -> str | None:
        """End the view. Where it became the answer itself, returns the platform's id for it.

        `final` is the answer's only part, or None where there are several or none: then the view goes away.
        """
        ...


@runtime_checkable
class Leaves(Protocol):
    """A view that does something by itself, such as showing a status anew, and can be told to let that be."""

    def leave(self) -> None:
        """Nobody follows the turn here any more, closed or not. What stands there stays: another node may be at it."""
        ...


@runtime_checkable
class Shows(Protocol):
    """Can show that work goes on: a status, a live stream, a plan."""

    async def open(self, message: OutboundMessage) -> Progress:
        """`message` is a `progress` message without text; its delivery is committed beforehand."""
        ...


@runtime_checkable
class Finds(Protocol):
    """Can be asked whether a delivery arrived."""

    async def find(self, message: OutboundMessage) -> str | None:
        """The platform's id of an earlier try, or None if there surely is none. Raises Retryable."""
        ...


@runtime_checkable
class Revises(Protocol):
    """Can change what was sent."""

    async def revise(self, remote_id: str, message: OutboundMessage) -> None:
        """Raises Retryable or Permanent."""
        ...


@runtime_checkable
class Withdraws(Protocol):
    """Can take back what was sent."""

    async def withdraw(self, remote_id: str, message: OutboundMessage) -> None:
        """Raises Retryable or Permanent."""
        ...


@runtime_checkable
class Addresses(Protocol):
    """Can say something where nobody has spoken yet, because the operator named a place (`reply_via`)."""

    def return_address(self, address: str) -> str:
        """The return address of a place as an operator writes it. No network. Raises ValueError with a sentence."""
        ...


@runtime_checkable
class Serves(Protocol):
    """Has pages of its own under `/in/{source}/`."""

    def routes(self) -> Sequence[Any]:
        """Starlette routes, mounted below the source's path."""
        ...


@runtime_checkable
class Handshakes(Protocol):
    """Takes more than POST, because the platform introduces itself by GET or OPTIONS."""

    methods: frozenset[str]
    """All HTTP methods it takes, POST included."""


@runtime_checkable
class Answers(Protocol):
    """Has its own form for the answer to a caller that waited for it."""

    def answer(self, envelope: Envelope, message: OutboundMessage) -> Reply | None:
        """The response that carries the turn's answer, or None for the bridge's own form."""
        ...


@runtime_checkable
class Refuses(Protocol):
    """Its platform repeats what is refused, unless the refusal has a form of the platform's own."""

    def refusal(self, error: ReceiveError) -> Reply | None:
        """The response to what is never taken, or None for the bridge's own form. No network."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """Has its own idea of when to try again."""

    schedule: Sequence[float]
    """Seconds before each attempt, counted from the failure of the one before; after the last the delivery is dead."""


@runtime_checkable
class Budgets(Protocol):
    """Knows the platform's rate limits; the core holds them across nodes."""

    def budget(self, message: OutboundMessage) -> Sequence[tuple[str, float, int]]:
        """What sending the message counts against: (key, calls a minute, burst), each of which must have room."""
        ...


@runtime_checkable
class Destines(Protocol):
    """Sends to addresses of many owners, any of which may be down, or want no more."""

    concurrency: int
    """How many sends one address gets at the same time, from each node."""

    def destination(self, message: OutboundMessage) -> str | None:
        """The address that `send` would call; None where it would call none."""
        ...


@runtime_checkable
class Closes(Protocol):
    """Holds connections of its own."""

    async def close(self) -> None:
        """Give them up. Called once, when nothing else is called any more."""
        ...


class Vault(Protocol):
    """What an adapter must remember: small named values of this source, encrypted at rest."""

    async def get(self, name: str) -> tuple[bytes, int] | None:
        """The value and its version, or None."""
        ...

    async def put(
        self,
        name: str,
        value: bytes,
        *,
        version: int | None,
        keep: timedelta | None = None,
        conversation_id: str | None = None,
    ) -> bool:
        """Compare and set: False if the stored version is another (None: nothing stored yet).

        What is to be kept for some time only is forgotten after it; until it is, it may still be found.
        What belongs to one conversation is erased with it.
        """
        ...

    async def delete(self, name: str) -> None:
        """Forget the value; nothing happens where there is none."""
        ...

    async def names(self, prefix: str = "") -> Sequence[str]:
        """The stored names that start with `prefix`, sorted."""
        ...


class Files(Protocol):
    """Attachments, stored by content."""

    async def store(self, name: str, media_type: str | None, content: bytes, *, origin: str) -> FileRef:
        """Store and return a reference of the form `file:fil_…`. Twice the same content is one file.

        Raises TooLarge for more than the bridge takes (`[bridge] max_file`), whatever the source's own limit says.
        """
        ...

    async def load(self, ref: FileRef) -> bytes:
        """The bytes of a stored file. Raises KeyError where it is gone."""
        ...

    def link(self, ref: FileRef, lifetime: timedelta) -> str:
        """A signed, expiring link under our public address that keeps the file's extension."""
        ...


class Cpu(Protocol):
    """A killable worker for work that hostile input could make endless."""

    async def run(self, function: Callable[..., R], *args: object, seconds: float) -> R:
        """Run a module-level function in another process. Raises TimeoutError after `seconds`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """One source as it is configured, for commands about it. Nothing is open."""

    source: str
    settings: Any
    """Its adapter's own `Settings`."""
    public_url: str
    """Where it receives, as the world sees it."""


FindSource: TypeAlias = Callable[[Path | None, str | None], Configured]
"""Reads a configuration (None: the usual one) and gives the adapter's source of this name, or its only one.

Raises ConfigError. An adapter that is a package may have a module `commands` with `commands(find) -> typer.Typer`:
its own part of the command line, `agent-bridge {adapter} …`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What an adapter is given. Nothing in it belongs to another source."""

    source: str
    public_url: str
    """Where this source receives, as the world sees it: `https://…/in/{source}`."""
    http: httpx2.AsyncClient
    """For addresses the operator wrote himself."""
    guarded_http: httpx2.AsyncClient
    """For addresses that came from outside or can change: checked where it dials."""
    clock: Clock
    tokens: Tokens
    vault: Vault
    files: Files
    cpu: Cpu
    max_body: int
    options: Mapping[str, str]
    """Options of the bridge an adapter may want to show in a page or a manifest (`name`)."""
