"""HTTP Message Signatures: the RFC's own examples, and everything that must not pass for one."""

import base64
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Unverified
from bridge.model import Envelope
from bridge.signature_base import SignatureInput, signature_base
from bridge.signing import Scheme, Secret, secret_from_text, sign, verify
from bridge.signing_keys import matches
from tests.adapters.contract import with_header
from tests.signed_requests import NOW, envelope

SHARED = base64.b64encode(bytes(range(32))).decode()


def scheme(**changes: Any) -> Scheme:
    return Scheme.model_validate(
        {"kind": "rfc9421", "key": "base64", "public_url": "https://Example.com:443/foo", "keyid": "k1", **changes}
    )


def secret() -> Secret:
    return secret_from_text(scheme(), SHARED)


def signed(request: Envelope | None = None, now: datetime = NOW, **changes: Any) -> Envelope:
    return sign(scheme(**changes), [secret()], request or envelope(), now)


def refused(request: Envelope, **changes: Any) -> str:
    with pytest.raises(Unverified) as caught:
        verify(scheme(**changes), [secret()], request, NOW)
    return caught.value.reason


def test_the_rfcs_ed25519_example_has_this_base_and_this_signature() -> None:
    """RFC 9421, appendix B.2.6, with the key of B.1.4."""
    described = SignatureInput(
        ("date", "@method", "@path", "@authority", "content-type", "content-length"),
        {"created": "1618884473", "keyid": '"test-key-ed25519"'},
    )
    request = envelope(b'{"hello": "world"}', ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"), ("Content-Length", "18"))
    base = signature_base(scheme(), replace(request, query="param=Value&Pet=dog"), described)
    assert base == (
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@method": POST\n'
        '"@path": /foo\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        '"content-length": 18\n'
        '"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    key = secret_from_text(scheme(algorithm="ed25519"), "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")
    signature = base64.b64decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )
    assert matches("rfc9421", "ed25519", key, base.encode(), [signature])
    assert not matches("rfc9421", "ed25519", key, base.encode() + b" ", [signature])


def test_the_rfcs_content_digest_is_the_bodys() -> None:
    """RFC 9421, appendix B.2: the digest of the test request."""
    digest = "WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew=="
    request = envelope(b'{"hello": "world"}')
    made = with_header(signed(request), "content-digest", f"sha-512=:{digest}:")
    described = SignatureInput(("@method", "@authority", "@path", "content-digest"), _parameters(NOW))
    assert verify(scheme(), [secret()], _signed_by_hand(made, described), NOW).secret
    other = replace(made, body=b'{"hello": "World"}')
    assert refused(_signed_by_hand(other, described)) == "body"


def _parameters(now: datetime) -> dict[str, str]:
    return {"created": str(int(now.timestamp())), "keyid": '"k1"'}


def _signed_by_hand(request: Envelope, described: SignatureInput) -> Envelope:
    """Whatever is described, signed correctly: only the policy can refuse it."""
    base = signature_base(scheme(), request, described)
    mac = base64.b64encode(hmac.digest(bytes(range(32)), base.encode(), "sha256")).decode()
    request = with_header(request, "signature-input", f"sig1={described}")
    return with_header(request, "signature", f"sig1=:{mac}:")


@pytest.mark.parametrize("query", ["", "a=1&b=%20"])
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_what_is_signed_here_covers_the_address_the_query_and_the_body(query: str, body: bytes) -> None:
    request = signed(replace(envelope(body), query=query))
    assert verify(scheme(), [secret()], request, NOW).secret
    for forged in (replace(request, query=query + "&x=1"), replace(request, method="PUT"), replace(request, body=b"x")):
        refused(forged)
    refused(request, public_url="https://example.com/other")
    refused(request, public_url="https://other.example.com/foo")


def test_an_ecdsa_signature_is_64_bytes_whatever_it_starts_with() -> None:
    private = generate_private_key(SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    changes = {"algorithm": "ecdsa-p256"}
    key = secret_from_text(scheme(**changes), base64.b64encode(private).decode())
    for _ in range(8):
        request = sign(scheme(**changes), [key], envelope(), NOW)
        (value,) = request.header_values("signature")
        assert len(base64.b64decode(value.split(":")[1])) == 64
        assert verify(scheme(**changes), [key], request, NOW).secret == key


@pytest.mark.parametrize(
    "covered",
    [
        ("@method", "@authority", "@path"),
        ("@authority", "@path", "content-digest"),
        ("@method", "@path", "content-digest"),
        ("content-digest",),
        (),
    ],
)
def test_a_signature_that_covers_too_little_is_refused(covered: tuple[str, ...]) -> None:
    request = _signed_by_hand(signed(), SignatureInput(covered, _parameters(NOW)))
    assert refused(request) == "header"


def test_the_target_uri_stands_for_its_parts() -> None:
    request = replace(signed(), query="a=1")
    described = SignatureInput(("@method", "@target-uri", "content-digest"), _parameters(NOW))
    assert verify(scheme(), [secret()], _signed_by_hand(request, described), NOW).secret


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"created": str(int((NOW - timedelta(seconds=301)).timestamp()))}, "stale"),
        ({"created": str(int((NOW + timedelta(seconds=301)).timestamp()))}, "stale"),
        ({"created": '"1795348800"'}, "stale"),
        ({"created": "99999999999999"}, "encoding"),
        ({"expires": str(int(NOW.timestamp()) - 1)}, "stale"),
        ({"expires": '"never"'}, "stale"),
        ({"keyid": '"k2"'}, "header"),
        ({"alg": '"rsa-pss-sha512"'}, "header"),
        ({"alg": '"ed25519"'}, "header"),
    ],
)
def test_wrong_parameters_are_refused_although_they_are_signed(changes: dict[str, str], reason: str) -> None:
    described = SignatureInput(("@method", "@authority", "@path", "content-digest"), {**_parameters(NOW), **changes})
    assert refused(_signed_by_hand(signed(), described)) == reason


