"""Handshakes by which a platform asks whether the address is ours. Each answers at once; nothing is stored.

Slack, Zoom and Discord sign theirs, so they are answered only after verification. Meta, X and
CloudEvents ask by GET or OPTIONS before any signature exists.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from adapters.webhook.presets import ChallengeName
from bridge.errors import Malformed, Unverified
from bridge.model import Envelope, Reply
from bridge.signing import Secret

_DISCORD_PING = 1
_DISCORD_EVENT_PING = 0
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ORIGIN = re.compile(r"[A-Za-z0-9.:*-]{1,255}")


def methods_of(challenge: ChallengeName | None) -> frozenset[str]:
    """The HTTP methods a source must take for its handshake to arrive."""
    match challenge:
        case "meta" | "twitter":
            return frozenset({"POST", "GET"})
        case "cloudevents":
            return frozenset({"POST", "OPTIONS"})
    return frozenset({"POST"})


def reply_to_signed(challenge: ChallengeName | None, content: Any, secret: Secret | None) -> Reply | None:
    """The answer to a handshake that came as a verified POST, or None if this is an ordinary request."""
    if not isinstance(content, dict):
        return None
    match challenge:
        case "slack" if content.get("type") == "url_verification" and isinstance(content.get("challenge"), str):
            return Reply(body=content["challenge"].encode(), media_type="text/plain")
        case "zoom" if content.get("event") == "endpoint.url_validation":
            return _zoom(content, secret)
        case "discord" if content.get("type") == _DISCORD_PING and "data" not in content and "event" not in content:
            return _json({"type": _DISCORD_PING})
        case "discord" if content.get("type") == _DISCORD_EVENT_PING:
            return Reply(status=204)
    return None


def reply_to_unsigned(
    challenge: ChallengeName | None,
    envelope: Envelope,
    secrets: Sequence[Secret],
    *,
    token: str | None,
    origins: Sequence[str],
) -> Reply:
    """The answer to a handshake by GET or OPTIONS. Raises Unverified or Malformed for everything else."""
    query = dict(parse_qsl(envelope.query, keep_blank_values=True))
    match challenge, envelope.method:
        case "meta", "GET":
            return _meta(query, token)
        case "twitter", "GET":
            return _twitter(query, secrets)
        case "cloudevents", "OPTIONS":
            return _cloudevents(envelope, origins)
    raise Malformed("Requests to this source are sent by POST.")


def _zoom(content: dict[str, Any], secret: Secret | None) -> Reply:
    payload = content.get("payload")
    plain = payload.get("plainToken") if isinstance(payload, dict) else None
    if not isinstance(plain, str):
        raise Malformed("The validation carries no payload.plainToken.")
    return _json({"plainToken": plain, "encryptedToken": _mac([secret] if secret else [], plain).hex()})


def _meta(query: dict[str, str], token: str | None) -> Reply:
    presented = hashlib.sha256(query.get("hub.verify_token", "").encode("utf-8", "replace")).digest()
    expected = hashlib.sha256((token or "").encode()).digest()
    if not token or not hmac.compare_digest(presented, expected) or query.get("hub.mode") != "subscribe":
        raise Unverified("The verify token is not the one configured as challenge_token.", reason="mismatch")
    return Reply(body=query.get("hub.challenge", "")[:255].encode("utf-8", "replace"), media_type="text/plain")


def _twitter(query: dict[str, str], secrets: Sequence[Secret]) -> Reply:
    token = query.get("crc_token", "")
    # Whoever asks gets our MAC of what they send, and X signs bodies with the same key: a token that
    # could pass for a body (anything with a brace or a quote) must not be signed.
    if not _TOKEN.fullmatch(token):
        raise Malformed("crc_token is missing or holds other characters than letters, digits, - and _.")
    return _json({"response_token": f"sha256={base64.b64encode(_mac(secrets, token)).decode()}"})


def _cloudevents(envelope: Envelope, origins: Sequence[str]) -> Reply:
    """The abuse protection of the CloudEvents webhook binding, section 4."""
    origin = envelope.header("webhook-request-origin") or ""
    if not _ORIGIN.fullmatch(origin):
        raise Malformed("WebHook-Request-Origin is missing or is no host name.")
    if "*" not in origins and origin.lower() not in {allowed.lower() for allowed in origins}:
        raise Unverified("This origin may not send here; it is not among allowed_origins.", reason="mismatch")
    headers = (("Allow", "POST, OPTIONS"), ("WebHook-Allowed-Origin", origin), ("WebHook-Allowed-Rate", "*"))
    return Reply(status=200, headers=headers)


def _mac(secrets: Sequence[Secret], text: str) -> bytes:
    for secret in secrets:
        if isinstance(secret.key, bytes):
            return hmac.digest(secret.key, text.encode("utf-8", "replace"), "sha256")
    raise Unverified("No shared secret is active that could answer the challenge.", reason="mismatch")


def _json(content: dict[str, Any]) -> Reply:
    return Reply(body=json.dumps(content).encode())
