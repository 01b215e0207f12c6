"""How much is answered before it looks like two machines talking to each other: by thread, sender, words, domain."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from adapters.email.headers import Address
from adapters.email.memory import Limit, Memory
from adapters.email.opened import Opened
from adapters.email.reading import Admission
from adapters.email.settings import Settings
from adapters.email.threads import Clues

MIN_CHARS = 40
"""Shorter texts prove nothing: people say `Yes, please.` twice an hour."""

_MINUTES = timedelta(minutes=10)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


async def admit_within(
    settings: Settings, memory: Memory, now: datetime, *, author: Address, clues: Clues, opened: Opened, key: str
) -> Admission:
    """Count the mail under all it belongs to, once; parked where one of these has had its share."""
    thread = clues.references[-1] if clues.references else clues.message_id or key
    each = (Limit(settings.max_replies_10_minutes, _MINUTES), Limit(settings.max_replies_day, _DAY))
    budgets = (
        (f"thread {thread}", each),
        (f"sender {author.address}", each),
        (f"domain {author.domain}", (Limit(settings.max_domain_day, _DAY),)),
        ("global", (Limit(settings.max_global_day, _DAY),)),
    )
    for name, limits in budgets:
        if not await memory.within(name, key, now, limits):
            return Admission(parked="too_many_mails")
    for name, limit in _of_words(settings, author, opened):
        if not await memory.within(name, key, now, (limit,)):
            return Admission(parked="same_text")
    return Admission()


def _of_words(settings: Settings, author: Address, opened: Opened) -> Iterator[tuple[str, Limit]]:
    """A responder that changes its address with every mail is known by what it says; quoted text does not count."""
    words = " ".join(opened.reply.casefold().split())
    if len(words) < MIN_CHARS:
        return
    said = hashlib.sha256(words.encode("utf-8", "surrogatepass"))
    for attachment in opened.attachments:  # the same words with another file are another request
        said.update(hashlib.sha256(attachment.content).digest())
    yield f"words {said.hexdigest()} of {author.address}", Limit(settings.max_same_text_hour, _HOUR)
    yield f"words {said.hexdigest()}", Limit(settings.max_replies_10_minutes, _MINUTES)
