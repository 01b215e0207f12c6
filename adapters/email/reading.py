"""Makes of an opened mail what the core needs: who said what, in which conversation, and whether it may be answered."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.email.headers import Address, Headers, decode_words
from adapters.email.identity import Identity
from adapters.email.ingresses.arrived import Arrived
from adapters.email.opened import Opened
from adapters.email.reports import Report
from adapters.email.return_address import return_address_of
from adapters.email.threads import Clues, candidates
from adapters.email.tokens import scrub
from bridge.model import Author, Candidate, FileRef, InboundMessage

NO_TEXT = "(The mail has no text.)"
DECLINED = {"auto": "auto_reply", "bounce": "bounce", "list": "list", "self": "own_message"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether the mail may reach the agent; both empty: it may."""

    declined: str | None = None
    parked: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may."""
        return self.declined is None and self.parked is None


def key_of(opened: Opened, clues: Clues, identity: Identity) -> str:
    """The identity of the message: the same over every route and recipient of ours.

    A mail whose author is not verified has a key of its own kind, so that a forgery with a known
    Message-ID cannot take the place of the genuine mail.
    """
    author = identity.author.address if identity.author else ""
    kind = "" if identity.verified else "unverified "
    return shortened(f"{kind}{author} {clues.message_id or opened.fingerprint}")


def shortened(key: str) -> str:
    """A key of at most 200 characters, still different where it was different."""
    return key if len(key) <= 200 else f"{key[:130]} {hashlib.sha256(key.encode()).hexdigest()}"  # noqa: PLR2004


def admit(opened: Opened, identity: Identity, *, senders: Sequence[str], required: bool, drop: bool) -> Admission:
    """The rules in the order in which they count: machines first, so that nobody answers them, forged or not."""
    if opened.judgement.sort != "human":
        return Admission(declined=DECLINED[opened.judgement.sort])
    if opened.too_complex:
        return Admission(parked="malformed")
    if identity.author is None or (required and not identity.verified):
        return Admission(declined="unauthenticated") if drop else Admission(parked="unauthenticated")
    if senders and not is_listed(identity.author, senders):
        return Admission(declined="sender_not_allowed")
    return Admission()


def is_listed(author: Address, senders: Sequence[str]) -> bool:
    """Whether an entry is the address, or `@` and its domain."""
    listed = {sender.lower() for sender in senders}
    return author.address in listed or f"@{author.domain}" in listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A mail with all that was found out about it."""

    arrived: Arrived
    opened: Opened
    clues: Clues
    known: dict[str, str]
    linked: Sequence[Candidate] = ()
    identity: Identity
    admission: Admission
    key: str
    files: tuple[FileRef, ...] = ()

    @property
    def may_be_answered(self) -> bool:
        """Now, or once a person has let it in. A machine never is, nor a mail that can be read two ways."""
        return self.admission.declined is None and self.identity.author is not None

    @property
    def author(self) -> Address:
        """Who wrote it, or who it says it is."""
        return self.identity.author or _claimed_author(self.opened.headers)

    @property
    def conversation(self) -> tuple[Candidate, ...]:
        """How its conversation is found, in order."""
        return candidates(self.clues, self.known, self.linked, self.author.address, self.key)


def message_of(reading: Reading) -> InboundMessage:
    """The message. What it quotes goes apart; tokens in it are removed, so that nobody learns them from the agent."""
    opened, identity = reading.opened, reading.identity
    author = reading.author
    text = scrub(opened.reply) or scrub(opened.headers.text("subject")) or NO_TEXT
    return InboundMessage(
        message_key=reading.key,
        conversation=reading.conversation,
        return_address=return_address_of(opened.headers, author.address, author.name).dump()
        if reading.may_be_answered
        else "",
        author=_author(author, identity),
        text=text,
        quoted=scrub(opened.elided),
        context=_context(reading),
        files=reading.files,
        declined=reading.admission.declined,
        parked=reading.admission.parked,
    )


def message_of_report(report: Report, key: str, conversation_ids: Sequence[str]) -> InboundMessage:
    """What a provider tells of our own mail: kept beside the conversation it is about, answered by nobody."""
    about = [Candidate(value=each, kind="conversation_id", matched_by="report") for each in conversation_ids]
    return InboundMessage(
        message_key=f"report {key}",
        conversation=(*about, Candidate(value=f"report {key}", matched_by="new")),
        return_address="",
        author=Author(id=report.recipients[0]),
        text=f"{report.reason}: {', '.join(report.recipients)}"[:1000],
        declined=report.kind,
    )


def _claimed_author(headers: Headers) -> Address:
    """Who it says it is, where that is not one mailbox: for the person who looks at it, never answered."""
    found = headers.addresses("from") or headers.addresses("return-path")
    return found[0] if found else Address("", "unknown")


def _author(author: Address, identity: Identity) -> Author:
    first, _, last = author.name.partition(" ")
    return Author(
        id=author.address,
        trust="verified" if identity.verified else "unverified",
        name=author.name[:200] or None,
        email=author.address,
        first_name=first[:100] or None,
        last_name=last[:100] or None,
        attributes={"identity": identity.method[:200]},
    )


def _context(reading: Reading) -> str:
    opened, identity = reading.opened, reading.identity
    level = "verified" if identity.verified else "NOT verified"
    lines = [
        "This is an email.",
        f"Sender: {reading.author.address}, {level} ({identity.method}).",
        f"Subject, as the sender wrote it: {_one_line(opened.headers.first('subject'))!r}",
    ]
    if opened.elided:
        lines.append("Text that the mail quotes or forwards is given apart; its authors are not verified.")
    if not reading.admission.is_open and opened.attachments:
        names = ", ".join(repr(each.name) for each in opened.attachments)
        lines.append(f"Its attachments were not taken over, because it was held back at first: {names}.")
    return "\n".join([*lines, *opened.notes])


def _one_line(value: str) -> str:
    return scrub(" ".join(decode_words(value).split()))[:300]
