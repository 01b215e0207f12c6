"""The negative matrix: nothing near a valid request is accepted, and nothing but Unverified is ever raised."""

import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge import signing, signing_keys, signing_request
from bridge.errors import Unverified
from bridge.model import Envelope
from bridge.signing import Scheme, Secret, secret_from_text, sign, verify
from tests.signed_requests import (
    NOW,
    ROWS,
    VERIFYING,
    envelope,
    scheme_of,
    signed,
    signing_secret,
    vector_envelope,
    vector_now,
    vector_scheme,
    vector_secrets,
    vectors,
    verifying_secret,
)

SIGNED = [preset for preset in ROWS if scheme_of(preset).covers_body]
TIMED = [preset for preset in ROWS if scheme_of(preset).timestamp]
VECTORS = pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["id"])


def refused(preset: str, request: Envelope, **changes: Any) -> str:
    """The reason for which the request is refused; the caller is never told it."""
    with pytest.raises(Unverified) as caught:
        verify(scheme_of(preset, **changes), [verifying_secret(preset)], request, NOW)
    assert caught.value.reason not in {"", str(caught.value)}
    return caught.value.reason


def signature_headers(preset: str) -> list[str]:
    if preset == "rfc9421":
        return ["signature", "signature-input"]
    return [place.name for place in scheme_of(preset).locations if place.place == "header"][:1]


def with_header(request: Envelope, name: str, *values: str) -> Envelope:
    others = tuple(pair for pair in request.headers if pair[0] != name)
    return replace(request, headers=(*others, *((name, value) for value in values)))


def header_cases() -> Iterator[Any]:
    for preset in ROWS:
        for name in signature_headers(preset):
            yield pytest.param(preset, name, id=f"{preset}-{name}")


EVERY_SIGNATURE_HEADER = pytest.mark.parametrize(("preset", "name"), list(header_cases()))


@EVERY_SIGNATURE_HEADER
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _value: [], id="absent"),
        pytest.param(lambda value: [value, value], id="twice"),
        pytest.param(lambda _value: [""], id="empty"),
        pytest.param(lambda _value: [" "], id="blank"),
        pytest.param(lambda value: [value + "x" * 65_536], id="64-kilobytes"),
        pytest.param(lambda value: [value[:-1]], id="cut-short"),
        pytest.param(lambda value: [value[: len(value) // 2] + "\n" + value[len(value) // 2 :]], id="line-feed"),
        pytest.param(lambda value: [value + "\n"], id="trailing-line-feed"),
        pytest.param(lambda value: ["".join(chr(ord(c) + 0xFEE0) for c in value)], id="full-width"),
        pytest.param(lambda _value: ["garbage"], id="garbage"),
        pytest.param(lambda _value: ["v1,a,b"], id="two-commas"),
        pytest.param(lambda _value: ["v1,dawfe"], id="not-base64"),
        pytest.param(lambda _value: ["\xff\xfe\x00"], id="bytes"),
        pytest.param(lambda _value: ["\u20ac"], id="not-latin-1"),
    ],
)
def test_a_damaged_signature_header_is_refused(preset: str, name: str, change: Callable[[str], list[str]]) -> None:
    request = signed(preset)
    (value,) = request.header_values(name)
    refused(preset, with_header(request, name, *change(value)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"signature": None}, id="no-signature"),
        pytest.param({"signature": ""}, id="empty"),
        pytest.param({"signature": "0"}, id="odd"),
        pytest.param({"signature": "zz" * 32}, id="not-hex"),
        pytest.param({"signature": "00" * 32}, id="another"),
        pytest.param({"signature": ["00" * 32] * 10_000}, id="ten-thousand"),
        pytest.param({"signature": "00" * 65_536}, id="128-kilobytes"),
        pytest.param({"signature": {"signature": "00"}}, id="an-object"),
        pytest.param({"token": None}, id="no-token"),
        pytest.param({"token": "another"}, id="another-token"),
        pytest.param({"token": 7}, id="a-number"),
        pytest.param({"timestamp": None}, id="no-time"),
        pytest.param({"timestamp": True}, id="no-number"),
        pytest.param({"timestamp": 1.5e9}, id="a-fraction"),
        pytest.param({"timestamp": 10**400}, id="beyond-all-time"),
    ],
)
def test_a_damaged_signature_in_the_body_is_refused(change: dict[str, Any]) -> None:
    request = signed("mailgun")
    body = json.loads(request.body)
    refused(
        "mailgun", replace(request, body=json.dumps({**body, "signature": {**body["signature"], **change}}).encode())
    )
    for nonsense in (b"", b"[]", b"{", b"\xff", b"null", b'{"signature":[]}', b'{"signature":"x"}', b"[" * 100_000):
        refused("mailgun", replace(request, body=nonsense))


