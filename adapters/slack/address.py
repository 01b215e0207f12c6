"""Where something is on Slack: what a return address, a conversation key and a remote id are made of."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields

from bridge.documents import read, written
from bridge.errors import Permanent

AND = "+"
"""Between the ts of a message and of the one that it replaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to answer. The same for all messages of one person in one thread, so that they can be collected."""

    app: str = ""
    """Empty: a place the operator wrote, still to be completed."""
    tenant: str = ""
    """Enterprise or team the conversation belongs to; `shared` in a channel shared between organisations."""
    team: str = ""
    """Whose token posts."""
    enterprise: str = ""
    channel: str
    root: str = ""
    """`ts` of the thread's first message; empty: answer outside of any thread."""
    user: str = ""
    user_team: str = ""
    ephemeral: bool = False
    """Only `user` sees it."""
    hook: str = ""
    """Slack's `response_url` of a slash command: the one way to tell `user` something where the bot is no member."""

    def dump(self) -> str:
        """As compact JSON, empty members left out."""
        return written({name: value for name in _NAMES if (value := getattr(self, name))}).decode()

    def key(self, ts: str) -> str:
        """The identity of a message's thread: conversation keys and remote ids are both made of it."""
        return f"{self.app}:{self.tenant}:{self.channel}:{ts}"

    @property
    def is_direct(self) -> bool:
        return self.channel.startswith("D")


_NAMES = tuple(field.name for field in fields(Address))


@functools.lru_cache(maxsize=1024)  # a message's address is read at each of its stations
def load(text: str) -> Address:
    """Read what `dump` wrote. Raises Permanent for anything else."""
    try:
        return Address(**read(text))
    except (ValueError, TypeError) as error:
        raise Permanent(f"not a return address of a Slack source: {text[:100]!r}") from error


def place(remote_id: str) -> tuple[str, str, Sequence[str]]:
    """Channel and ts of a remote id, and what stands there besides until the message has taken its place."""
    _, _, channel, ts = remote_id.split(":")
    ts, *former = ts.split(AND)
    return channel, ts, former
