"""Requests as known senders make them: foreign vectors, and one made by us for every preset."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapters.webhook.presets import PRESETS
from bridge.model import Envelope
from bridge.signing import Scheme, Secret, secret_from_text, sign

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
PUBLIC_URL = "https://hooks.example.com/in/acme"
FORM = "application/x-www-form-urlencoded"
ROWS = sorted(set(PRESETS) - {"none"})

_VECTORS = json.loads((Path(__file__).parent / "vectors" / "webhooks.json").read_text())["vectors"]
_NAMES = {"standard-webhooks": "standard", "standard-webhooks-v1a": "standard-v1a", "hubspot-v3": "hubspot"}
# Two published examples are weaker than what the presets ask for by default.
_CHANGES: dict[str, dict[str, Any]] = {"twilio": {"min_key_bytes": 5}, "rfc9421": {"covered": ["@authority"]}}

_ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_ED25519_PAIR = bytes(range(32)) + _ED25519.public_key().public_bytes_raw()
_P256 = generate_private_key(SECP256R1())
_P256_PRIVATE = base64.b64encode(_P256.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()
_P256_PUBLIC = base64.b64encode(
    _P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
_BASE64 = base64.b64encode(bytes(range(24))).decode()

SIGNING: dict[str, str] = {
    "standard": f"whsec_{_BASE64}",
    "svix": f"whsec_{_BASE64}",
    "standard-v1a": f"whsk_{base64.b64encode(_ED25519_PAIR).decode()}",
    "discord": _ED25519_PAIR.hex(),
    "sendgrid": _P256_PRIVATE,
    "rfc9421": _BASE64,
    "basic": "agent:pass:word",
}
VERIFYING: dict[str, str] = SIGNING | {
    "standard-v1a": f"whpk_{base64.b64encode(_ED25519.public_key().public_bytes_raw()).decode()}",
    "discord": _ED25519.public_key().public_bytes_raw().hex(),
    "sendgrid": _P256_PUBLIC,
}
DEFAULT_SECRET = "correct horse battery staple"


def envelope(
    body: bytes = b'{"text":"hello"}',
    *headers: tuple[str, str],
    method: str = "POST",
    query: str = "",
    at: datetime = NOW,
    content_type: str | None = "application/json",
) -> Envelope:
    declared = (("content-type", content_type),) if content_type else ()
    return Envelope(
        source="acme",
        method=method,
        path="/in/acme",
        query=query,
        headers=(*declared, *((name.lower(), value) for name, value in headers)),
        body=body,
        received_at=at,
    )


def scheme_of(preset: str, **changes: Any) -> Scheme:
    return PRESETS[preset].scheme.revised({"public_url": PUBLIC_URL, **changes})


def verifying_secret(preset: str, **changes: Any) -> Secret:
    return secret_from_text(scheme_of(preset, **changes), VERIFYING.get(preset, DEFAULT_SECRET), name="current")


def signing_secret(preset: str, **changes: Any) -> Secret:
    return secret_from_text(scheme_of(preset, **changes), SIGNING.get(preset, DEFAULT_SECRET))


def signed(preset: str, request: Envelope | None = None, now: datetime = NOW) -> Envelope:
    """A request that the preset must accept at `now`."""
    return sign(scheme_of(preset), [signing_secret(preset)], request or envelope(), now)


def vectors() -> list[Any]:
    return [vector for vector in _VECTORS if vector["expect"] == "accept"]


def vector_scheme(vector: Any) -> Scheme:
    name = _NAMES.get(vector["scheme"], vector["scheme"])
    changes: dict[str, Any] = dict(_CHANGES.get(name, {}))
    if vector["url"]:
        changes["public_url"] = vector["url"].partition("?")[0]
    return PRESETS[name].scheme.revised(changes)


def vector_secrets(vector: Any) -> list[Secret]:
    return [secret_from_text(vector_scheme(vector), text) for text in vector["secrets"]]


def vector_envelope(vector: Any) -> Envelope:
    return envelope(
        vector["body"].encode(),
        *vector["headers"].items(),
        method=vector["method"],
        query=urlsplit(vector["url"]).query,
        at=vector_now(vector),
        content_type=None,
    )


def vector_now(vector: Any) -> datetime:
    return datetime.fromtimestamp(vector["now"], UTC) if vector["now"] else NOW