@pytest.mark.parametrize("preset", [p for p in ROWS if scheme_of(p).parse in {"pairs", "versions", "prefix"}])
def test_ten_thousand_signatures_are_refused_however_short(preset: str) -> None:
    request = signed(preset)
    scheme = scheme_of(preset)
    (name,) = signature_headers(preset)
    entries = {"pairs": f"{scheme.signature_key}=0", "versions": f"{scheme.version},A", "prefix": scheme.prefix}
    entry = entries[scheme.parse]
    separator = scheme.separator if scheme.parse == "pairs" else " "
    assert refused(preset, with_header(request, name, separator.join([entry] * 10_000))) == "header"
    if scheme.parse != "prefix":
        value = request.headers[-1][1]
        assert refused(preset, with_header(request, name, separator.join([*[entry] * 16, value]))) == "header"
        many = separator.join([*[entry] * 15, value])
        verify(scheme, [verifying_secret(preset)], with_header(request, name, many), NOW)


@pytest.mark.parametrize("preset", SIGNED)
@pytest.mark.parametrize("extra", [b" ", b"\n", b"\x00", b"x"])
def test_one_byte_more_in_the_body_is_refused(preset: str, extra: bytes) -> None:
    request = signed(preset)
    refused(preset, replace(request, body=request.body + extra))


@pytest.mark.parametrize("preset", SIGNED)
def test_the_same_json_written_differently_is_refused(preset: str) -> None:
    request = signed(preset)
    refused(preset, replace(request, body=json.dumps(json.loads(request.body), indent=1).encode()))


@pytest.mark.parametrize("preset", TIMED)
@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_stale_or_early_request_is_refused(preset: str, seconds: int) -> None:
    assert refused(preset, signed(preset, now=NOW + timedelta(seconds=seconds))) == "stale"


@pytest.mark.parametrize("preset", TIMED)
@pytest.mark.parametrize("seconds", [-59, 59])
def test_a_small_difference_of_the_clocks_is_forgiven(preset: str, seconds: int) -> None:
    request = signed(preset, now=NOW + timedelta(seconds=seconds))
    assert verify(scheme_of(preset), [verifying_secret(preset)], request, NOW).secret


BAD_TIMES = [
    "1795348800.0", " 1795348800", "1795348800 ", "1_795348800", "+1795348800", "-1795348800", "\u0661\u0666",
    "nan", "Infinity", "1e9", "", "0" * 40, "9" * 14, "\xb2", "1795348800\n", "2026-11-22 12:00:00",
    "2026-13-45T99:99:99Z",
    "2026-11-22T12:00:00", "20261122T120000Z", "2026-11-22T12:00:00+99:99", "0001-01-01T00:00:00+14:00",
]  # fmt: skip


@pytest.mark.parametrize("preset", TIMED)
@pytest.mark.parametrize("text", BAD_TIMES)
def test_a_timestamp_that_is_none_is_refused_even_if_it_was_signed(preset: str, text: str) -> None:
    refused(preset, _signed_with_timestamp(preset, text))


@pytest.mark.parametrize("preset", [p for p in TIMED if scheme_of(p).timestamp.unit == "s"])  # type: ignore[union-attr]
def test_milliseconds_where_seconds_are_expected_are_refused(preset: str) -> None:
    assert refused(preset, _signed_with_timestamp(preset, "1795348800000")) == "stale"


def _signed_with_timestamp(preset: str, text: str) -> Envelope:
    """A request whose signature is right for a timestamp of any text: only the timestamp's own check can refuse it."""
    scheme = scheme_of(preset)
    request = signing._prepared(scheme, envelope(), text)
    content = signing_request.signed_content(scheme, request, text)
    raw = signing_keys.make_signature(scheme.kind, scheme.algorithm, signing_secret(preset), content)
    written = signing._written(scheme, text, [signing_keys.encode(scheme.encoding, raw)])
    return signing._placed(request, scheme.locations[0], written)


def test_only_the_timestamps_own_check_is_at_work_above() -> None:
    for preset in TIMED:
        text = "2026-11-22T12:00:00Z" if preset == "zendesk" else str(int(NOW.timestamp()) * UNITS.get(preset, 1))
        assert verify(scheme_of(preset), [verifying_secret(preset)], _signed_with_timestamp(preset, text), NOW).secret


UNITS = {"hubspot": 1000, "linear": 1000}

HEX = [p for p in ROWS if scheme_of(p).encoding == "hex" and scheme_of(p).locations and signature_headers(p)]
BASE64 = [p for p in ROWS if scheme_of(p).encoding == "base64" and scheme_of(p).locations]


