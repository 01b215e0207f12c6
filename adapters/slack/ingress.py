"""What Slack posts to us: verified over the raw bytes, then parsed, without any call to anyone."""

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs

import structlog

from adapters.slack.events import Events, Payload
from adapters.slack.interactions import OK, interaction, slash
from adapters.slack.settings import Settings
from bridge import documents
from bridge.clock import Clock
from bridge.errors import Malformed, TooLarge
from bridge.model import Envelope, Received, Reply
from bridge.signing import Scheme, Timestamp, secret_from_text, verify

log = structlog.get_logger()

SIGNATURE = Scheme(
    kind="hmac",
    signature=("header:X-Slack-Signature",),
    parse="prefix",
    prefix="v0=",
    timestamp=Timestamp(place="header:X-Slack-Request-Timestamp"),
    sign=("lit:v0:", "ts", "lit::", "body"),
)
"""docs.slack.dev, Verifying requests from Slack. The same for events, interactions and slash commands."""


class Ingress:
    """Reads envelopes of one source. Nothing is remembered between them."""

    def __init__(self, settings: Settings, events: Events, clock: Clock, max_body: int) -> None:
        self._settings = settings
        self._events = events
        self._secrets = (secret_from_text(SIGNATURE, settings.signing_secret.get_secret_value()),)
        self._clock = clock
        self._max_body = max_body

    def receive(self, envelope: Envelope) -> Received:
        """Raises ReceiveError only. Whatever is ignored is a 200: a refusal makes Slack retry and switch us off."""
        return self.read(self.opened(envelope))

    def opened(self, envelope: Envelope) -> bytes:
        """The body, once it is known to be Slack's; empty for Slack's certificate check. Raises ReceiveError."""
        body = envelope.body
        if len(body) > self._max_body:
            raise TooLarge(f"The body has {len(body)} bytes; this source takes {self._max_body} (max_body).")
        if body == b"ssl_check=1" or body.startswith(b"ssl_check=1&"):
            return b""  # it may come unsigned, and asks for nothing
        verify(SIGNATURE, self._secrets, envelope, self._clock.now())
        return body

    def read(self, body: bytes) -> Received:
        """Raises Malformed where authentic bytes are no event, interaction or slash command."""
        if not body:
            return Received(reply=OK)
        try:
            return self.payload(_json(body)) if body[:1] == b"{" else self._form(body)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError) as error:
            raise Malformed("Signed, but not in the shape of a Slack event, interaction or slash command.") from error

    def payload(self, payload: Payload) -> Received:
        """What the Events API sends, over HTTP or a socket. Raises KeyError and the like on a wrong shape."""
        kind = payload["type"]
        if kind == "event_callback":
            messages = self._events.read(payload)
            key = f"{payload.get('api_app_id', '')}:{payload['event_id']}"
            return Received(delivery_key=key, messages=messages, reply=OK)
        if kind == "url_verification":
            return Received(reply=Reply(body=json.dumps({"challenge": payload["challenge"]}).encode()))
        if kind == "app_rate_limited":
            log.warning("slack_drops_events", team=payload.get("team_id"), minute=payload.get("minute_rate_limited"))
        return Received(reply=OK)

    def interaction(self, payload: Payload, raw: bytes) -> Received:
        """A button, shortcut or dialog."""
        return interaction(self._settings, payload, _digest(raw))

    def command(self, form: dict[str, str], raw: bytes) -> Received:
        """A slash command, by its form fields."""
        return slash(self._settings, form, _digest(raw))

    def _form(self, body: bytes) -> Received:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100)
        form = {name: values[0].replace("\0", "") for name, values in fields.items()}
        if "command" in form:  # asked first: its text may well contain the word "payload"
            return self.command(form, body)
        return self.interaction(_json(form["payload"].encode()), body)


def _json(body: bytes) -> dict[str, Any]:
    value = documents.read_storable(body)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
