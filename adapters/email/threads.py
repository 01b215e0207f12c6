"""Which conversation a mail belongs to: everything it says about that, in the order in which it is believed."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from adapters.email.headers import Headers, message_ids
from adapters.email.tokens import token_in_address, token_in_id
from bridge.model import Candidate

MAX_REFERENCES = 20
_RECIPIENT_FIELDS = (
    "delivered-to", "x-original-to", "x-forwarded-to", "envelope-to", "x-gm-original-to", "to", "cc",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Clues:
    """What a mail says about its conversation."""

    tokens: tuple[str, ...] = ()
    """Reply tokens: from the envelope recipients first, then the recipient fields."""
    references: tuple[str, ...] = ()
    """Message-IDs it answers, newest first."""
    reference_tokens: tuple[str, ...] = ()
    thread_index: str = ""
    """The conversation part (22 bytes) of Outlook's Thread-Index, as hex."""
    message_id: str = ""
    is_forward: bool = False


Repeats = Literal["nothing", "something", "all"]
"""How much of a mail repeats another one: what was cut from it, and whether anything is left."""


def read_clues(headers: Headers, recipients: Sequence[str], *, repeats: Repeats = "nothing") -> Clues:
    """Collect the clues. Never raises."""
    addresses = [*recipients, *(found.address for name in _RECIPIENT_FIELDS for found in headers.addresses(name))]
    references = references_of(headers)
    tokens = _distinct(token_in_address(address) for address in addresses)
    return Clues(
        tokens=tokens,
        references=tuple(reversed(references))[:MAX_REFERENCES],
        reference_tokens=_distinct(token_in_id(each) for each in reversed(references)),
        thread_index=conversation_index(headers.first("thread-index")),
        message_id=next(iter(message_ids(headers.first("message-id"))), ""),
        is_forward=_is_forward(headers.text("subject").strip().lower(), repeats, to_token=bool(tokens)),
    )


def _distinct(values: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))  # type: ignore[attr-defined]


def references_of(headers: Headers) -> list[str]:
    """All ids of References, then those of In-Reply-To, oldest first, each once."""
    found = [each for value in headers.all("references") for each in message_ids(value)]
    found += [each for value in headers.all("in-reply-to") for each in message_ids(value)]
    return list(dict.fromkeys(reversed(found)))[::-1]


_FORWARDS = ("fwd:", "fw:", "wg:", "tr:", "rv:", "enc:", "doorst:", "vl:", "转发:", "转发：", "転送:")
_MAYBE_FORWARDS = (*_FORWARDS, "i:", "vs:", "pd:")
"""`VS:` is a forward in Denmark and a reply in Finland; the others begin ordinary subjects, too."""


def _is_forward(subject: str, repeats: Repeats, *, to_token: bool) -> bool:
    """A bare forward surely; one with a note where the prefix is plain and it was not sent to a reply's address."""
    if repeats == "all":
        return subject.startswith(_MAYBE_FORWARDS)
    return repeats == "something" and not to_token and subject.startswith(_FORWARDS)


def conversation_index(value: str) -> str:
    """The 6 bytes of time and 16 of GUID that all mails of an Outlook conversation share ([MS-OXOMSG])."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw[:22].hex() if len(raw) >= 22 else ""  # noqa: PLR2004 - its fixed length


def reply_index(value: str, marker: bytes) -> str:
    """The Thread-Index of an answer: the parent's, and five bytes of our own."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return base64.b64encode(raw + marker[:5]).decode() if 22 <= len(raw) <= 500 else ""  # noqa: PLR2004


def candidates(
    clues: Clues, known: dict[str, str], linked: Sequence[Candidate], author: str, message_key: str
) -> tuple[Candidate, ...]:
    """In order: token, references, token in references, Thread-Index, and at last the new conversation.

    `known` leads from what the vault remembers (tokens, provider ids, thread indexes) to conversation ids.
    `linked` is what led earlier mails of the author to theirs, where this one answers them.
    Each of them counts only if the author already takes part; a forward always starts a new conversation.
    """
    found: list[Candidate] = []
    if not clues.is_forward:
        found += [_joined(known[token], "reply_token") for token in clues.tokens if token in known]
        for reference in clues.references:
            found.append(Candidate(value=reference, matched_by="references", participants_only=True))
            found.append(Candidate(value=own_key(author, reference), matched_by="references", participants_only=True))
            if reference in known:
                found.append(_joined(known[reference], "provider_id"))
        found += linked
        found += [_joined(known[token], "reference_token") for token in clues.reference_tokens if token in known]
        if clues.thread_index in known:
            found.append(_joined(known[clues.thread_index], "thread_index"))
    return (*found, Candidate(value=own_key(author, clues.message_id or message_key), matched_by="new"))


def _joined(conversation_id: str, matched_by: str) -> Candidate:
    return Candidate(value=conversation_id, matched_by=matched_by, kind="conversation_id", participants_only=True)


def own_key(author: str, first_id: str) -> str:
    """The key of the conversation that this author's mail began. Nobody else's mail can name it."""
    return f"{author} {first_id}"[:500]