def _with_signature(preset: str, change: Callable[[str], str]) -> Envelope:
    request = signed(preset)
    (name,) = signature_headers(preset)
    (value,) = request.header_values(name)
    scheme = scheme_of(preset)
    start = max(value.rfind("="), value.rfind(",")) + 1 if scheme.encoding == "hex" else 0
    if scheme.encoding == "base64":
        start = len(f"{scheme.version},") if scheme.parse == "versions" else len(scheme.prefix)
    return with_header(request, name, value[:start] + change(value[start:]))


@pytest.mark.parametrize("preset", HEX)
def test_upper_case_hex_is_the_same_signature(preset: str) -> None:
    assert verify(scheme_of(preset), [verifying_secret(preset)], _with_signature(preset, str.upper), NOW).secret


@pytest.mark.parametrize("preset", HEX)
@pytest.mark.parametrize(
    "change",
    [lambda v: v[:-1], lambda v: v[:-1] + "g", lambda v: v[:10] + " " + v[10:], lambda v: "0x" + v],
    ids=["odd", "not-hex", "space", "0x"],
)
def test_loose_hex_is_refused(preset: str, change: Callable[[str], str]) -> None:
    refused(preset, _with_signature(preset, change))


@pytest.mark.parametrize("preset", BASE64)
@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.rstrip("=") if v.endswith("=") else v[:-1],
        lambda v: "-_" + v[2:],
        lambda v: v[:8] + "\n" + v[8:],
        lambda v: v[:8] + "!" + v[8:],
        lambda v: v + "====",
        lambda v: v + "AAAA",
    ],
    ids=["no-padding", "url-alphabet", "line-feed", "foreign-character", "more-padding", "appended"],
)
def test_loose_base64_is_refused(preset: str, change: Callable[[str], str]) -> None:
    refused(preset, _with_signature(preset, change))


@VECTORS
def test_a_vector_with_another_secret_is_refused(vector: Any) -> None:
    scheme = vector_scheme(vector)
    texts = [text[:-6] + ("BBBB" + text[-2:]) for text in vector["secrets"]]
    with pytest.raises(Unverified):
        verify(scheme, _readable(scheme, texts), vector_envelope(vector), vector_now(vector))


def _readable(scheme: Scheme, texts: Sequence[str]) -> list[Secret]:
    return [secret_from_text(scheme, text) for text in texts]


@VECTORS
@pytest.mark.parametrize("change", ["absent", "twice", "empty", "body", "no-secret"])
def test_a_damaged_vector_is_refused(vector: Any, change: str) -> None:
    request, secrets = vector_envelope(vector), vector_secrets(vector)
    name, value = next((name, value) for name, value in request.headers if "signature" in name)
    match change:
        case "absent":
            request = with_header(request, name)
        case "twice":
            request = with_header(request, name, value, value)
        case "empty":
            request = with_header(request, name, "")
        case "body":
            request = replace(request, body=request.body + b"&x=1")
        case "no-secret":
            secrets = []
    with pytest.raises(Unverified):
        verify(vector_scheme(vector), secrets, request, vector_now(vector))


@pytest.mark.parametrize("preset", ROWS)
def test_no_secret_verifies_nothing(preset: str) -> None:
    with pytest.raises(Unverified):
        verify(scheme_of(preset), [], signed(preset), NOW)


@pytest.mark.parametrize("preset", ROWS)
@pytest.mark.parametrize("text", ["", "x", "whsec_", "whsec_Q", "whpk_QQ"])
def test_an_empty_or_short_secret_is_refused_at_the_start(preset: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"secret|key") as caught:
        secret_from_text(scheme_of(preset), text if not text.startswith("whpk_") else "\u20ac")
    assert not text or f" {text} " not in str(caught.value)


def test_sha1_where_sha256_is_configured_is_refused() -> None:
    mac = hmac.new(b"correct horse battery staple", b"{}", "sha1").hexdigest()
    for header in ("X-Hub-Signature-256", "X-Hub-Signature"):
        refused("github", envelope(b"{}", (header, f"sha1={mac}")))
        refused("github", envelope(b"{}", (header, f"sha256={mac}")))


def test_sha1_needs_an_explicit_word() -> None:
    with pytest.raises(ValidationError, match="allow_sha1"):
        Scheme(kind="hmac", algorithm="sha1", signature=("header:x",))


def test_a_symmetric_signature_means_nothing_under_an_asymmetric_key() -> None:
    request = signed("standard")
    refused("standard-v1a", request)
    (value,) = request.header_values("webhook-signature")
    refused("standard-v1a", with_header(request, "webhook-signature", value.replace("v1,", "v1a,")))


def test_a_public_key_is_no_shared_secret() -> None:
    public = VERIFYING["standard-v1a"].removeprefix("whpk_")
    forger = secret_from_text(scheme_of("standard"), f"whsec_{public}")
    request = sign(scheme_of("standard"), [forger], envelope(), NOW)
    (value,) = request.header_values("webhook-signature")
    refused("standard-v1a", with_header(request, "webhook-signature", value.replace("v1,", "v1a,")))
    with pytest.raises(ValueError, match="base64"):
        secret_from_text(scheme_of("standard"), VERIFYING["standard-v1a"])


