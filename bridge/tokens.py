"""Signed tokens that people and agents carry in links. itsdangerous does the work."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

from itsdangerous import BadSignature, Signer, URLSafeTimedSerializer

_SIGNER = {
    "key_derivation": "hmac",
    "digest_method": hashlib.sha256,
}  # the library's defaults are SHA-1 and concatenation


class _Signer(Signer):
    """Derives each key once: every acknowledgement carries a signature."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._derived = lru_cache(maxsize=64)(super().derive_key)

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:
        return self._derived(secret_key)


class Tokens:
    """Signs with the newest key, accepts any of them. Each purpose has a salt of its own.

    `secret_keys` come newest first, as in the configuration.
    """

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._keys = list(reversed(secret_keys))  # itsdangerous signs with the last
        self._signer = lru_cache(maxsize=16)(self._signer_for)

    def sign(self, value: str, *, purpose: str) -> str:
        """A signature that is the same each time, bound to `value` and `purpose`, without an age."""
        return self._signer(purpose).get_signature(value).decode()

    def verify(self, value: str, signature: str, *, purpose: str) -> bool:
        """Whether `sign` made this signature for this value, with any key still in use."""
        return self._signer(purpose).verify_signature(value, signature)

    def dump(self, value: str, *, purpose: str) -> str:
        """A URL-safe token that carries `value` and the time it was made."""
        return self._serializer(purpose).dumps(value)

    def load(self, token: str, *, purpose: str, max_age: timedelta) -> str | None:
        """The value of a token of ours not older than `max_age`, else None."""
        try:
            value = self._serializer(purpose).loads(token, max_age=int(max_age.total_seconds()))
        except BadSignature:
            return None
        return value if isinstance(value, str) else None

    def _signer_for(self, purpose: str) -> Signer:
        return _Signer(self._keys, salt=f"agent-bridge.{purpose}", key_derivation="hmac", digest_method=hashlib.sha256)

    def _serializer(self, purpose: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._keys, salt=f"agent-bridge.{purpose}", signer_kwargs=_SIGNER)
