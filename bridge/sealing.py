"""Encryption at rest: what is secret in the database is sealed before it gets there."""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.errors import Unsealable

_VERSION: Final = b"\x01"
_ID_BYTES: Final = 4
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = len(_VERSION) + _ID_BYTES + _SALT_BYTES
MARK_BYTES: Final = len(_VERSION) + _ID_BYTES
"""How many bytes at the front of a sealed value tell its version and its key."""
_PER_SALT: Final = 2**24  # NIST SP 800-38D allows 2**32 random nonces to a key


class Sealer:
    """AES-256-GCM with the newest key; opens with any key still configured.

    The working key is derived (HKDF-SHA256) from a secret key, the purpose and a salt that each
    process draws for itself and renews, so that no number of messages wears a key out. A sealed
    value is version, key id, salt, nonce and ciphertext; it opens only for the purpose it was sealed for.
    """

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """`secret_keys` come newest first, as in the configuration."""
        if not secret_keys:
            raise ValueError("Sealing needs at least one secret key.")
        self._secrets = {_key_id(secret): secret.encode() for secret in reversed(secret_keys)}
        self._newest = _key_id(secret_keys[0])
        self._cipher = lru_cache(maxsize=4096)(self._derive)
        self._renew()

    def seal(self, data: bytes, *, purpose: str) -> bytes:
        """Encrypt; never the same bytes twice."""
        self._left -= 1
        if self._left < 0:
            self._renew()
        head, nonce = self._head, os.urandom(_NONCE_BYTES)
        return head + nonce + self._cipher(head, purpose).encrypt(nonce, data, head)

    def open(self, sealed: bytes, *, purpose: str) -> bytes:
        """Decrypt. Raises Unsealable: another key, another purpose, or bytes that were changed."""
        head, nonce = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES]
        if len(nonce) < _NONCE_BYTES or not head.startswith(_VERSION):
            raise Unsealable("This is not a sealed value of this version.")
        if head[len(_VERSION) : len(_VERSION) + _ID_BYTES] not in self._secrets:
            raise Unsealable(
                "Sealed with a secret key that is not configured. Put the key of that time at the end of secret_keys."
            )
        try:
            return self._cipher(head, purpose).decrypt(nonce, sealed[_HEAD_BYTES + _NONCE_BYTES :], head)
        except InvalidTag as error:
            raise Unsealable(f"The sealed value was changed, or it was not sealed as {purpose!r}.") from error

    @property
    def mark(self) -> bytes:
        """How every value begins that the newest key has sealed."""
        return _VERSION + self._newest

    @property
    def has_older_keys(self) -> bool:
        """Whether something may be sealed with another key than the newest."""
        return len(self._secrets) > 1

    def _renew(self) -> None:
        self._left = _PER_SALT
        self._head = _VERSION + self._newest + os.urandom(_SALT_BYTES)

    def _derive(self, head: bytes, purpose: str) -> AESGCM:
        key_id, salt = head[len(_VERSION) : -_SALT_BYTES], head[-_SALT_BYTES:]
        return AESGCM(_hkdf(self._secrets[key_id], salt=salt, info=f"agent-bridge.seal.{purpose}", length=32))


def marks_of(secret_keys: Sequence[str]) -> list[bytes]:
    """How the values begin that each of these keys has sealed."""
    return [_VERSION + _key_id(secret) for secret in secret_keys]


def _key_id(secret: str) -> bytes:
    return _hkdf(secret.encode(), salt=b"", info="agent-bridge.key-id", length=_ID_BYTES)


def _hkdf(secret: bytes, *, salt: bytes, info: str, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info.encode()).derive(secret)
