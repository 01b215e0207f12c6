"""Secrets as keys: read once when the bridge starts, and then only compared with, never shown."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from bridge.digests import mac
from bridge.signing_scheme import Encoding, Scheme

PublicKey: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey
PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey

_ECDSA = ECDSA(hashes.SHA256())
_FROM_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_P256_HALF = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One key of a scheme, valid from `not_before` to `not_after` (both optional, aware UTC).

    `name` is what people call it; it shows which side of a rotation still signs.
    """

    key: bytes | PublicKey = field(repr=False)
    private: PrivateKey | None = field(default=None, repr=False)
    name: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None

    def is_active(self, now: datetime) -> bool:
        return (self.not_before is None or self.not_before <= now) and (self.not_after is None or now < self.not_after)


def secret_from_text(
    scheme: Scheme,
    text: str,
    *,
    name: str = "",
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> Secret:
    """Read a secret as `scheme` writes it. ValueError says what is wrong with it without showing it.

    Where the scheme is asymmetric, a private key is taken too: its public half verifies, and it can sign.
    """
    key: bytes | PublicKey
    private: PrivateKey | None = None
    match scheme.kind if scheme.kind != "rfc9421" else scheme.algorithm:
        case "ed25519":
            key, private = _ed25519_keys(_key_bytes(scheme, text))
        case "ecdsa-p256":
            key, private = _p256_keys(_key_bytes(scheme, text))
        case _:
            key = _symmetric_key(scheme, text)
    return Secret(key=key, private=private, name=name, not_before=not_before, not_after=not_after)


def matches(kind: str, algorithm: str, secret: Secret, content: bytes, candidates: Sequence[bytes]) -> bool:
    """Whether any candidate is this secret's signature of `content`.

    Every candidate is evaluated and compared in constant time, so that the time taken tells nothing.
    """
    found = False
    if isinstance(secret.key, bytes):
        expected = hashlib.sha256(secret.key).digest() if kind == "token" else mac(secret.key, content, algorithm)
        for candidate in candidates:
            # A token is compared by its hash: the comparison's time then shows no length either.
            presented = hashlib.sha256(candidate).digest() if kind == "token" else candidate
            found |= hmac.compare_digest(expected, presented)
        return found
    is_raw = kind == "rfc9421" and isinstance(secret.key, EllipticCurvePublicKey)
    for candidate in candidates:
        found |= _has_signed(secret.key, content, _der_signature(candidate) if is_raw else candidate)
    return found


def make_signature(kind: str, algorithm: str, secret: Secret, content: bytes) -> bytes:
    """The signature of `content`. ValueError where only a public key is known, which cannot sign."""
    if isinstance(secret.key, bytes):
        return secret.key if kind == "token" else mac(secret.key, content, algorithm)
    match secret.private:
        case Ed25519PrivateKey() as private:
            return private.sign(content)
        case EllipticCurvePrivateKey() as private:
            der = private.sign(content, _ECDSA)
            return _raw_signature(der) if kind == "rfc9421" else der
    raise ValueError("only the public key is known, which can verify but not sign; give the private key instead")


def decode(encoding: Encoding, text: str) -> bytes | None:
    """The bytes of a signature, or None where it is not strictly in its encoding.

    Strict: no white space, no other alphabet, padding where the encoding asks for it.
    """
    try:
        raw = text.encode("latin-1")
        match encoding:
            case "hex":
                return binascii.unhexlify(raw)
            case "base64":
                return _from_base64(raw)
            case "base64url":
                return _from_base64url(raw)
            case "text":
                return raw
    except ValueError:
        return None


def encode(encoding: Encoding, signature: bytes) -> str:
    """The inverse of `decode`."""
    match encoding:
        case "hex":
            return signature.hex()
        case "base64":
            return base64.b64encode(signature).decode()
        case "base64url":
            return base64.urlsafe_b64encode(signature).decode()
        case "text":
            return signature.decode("latin-1")


def _from_base64(raw: bytes) -> bytes:
    decoded = binascii.a2b_base64(raw)
    if binascii.b2a_base64(decoded, newline=False) != raw:  # one spelling per value; strict_mode lets some more through
        raise ValueError("not base64 as it is written")
    return decoded


def _from_base64url(raw: bytes) -> bytes:
    if b"+" in raw or b"/" in raw:
        raise ValueError("not base64url")
    bare = raw.rstrip(b"=")  # RFC 4648, section 5: padding is optional in this alphabet
    return _from_base64(bare.translate(_FROM_URL_ALPHABET) + b"=" * (-len(bare) % 4))


def _has_signed(key: PublicKey, content: bytes, candidate: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(candidate, content)
        else:
            key.verify(candidate, content, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _raw_signature(der: bytes) -> bytes:
    """DER to the fixed 64 bytes `r || s` that RFC 9421, section 3.3.4, wants."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(_P256_HALF, "big") + s.to_bytes(_P256_HALF, "big")


def _der_signature(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:_P256_HALF], "big"), int.from_bytes(raw[_P256_HALF:], "big"))


def _symmetric_key(scheme: Scheme, text: str) -> bytes:
    key = _key_bytes(scheme, text)
    if len(key) < scheme.min_key_bytes:
        raise ValueError(f"the secret has {len(key)} bytes; at least {scheme.min_key_bytes} are needed")
    return key


def _key_bytes(scheme: Scheme, text: str) -> bytes:
    for prefix in scheme.prefixes:
        if text.startswith(prefix):
            text = text.removeprefix(prefix)
            break
    raw = text.encode()
    try:
        match scheme.key:
            case "utf8":
                return raw
            case "hex":
                return binascii.unhexlify(raw)
            case "base64":  # secrets are handed out with and without padding
                return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except ValueError:
        example = f", for example {scheme.prefixes[0]}MfKQ9r8G…" if scheme.prefixes else ""
        raise ValueError(f"the secret is not {scheme.key}{example}") from None


def _ed25519_keys(raw: bytes) -> tuple[Ed25519PublicKey, Ed25519PrivateKey | None]:
    match len(raw):
        case 32:
            return Ed25519PublicKey.from_public_bytes(raw), None
        case 64:  # seed and public key, as Svix writes whsk_ keys
            private = Ed25519PrivateKey.from_private_bytes(raw[:32])
            public = private.public_key()
            if public.public_bytes_raw() != raw[32:]:
                raise ValueError("the two halves of the ed25519 key do not belong together")
            return public, private
    raise ValueError(f"an ed25519 public key has 32 bytes (a key pair 64), this has {len(raw)}")


def _p256_keys(raw: bytes) -> tuple[EllipticCurvePublicKey, EllipticCurvePrivateKey | None]:
    public: object
    private = None
    try:
        public = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        try:
            private = load_der_private_key(raw, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("this is no ECDSA key in DER (SubjectPublicKeyInfo), base64") from None
        public = private.public_key()
    if not isinstance(public, EllipticCurvePublicKey) or not isinstance(public.curve, SECP256R1):
        raise ValueError("this is a key, but not one on the curve P-256")  # noqa: TRY004 - the text is wrong, not a type of ours
    return public, private if isinstance(private, EllipticCurvePrivateKey) else None