def test_a_public_key_cannot_sign() -> None:
    with pytest.raises(ValueError, match="private key"):
        sign(scheme_of("discord"), [verifying_secret("discord")], envelope(), NOW)


def test_an_id_cannot_borrow_from_the_timestamp() -> None:
    request = signed("standard", with_header(envelope(), "webhook-id", "a.1"))
    (stamp,) = request.header_values("webhook-timestamp")
    shifted = with_header(with_header(request, "webhook-id", "a"), "webhook-timestamp", f"1.{stamp}")
    refused("standard", shifted)


def test_a_second_timestamp_is_refused_wherever_it_stands() -> None:
    request = signed("stripe")
    (value,) = request.header_values("stripe-signature")
    assert refused("stripe", with_header(request, "stripe-signature", f"t=1,{value}")) == "header"
    request = signed("slack")
    (stamp,) = request.header_values("x-slack-request-timestamp")
    assert refused("slack", with_header(request, "x-slack-request-timestamp", stamp, stamp)) == "header"


def test_unknown_fields_and_versions_are_skipped() -> None:
    for preset, name, before, after in (
        ("stripe", "stripe-signature", "zz=1,", ",v0=aa,v0=bb"),
        ("standard", "webhook-signature", "v2,AAAA nonsense  ", " v1a,AAAA"),
    ):
        request = signed(preset)
        (value,) = request.header_values(name)
        request = with_header(request, name, before + value + after)
        assert verify(scheme_of(preset), [verifying_secret(preset)], request, NOW).secret


def test_a_key_in_the_address_and_in_a_header_is_one_too_many() -> None:
    request = signed("xpander")
    refused("xpander", replace(request, query="x-api-key=correct%20horse%20battery%20staple"))
    in_query = envelope()
    in_query = replace(in_query, query="x-api-key=correct%20horse%20battery%20staple")
    assert verify(scheme_of("xpander"), [verifying_secret("xpander")], in_query, NOW).secret


def test_every_secret_is_tried_until_its_last_day() -> None:
    scheme = scheme_of("github")
    ends = NOW + timedelta(hours=1)
    old = secret_from_text(scheme, "the old secret of github", name="old", not_after=ends)
    new = secret_from_text(scheme, "the new secret of github", name="new", not_before=NOW)
    request = sign(scheme, [old], envelope(), NOW)
    assert verify(scheme, [new, old], request, NOW).secret == old
    with pytest.raises(Unverified):
        verify(scheme, [new, old], request, ends)
    request = sign(scheme, [new], envelope(), NOW)
    with pytest.raises(Unverified):
        verify(scheme, [new, old], request, NOW - timedelta(seconds=1))


def test_a_secret_never_shows_itself() -> None:
    for preset in ROWS:
        assert VERIFYING.get(preset, "correct horse battery staple") not in repr(verifying_secret(preset))


PRESETS_AND_REQUESTS = st.sampled_from(ROWS).map(lambda preset: (preset, signed(preset)))
TEXT = st.text(alphabet=st.characters(max_codepoint=255), max_size=60)


@settings(max_examples=400)
@given(st.data())
def test_no_mutation_is_accepted_and_none_escapes_as_another_exception(data: st.DataObject) -> None:
    preset, request = data.draw(PRESETS_AND_REQUESTS)
    name, value = data.draw(st.sampled_from(request.headers))
    at = data.draw(st.integers(0, len(value)))
    length = data.draw(st.integers(0, 4))
    changed = with_header(request, name, value[:at] + data.draw(TEXT) + value[at + length :])
    body = data.draw(st.one_of(st.just(request.body), st.binary(max_size=80)))
    changed = replace(changed, body=body, query=data.draw(st.one_of(st.just(""), TEXT)))
    try:
        verify(scheme_of(preset), [verifying_secret(preset)], changed, NOW)
    except Unverified:
        return
    if scheme_of(preset).covers_body:
        assert body == request.body


@given(st.sampled_from(ROWS), st.lists(st.tuples(st.sampled_from(sorted({
    n for p in ROWS for n in [*signature_headers(p), *[h for h, _ in signed(p).headers]]
})), TEXT), max_size=6), st.binary(max_size=200), TEXT)  # fmt: skip
def test_garbage_is_refused_and_nothing_else(
    preset: str, headers: list[tuple[str, str]], body: bytes, query: str
) -> None:
    request = replace(envelope(body, *headers, content_type=None), query=query)
    with pytest.raises(Unverified):
        verify(scheme_of(preset), [verifying_secret(preset)], request, NOW)
