"""The answer as a signed callback: Standard Webhooks, with an id that stays and a timestamp that does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from adapters.webhook.presets import STANDARD, STANDARD_V1A
from bridge.adapter import Kit
from bridge.egress import NEVER_SENT, USER_AGENT, Exchange, exchange_of
from bridge.errors import Denied, Gone, Permanent, Retryable
from bridge.model import Envelope, FileRef, OutboundMessage
from bridge.signing import Secret, sign

MAX_RESPONSE_BYTES = 65_536
MAX_RETRY_AFTER_SECONDS = 86_400
FILE_LIFETIME = timedelta(days=7)

_ALWAYS = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity"}
_LIMITS = dict.fromkeys(("connect", "pool", "read", "write"), 30.0)
_TRY_LATER = frozenset({408, 409, 425, 429})
_MOVED_FOR_GOOD = frozenset({301, 308})
_FAILED = frozenset({"failed", "error", "stopped"})


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The keys that sign what goes out, and how long an attempt may take.

    Every active key signs, so that receivers can rotate.
    """

    symmetric: tuple[Secret, ...] = ()
    asymmetric: tuple[Secret, ...] = ()
    timeout_seconds: float = 30

    async def post(self, kit: Kit, url: str, message: OutboundMessage, body: bytes) -> str:
        """Make one attempt; returns the delivery id, which the receiver dedupes on. Raises Retryable or Permanent."""
        now = kit.clock.now()
        try:
            request = self._signed(_unsigned(kit.source, message, body, now), now)
        except ValueError as error:
            raise Permanent(f"The callback cannot be signed: {error}.") from None
        status, retry_after = await _post(exchange_of(kit.guarded_http), url, request, self.timeout_seconds)
        _judge(status, retry_after, now)
        return message.delivery_id

    def _signed(self, envelope: Envelope, now: datetime) -> Envelope:
        """The request with webhook-timestamp and webhook-signature. ValueError where no key is active."""
        signatures: list[str] = []
        for scheme, secrets in ((STANDARD, self.symmetric), (STANDARD_V1A, self.asymmetric)):
            if any(secret.is_active(now) for secret in secrets):
                signed = sign(scheme, secrets, envelope, now)
                signatures += signed.header_values("webhook-signature")
        if not signatures:
            raise ValueError("no secret is active that could sign a callback")
        return _with_header(signed, "webhook-signature", " ".join(signatures))


def _unsigned(source: str, message: OutboundMessage, body: bytes, now: datetime) -> Envelope:
    content_type = "application/cloudevents+json" if body.startswith(b'{"specversion"') else "application/json"
    headers = (
        ("content-type", content_type),
        ("webhook-id", message.delivery_id),
        ("idempotency-key", f'"{message.delivery_id}"'),
    )
    return Envelope(source=source, method="POST", path="", query="", headers=headers, body=body, received_at=now)


def callback_body(kit: Kit, message: OutboundMessage) -> dict[str, Any]:
    """What a callback says. The same at every attempt, but for the age of file links."""
    data: dict[str, Any] = {
        "message_id": message.message_ids[-1] if message.message_ids else None,
        "conversation_id": message.conversation_id,
        "conversation": message.conversation,
        "task_id": message.task_id,
        "status": message.status,
        "result": message.text,
        "files": [_file(kit, ref) for ref in message.files],
        "metadata": dict(message.metadata),
    }
    if len(message.message_ids) > 1:  # several messages were answered at once
        data["message_ids"] = list(message.message_ids)
    return {
        "type": callback_type(message),
        "timestamp": message.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": data,
    }


def callback_type(message: OutboundMessage) -> str:
    """`task.completed`, `task.failed` or `task.paused`; `task.notice` for news that ends nothing."""
    if message.status == "paused":
        return "task.paused"
    if message.kind == "error" or message.status in _FAILED:
        return "task.failed"
    return "task.completed" if message.kind == "answer" else "task.notice"


def encoded(document: dict[str, Any]) -> bytes:
    """JSON as it goes over the wire."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _file(kit: Kit, ref: FileRef) -> dict[str, Any]:
    url = kit.files.link(ref, FILE_LIFETIME) if ref.url.startswith("file:") else ref.url
    return {"url": url, "name": ref.name, "media_type": ref.media_type, "size": ref.size}


async def _post(exchange: Exchange, url: str, request: Envelope, seconds: float) -> tuple[int, str | None]:
    """The status and the Retry-After of the answer; its body is let go, nobody here may read it to anyone."""
    answer: tuple[int, str | None] | None = None
    try:
        # One deadline over everything: a receiver that sends a byte a second would outlive any read timeout.
        async with asyncio.timeout(seconds):
            headers = {**_ALWAYS, **dict(request.headers)}
            reply = await exchange("POST", url, headers=headers, content=request.body, seconds=_LIMITS)
            async with aclosing(reply):
                answer = reply.status, reply.headers.get("retry-after")
                await _drain(reply.chunks)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, Denied) as error:
        raise Permanent(
            "The callback address may not be called; look at callback and allow_private_callbacks."
        ) from error
    except NEVER_SENT as error:
        raise Retryable("The callback target could not be reached.") from error
    except (httpx2.HTTPError, TimeoutError) as error:
        if answer is None:
            raise Retryable("The callback target gave no answer in time.", ambiguous=True) from error
    assert answer is not None, "either an answer came or an exception was raised"
    return answer


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read a short body to its end, so that the connection can be used again; a long one is cut off."""
    read = 0
    async for chunk in chunks:
        read += len(chunk)
        if read > MAX_RESPONSE_BYTES:
            return


def _judge(status: int, retry_after: str | None, now: datetime) -> None:
    """Return for success, else raise what is to be done."""
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own numbers
        return
    if status == httpx2.codes.GONE:
        raise Gone("The callback target answered 410: it wants no more callbacks.")
    if status in _MOVED_FOR_GOOD:
        raise Permanent(f"The callback target answered {status}: it has moved. Configure the new address.")
    if 400 <= status < 500 and status not in _TRY_LATER:  # noqa: PLR2004
        raise Permanent(f"The callback target answered {status} and would answer the same again.")
    raise Retryable(f"The callback target answered {status}.", after=_seconds(retry_after, now))


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """Retry-After in seconds from now, from either of its two forms (RFC 9110, 10.2.3), at most a day."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:10]), MAX_RETRY_AFTER_SECONDS))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year, or an offset, of twenty digits
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), float(MAX_RETRY_AFTER_SECONDS))


def _with_header(envelope: Envelope, name: str, value: str) -> Envelope:
    others = tuple(pair for pair in envelope.headers if pair[0] != name)
    return replace(envelope, headers=(*others, (name, value)))
