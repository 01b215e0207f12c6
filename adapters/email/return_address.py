"""Where an answer goes, and what it needs to stand in the right thread. Only this adapter reads it."""

import json
import re
from dataclasses import asdict, dataclass

from adapters.email.headers import Headers
from adapters.email.threads import references_of

MAX_REFERENCES = 20

_REPLY_PREFIX = re.compile(
    r"(?:\s*(?:re|aw|sv|vs|antw|ant|odp|ynt|ref|rif|r|回复|答复|回覆|رد|השב|απ|отв|hồi âm)"
    r"\s*(?:\[\d+\]|\(\d+\))?\s*[:\uff1a])+\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnAddress:
    """The person, and the mail that is answered."""

    to: str
    name: str = ""
    subject: str = ""
    message_id: str = ""
    references: tuple[str, ...] = ()
    thread_index: str = ""
    thread_topic: str = ""
    unasked: bool = False
    """Nobody wrote a mail that this one answers."""

    def dump(self) -> str:
        """As one string, for the store."""
        return json.dumps({key: value for key, value in asdict(self).items() if value}, ensure_ascii=False)


def load(text: str) -> ReturnAddress:
    """Read what `dump` wrote. ValueError or TypeError if it is none of ours."""
    values = json.loads(text)
    back = ReturnAddress(**{**values, "references": tuple(values.get("references", ()))})
    if "@" not in back.to:
        raise ValueError("no address of a mailbox")
    return back


def return_address_of(headers: Headers, to: str, name: str) -> ReturnAddress:
    """Answer this mail: its id closes the references, of which the first and the last twenty stay."""
    message_id = headers.first("message-id")
    ids = re.findall(r"<[^<>\s]{1,250}>", message_id)
    references = references_of(headers)
    if len(references) > MAX_REFERENCES:
        references = [references[0], *references[-MAX_REFERENCES + 1 :]]
    return ReturnAddress(
        to=to,
        name=name,
        subject=headers.text("subject")[:500],
        message_id=ids[0] if ids else "",
        references=tuple(references),
        thread_index=headers.first("thread-index")[:700],
        thread_topic=headers.text("thread-topic")[:500],
    )


def reply_subject(subject: str) -> str:
    """`Re: ` once, whatever the subject already began with, in whatever language."""
    bare = _REPLY_PREFIX.sub("", subject, count=1) if _REPLY_PREFIX.match(subject) else subject
    return f"Re: {bare.strip()}".strip()
