"""Signs what happens in the workspace, sends it to the app, and sends it again as Slack does."""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlencode

from adapters.slack.fake.workspace import APP, BOT, TEAM, Workspace

Post: TypeAlias = Callable[[Mapping[str, str], bytes], Awaitable[int]]
"""Puts a request before the app and returns its status; 0 where no answer came in three seconds."""

RETRIES = (0.0, 60.0, 300.0)
"""Seconds after the first try and after each failure: at once, after a minute, after five."""
SECRET = "signing-secret-of-the-tests"  # noqa: S105 - of a Slack that does not exist
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(order=True, slots=True)
class Outgoing:
    """One delivery that is due."""

    due: float
    number: int
    body: bytes = field(compare=False)
    kind: str = field(compare=False, default=JSON)
    attempt: int = field(compare=False, default=0)
    reason: str = field(compare=False, default="")


class Deliveries:
    """What the app was and will be sent. Nothing moves before `pump`."""

    def __init__(self, slack: Workspace, post: Post, *, secret: str = SECRET) -> None:
        self._slack = slack
        self._post = post
        self._secret = secret.encode()
        self.waiting: list[Outgoing] = []
        self.statuses: list[int] = []
        self.lost: list[Outgoing] = []
        """Given up after the last retry: what a receiver that refuses four times never sees."""
        self.shared = False
        self._began = int(slack.now())
        self.enterprise = ""
        """Where the app is installed for a whole organisation: its id."""
        slack.publish = self.event

    def event(self, inner: Mapping[str, Any], *, team: str = TEAM, delay: float = 0.0) -> None:
        """Queue an inner event in a fresh envelope."""
        number = self._slack.number()
        envelope = {
            "token": "x",
            "team_id": team,
            "context_team_id": team,
            "api_app_id": APP,
            "type": "event_callback",
            # Unlike that of any Slack before it, or a bridge that outlives this one takes it for a copy.
            "event_id": f"Ev{self._began:X}{number:04d}",
            "event_time": int(self._slack.now()),
            "is_ext_shared_channel": self.shared,
            "enterprise_id": self.enterprise or None,
            "authorizations": [self._grant(team)],
            "event": dict(inner),
        }
        self.body(json.dumps(envelope).encode(), delay=delay)

    def _grant(self, team: str) -> dict[str, Any]:
        whole = bool(self.enterprise)
        return {"enterprise_id": self.enterprise or None, "team_id": None if whole else team, "user_id": BOT,
                "is_bot": True, "is_enterprise_install": whole}  # fmt: skip

    def body(self, body: bytes, *, kind: str = JSON, delay: float = 0.0) -> None:
        """Queue any bytes."""
        self.waiting.append(Outgoing(self._slack.now() + delay, self._slack.number(), body, kind))

    async def interaction(self, payload: Mapping[str, Any]) -> int:
        """A button or shortcut. Slack does not repeat those."""
        body = urlencode({"payload": json.dumps(payload)}).encode()
        return await self._post(self.headers(body, FORM), body)

    async def command(self, fields: Mapping[str, str]) -> int:
        """A slash command. Slack does not repeat those either."""
        body = urlencode(fields).encode()
        return await self._post(self.headers(body, FORM), body)

    def hurry(self) -> None:
        """What waits for its time is due now."""
        for out in self.waiting:
            out.due = self._slack.now()

    def again(self) -> None:
        """Queue everything that waits a second time: the same event ids, as after a lost acknowledgement."""
        self.waiting += [
            Outgoing(out.due, self._slack.number(), out.body, out.kind, 1, "http_timeout") for out in self.waiting
        ]

    async def pump(self) -> None:
        """Send what is due now, in order, until nothing is."""
        while True:
            due = sorted(out for out in self.waiting if out.due <= self._slack.now())
            if not due:
                return
            out = due[0]
            self.waiting.remove(out)
            status = await self._post(self.headers(out.body, out.kind, out.attempt, out.reason), out.body)
            self.statuses.append(status)
            if not 200 <= status < 300:  # noqa: PLR2004 - what HTTP calls success
                self._retry(out, status)

    def headers(self, body: bytes, kind: str, attempt: int = 0, reason: str = "") -> dict[str, str]:
        """As Slack sends them, signed now."""
        stamp = str(int(self._slack.now()))
        mac = hmac.new(self._secret, b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
        headers = {
            "content-type": kind,
            "x-slack-request-timestamp": stamp,
            "x-slack-signature": f"v0={mac}",
            "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        }
        if attempt:
            headers |= {"x-slack-retry-num": str(attempt), "x-slack-retry-reason": reason}
        return headers

    def _retry(self, out: Outgoing, status: int) -> None:
        if out.attempt >= len(RETRIES):
            self.lost.append(out)
            return
        due = self._slack.now() + RETRIES[out.attempt]
        reason = "http_error" if status else "http_timeout"
        self.waiting.append(Outgoing(due, out.number, out.body, out.kind, out.attempt + 1, reason))
