"""What the fake Slack remembers: people, channels, messages, files, tokens, and every call made to it."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from adapters.slack.fake.faults import Faults
from adapters.slack.fake.limits import Limits
from adapters.slack.manifest import BOT_SCOPES
from bridge.clock import Clock

Message: TypeAlias = dict[str, Any]
Publish: TypeAlias = Callable[[Mapping[str, Any]], None]

APP, TEAM, BOT, BOT_ID = "A1", "T1", "UBOT", "BBOT"
STREAM_SECONDS = 300.0


class ApiError(Exception):
    """`ok: false`, with Slack's word for the reason."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.error = error
        self.more = more


@dataclass(slots=True)
class Grant:
    """What a token may do."""

    team: str = TEAM
    scopes: frozenset[str] = frozenset(BOT_SCOPES)
    expires_at: float | None = None


@dataclass(slots=True)
class Stream:
    """A message that is still being written."""

    began: float
    text: str = ""
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    open: bool = True


@dataclass(slots=True)
class Stored:
    """A file by its bytes."""

    id: str
    name: str
    body: bytes = b""
    media_type: str = "text/plain"
    shared: bool = False


class Workspace:
    """One workspace with our app in it. `publish` is called with every inner event that the app would get."""

    def __init__(self, clock: Clock, url: str = "http://slack.test/") -> None:
        self.clock = clock
        self.url = url
        self.publish: Publish = lambda _: None
        self.users: dict[str, dict[str, Any]] = {
            "U1": _user("U1", "Ada", "ada@example.com"),
            "U2": _user("U2", "Grace", "grace@example.com"),
            BOT: {**_user(BOT, "Agent", None), "is_bot": True},
        }
        self.channels: dict[str, dict[str, Any]] = {
            "C1": {"id": "C1", "name": "general", "is_member": True},
            "C2": {"id": "C2", "name": "random", "is_member": True},
            "D1": {"id": "D1", "is_im": True, "user": "U1"},
        }
        self.messages: dict[tuple[str, str], Message] = {}
        self.ephemeral: list[Message] = []
        self.responses: list[Message] = []
        """What came by `response_url`."""
        self.streams: dict[tuple[str, str], Stream] = {}
        self.files: dict[str, Stored] = {}
        self.tokens: dict[str, Grant] = {
            "xoxb-test": Grant(),
            "xapp-test": Grant(scopes=frozenset({"connections:write"})),
        }
        self.codes: dict[str, Grant] = {}
        self.refreshes: dict[str, Grant] = {}
        self.statuses: dict[tuple[str, str], str] = {}
        self.titles: dict[tuple[str, str], str] = {}
        self.prompts: list[Any] = []
        self.is_agent = True
        """Whether the app is declared an agent, so that agents.* work."""
        self.unfurls = False
        """Whether a posted link echoes as message_changed, as it does unless unfurling is off."""
        self.calls: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults = Faults()
        self.limits = Limits(clock)
        self._numbers = itertools.count(1)
        self._last = 0

    def now(self) -> float:
        """Seconds of the epoch."""
        return self.clock.now().timestamp()

    def number(self) -> int:
        """One that nothing else has."""
        return next(self._numbers)

    def new_ts(self) -> str:
        """Later than any before, also within a second."""
        self._last = max(self._last + 1, round(self.now() * 1_000_000))
        return f"{self._last // 1_000_000}.{self._last % 1_000_000:06d}"

    def add(self, channel: str, fields: Mapping[str, Any], *, thread_ts: str | None = None) -> Message:
        """Put a message into a channel and tell the app."""
        if channel not in self.channels:
            raise ApiError("channel_not_found")
        if thread_ts is not None and (channel, thread_ts) not in self.messages:
            # Unlike postMessage of the real thing, which takes any thread_ts: a reply that hangs nowhere is a bug.
            raise ApiError("thread_not_found")
        ts = self.new_ts()
        message: Message = {"type": "message", "ts": ts, "team": TEAM, **fields}
        if thread_ts is not None:
            message["thread_ts"] = thread_ts
            self.messages[channel, thread_ts].setdefault("thread_ts", thread_ts)
        self.messages[channel, ts] = message
        return message

    def announce(self, channel: str, message: Message) -> None:
        """The `message` event of a new message."""
        kind = "im" if channel.startswith("D") else "channel"
        shown = {name: value for name, value in message.items() if name != "metadata" or value}
        self.publish({**shown, "channel": channel, "channel_type": kind, "event_ts": message["ts"]})

    def message(self, channel: str, ts: str) -> Message:
        """Raises message_not_found."""
        try:
            return self.messages[channel, ts]
        except KeyError:
            raise ApiError("message_not_found") from None

    def thread(self, channel: str, root: str) -> list[Message]:
        """The root and its replies, in order."""
        return [
            message
            for (where, ts), message in sorted(self.messages.items())
            if where == channel and root in {ts, message.get("thread_ts")}
        ]

    def answers(self, channel: str, root: str) -> list[str]:
        """What our app says in a thread, as people read it."""
        return [said_in(message) for message in self.thread(channel, root) if message.get("app_id") == APP]

    def is_streaming(self, channel: str, ts: str) -> bool:
        """Slack itself ends a stream five minutes after its start."""
        stream = self.streams.get((channel, ts))
        if stream is not None and stream.open and self.now() - stream.began >= STREAM_SECONDS:
            stream.open = False
        return stream is not None and stream.open


def said_in(message: Message) -> str:
    """The text people see: of the markdown blocks, where there are any."""
    blocks = [block["text"] for block in message.get("blocks") or () if block.get("type") == "markdown"]
    return "\n".join(blocks) if blocks else str(message.get("text") or "")


def _user(user: str, name: str, email: str | None) -> dict[str, Any]:
    return {
        "id": user,
        "team_id": TEAM,
        "name": name.lower(),
        "is_bot": False,
        "tz": "Europe/London",
        "profile": {"real_name": name, "display_name": name, "first_name": name, "email": email},
    }
