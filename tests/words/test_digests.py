"""Digests in pieces are the same as at once, at every length where a piece could be lost."""

import hashlib
import hmac

import pytest

from bridge.digests import mac, sha256


@pytest.mark.parametrize("length", [0, 1, 2046, 2047, 2048, 4094, 4095, 64 * 1024, 64 * 1024 + 1])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_in_pieces_it_is_the_same(length: int, algorithm: str) -> None:
    content = bytes(at % 251 for at in range(length))
    assert mac(b"key", content, algorithm) == hmac.digest(b"key", content, algorithm)
    assert sha256(content, b"more") == hashlib.sha256(content + b"more").hexdigest()