def test_parameters_that_say_nothing_against_it_are_taken() -> None:
    more = {"alg": '"hmac-sha256"', "nonce": '"a\\"b"', "tag": '"app"', "expires": str(int(NOW.timestamp()) + 60)}
    described = SignatureInput(("@method", "@authority", "@path", "content-digest"), {**_parameters(NOW), **more})
    assert verify(scheme(), [secret()], _signed_by_hand(signed(), described), NOW).secret


def test_of_several_signatures_ours_counts() -> None:
    request = signed()
    (described,), (signature,) = request.header_values("signature-input"), request.header_values("signature")
    both = with_header(request, "signature-input", f'other=("@method");created=1;keyid="k1", {described}')
    both = with_header(both, "signature", f"{signature}, other=:AAAA:")
    assert verify(scheme(), [secret()], both, NOW).secret


@pytest.mark.parametrize(
    "text",
    [
        "sig1", "sig1=", "sig1=()", 'sig1=("@method"', 'sig1=("@method" "@method");created=1',
        'sig1=("@method"  "@path")',
        'sig1=("date";sf);created=1', 'sig1=("@method");created=1;created=2', 'sig1=("@unknown");created=1',
        'sig1=("Date");created=1', 'sig1=("missing");created=1', 'sig1=("@method");created=1,', "sig1=?1", ",", "=",
        'sig1=("@method");created=1, sig1=("@path");created=1', 'sig1=("@method") ;created=1', 'S=("@method")',
        ", ".join(f's{n}=("@method");created=1' for n in range(17)), 'sig1=("@method");keyid="\x00"',
    ],
)  # fmt: skip
def test_a_signature_input_that_is_none_is_refused(text: str) -> None:
    refused(with_header(signed(), "signature-input", text))


@pytest.mark.parametrize(
    "text", ["sig1", "sig1=::", "sig1=:!:", "sig1=:QUJD", "sig2=:QUJD:", "sig1=:Q:", "sig1=:QQ==:x"]
)
def test_a_signature_that_is_none_is_refused(text: str) -> None:
    refused(with_header(signed(), "signature", text))


@pytest.mark.parametrize("text", ["", "sha-256", "md5=:QUJD:", "sha-256=:QUJD:", "sha-256=:!:"])
def test_a_digest_that_is_not_the_bodys_is_refused(text: str) -> None:
    described = SignatureInput(("@method", "@authority", "@path", "content-digest"), _parameters(NOW))
    refused(_signed_by_hand(with_header(signed(), "content-digest", text), described))


@given(st.text(alphabet='sig1=()"@methodpa;:, \\AQ=\x00\xff', max_size=60))
def test_no_text_in_its_headers_raises_anything_else(text: str) -> None:
    for name in ("signature-input", "signature", "content-digest"):
        try:
            verify(scheme(), [secret()], with_header(signed(), name, text), NOW)
        except Unverified:
            continue
        raise AssertionError(text)


def test_created_is_when_it_was_signed() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert verify(scheme(), [secret()], signed(now=now), now).secret
