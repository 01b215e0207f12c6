"""What others published or computed must verify, and nothing near it may."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from bridge.signing import Scheme, secret_from_text, verify
from tests.signed_requests import (
    NOW,
    ROWS,
    envelope,
    scheme_of,
    signed,
    vector_envelope,
    vector_now,
    vector_scheme,
    vector_secrets,
    vectors,
    verifying_secret,
)

VECTORS = pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["id"])
EVERY_PRESET = pytest.mark.parametrize("preset", ROWS)


@VECTORS
def test_a_foreign_vector_verifies(vector: Any) -> None:
    verified = verify(vector_scheme(vector), vector_secrets(vector), vector_envelope(vector), vector_now(vector))
    assert verified.secret is not None


def test_the_primitive_is_hmac_sha256_of_the_body() -> None:
    scheme = Scheme(kind="hmac", signature=("header:x-mac",), min_key_bytes=4)
    mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    request = envelope(b"what do ya want for nothing?", ("x-mac", mac))
    assert verify(scheme, [secret_from_text(scheme, "Jefe")], request, NOW).content == request.body


@EVERY_PRESET
def test_a_request_signed_here_verifies(preset: str) -> None:
    verified = verify(scheme_of(preset), [verifying_secret(preset)], signed(preset), NOW)
    assert verified.secret is not None
    assert verified.secret.name == "current"


WRITTEN_OUT: dict[str, Callable[[bytes, bytes], dict[str, str]]] = {
    "zoom": lambda key, body: {
        "x-zm-request-timestamp": "1795348800",
        "x-zm-signature": "v0=" + hmac.new(key, b"v0:1795348800:" + body, hashlib.sha256).hexdigest(),
    },
    "slack": lambda key, body: {
        "x-slack-request-timestamp": "1795348800",
        "x-slack-signature": "v0=" + hmac.new(key, b"v0:1795348800:" + body, hashlib.sha256).hexdigest(),
    },
    "shopify": lambda key, body: {"x-shopify-hmac-sha256": _base64(key, body)},
    "square": lambda key, body: {
        "x-square-hmacsha256-signature": _base64(key, b"https://hooks.example.com/in/acme" + body)
    },
    "zendesk": lambda key, body: {
        "x-zendesk-webhook-signature-timestamp": "2026-11-22T12:00:00Z",
        "x-zendesk-webhook-signature": _base64(key, b"2026-11-22T12:00:00Z" + body),
    },
    "convoy": lambda key, body: {
        "x-convoy-signature": "t=1795348800,v1=" + hmac.new(key, b"1795348800," + body, hashlib.sha256).hexdigest()
    },
    "twitter": lambda key, body: {"x-twitter-webhooks-signature": "sha256=" + _base64(key, body)},
    "bearer": lambda key, _body: {"authorization": "bearer " + key.decode()},
}


def _base64(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


@pytest.mark.parametrize("preset", sorted(WRITTEN_OUT))
def test_the_vendors_formula_written_out_verifies(preset: str) -> None:
    body = b'{"text":"hello"}'
    headers = WRITTEN_OUT[preset](b"correct horse battery staple", body)
    assert verify(scheme_of(preset), [verifying_secret(preset)], envelope(body, *headers.items()), NOW).secret
