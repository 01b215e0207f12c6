"""What a configuration may say; whatever is wrong with it is said at the start, all at once, with its path."""

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.webhook import Settings, WebhookAdapter, build
from bridge.errors import ConfigError, Unverified
from bridge.model import Envelope
from bridge.signing import Scheme, secret_from_text, sign
from tests.adapters.kits import open_kit
from tests.signed_requests import NOW, SIGNING, VERIFYING, envelope, signed

SECRET = "correct horse battery staple"


async def built(**settings: Any) -> WebhookAdapter:
    async with open_kit() as kit:
        return build(Settings.model_validate(settings), kit)


async def problems(**settings: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        await built(**settings)
    assert SECRET not in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "sources.acme.secrets: at least one is needed"),
        (
            {"scheme": "nonsense", "secrets": [SECRET]},
            "sources.acme.scheme: 'nonsense' is no preset; use one of api-key",
        ),
        ({"scheme": "none"}, "sources.acme.scheme: 'none' lets anybody in; set allow_unverified = true"),
        ({"secrets": [SECRET]}, "sources.acme.secrets[0]: the secret is not base64, for example whsec_"),
        (
            {"secrets": [SIGNING["standard"], "whsec_QQ=="]},
            "sources.acme.secrets[1]: the secret has 1 bytes; at least 16",
        ),
        ({"scheme": "github", "secrets": [""]}, "sources.acme.secrets[0]: the secret has 0 bytes"),
        ({"scheme": "discord", "secrets": ["00"]}, "sources.acme.secrets[0]: an ed25519 public key has 32 bytes"),
        ({"scheme": "sendgrid", "secrets": ["AAAA"]}, "sources.acme.secrets[0]: this is no ECDSA key"),
        ({"scheme": "meta", "secrets": [SECRET]}, "sources.acme.challenge_token: Meta's verify token is needed"),
        (
            {"scheme": "github", "secrets": [SECRET], "verify": {"algorithm": "sha1"}},
            "sources.acme.verify: sha1 is broken",
        ),
        ({"scheme": "github", "secrets": [SECRET], "verify": {"headr": "x"}}, "sources.acme.verify.headr: Extra"),
        ({"verify": {"kind": "hmac"}, "secrets": [SECRET]}, "signature names no place"),
        (
            {"verify": {"kind": "hmac", "signature": ["X-Sig"]}, "secrets": [SECRET]},
            "'X-Sig' names no place; write for example 'header:X-Signature'",
        ),
        (
            {"verify": {"kind": "hmac", "signature": ["header:x"], "sign": ["ts", "body"]}, "secrets": [SECRET]},
            "sign holds 'ts' but no timestamp",
        ),
        (
            {"verify": {"kind": "hmac", "signature": ["header:x"], "sign": ["time"]}, "secrets": [SECRET]},
            "'time' is no part of a signature",
        ),
        (
            {"verify": {"kind": "hmac", "signature": ["field:v1"]}, "secrets": [SECRET]},
            "a signature stands in header:, query: or json:",
        ),
        (
            {"scheme": "github", "secrets": [SECRET], "verify": {"timestamp": {"from": "field:t"}}},
            "needs parse = 'pairs'",
        ),
        ({"scheme": "github", "secrets": [SECRET], "verify": {"prefix": ""}}, "needs a prefix"),
        ({"scheme": "stripe", "secrets": [SECRET], "verify": {"separator": ", "}}, "separator is one character"),
        ({"scheme": "github", "secrets": [SECRET], "verify": {"sign": []}}, "sign is empty"),
        (
            {"scheme": "github", "secrets": [SECRET], "verify": {"sign": ["header:a b"]}},
            "cannot be the name of a header",
        ),
        ({"scheme": "github", "secrets": [SECRET], "verify": {"algorithm": "ed25519"}}, "does not go with kind 'hmac'"),
        ({"scheme": "rfc9421", "secrets": [SECRET], "verify": {"algorithm": "sha512"}}, "does not go with kind"),
        (
            {
                "scheme": "rfc9421",
                "verify": {"algorithm": "ed25519"},
                "secrets": [VERIFYING["standard-v1a"].removeprefix("whpk_")],
                "callback": "https://x.example.com",
            },
            "sources.acme.callback_secrets: needed to sign callbacks",
        ),
        ({"scheme": "github", "secrets": [SECRET], "identity": ["x"]}, "sources.acme.identity: 'x' names no place"),
        ({"scheme": "github", "secrets": [SECRET], "callback": "ftp://x"}, "sources.acme.callback: a URL starts with"),
        (
            {"scheme": "github", "secrets": [SECRET], "callback_allow": ["https://u@x"]},
            "sources.acme.callback_allow: a URL must not carry a user",
        ),
        (
            {"scheme": "discord", "secrets": [VERIFYING["discord"]], "callback": "https://x.example.com"},
            "sources.acme.callback_secrets: needed to sign callbacks",
        ),
        (
            {"scheme": "none", "allow_unverified": True, "callback": "https://x.example.com"},
            "sources.acme.callback_secrets: needed to sign callbacks",
        ),
        (
            {
                "scheme": "github",
                "secrets": [SECRET],
                "callback": "https://x.example.com",
                "callback_secrets": ["short"],
            },
            "sources.acme.callback_secrets[0]: the secret",
        ),
    ],
)
async def test_a_wrong_setting_says_where_it_is_and_what_would_be_right(settings: dict[str, Any], problem: str) -> None:
    assert any(problem in found for found in await problems(**settings))


async def test_all_problems_are_told_together() -> None:
    found = await problems(secrets=["!", "?"], map={"text": "{{ a. }}"}, identity=["x"], callback="x")
    assert len(found) >= 5


@pytest.mark.parametrize(
    "settings",
    [{"secret": "x"}, {"secrets": "x"}, {"map": {"txt": "x"}}, {"ack_status": 500}],
)
def test_an_unknown_key_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(settings)


def test_a_secret_does_not_show_in_the_settings() -> None:
    settings = Settings.model_validate({"secrets": [SECRET], "challenge_token": SECRET, "callback_secrets": [SECRET]})
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())


async def test_unverified_is_possible_where_it_is_said_twice() -> None:
    adapter = await built(scheme="none", allow_unverified=True)
    assert (await adapter.receive(envelope(b'{"text":"x"}'))).messages


async def test_a_scheme_of_ones_own_is_a_table() -> None:
    table = {
        "kind": "hmac",
        "algorithm": "sha512",
        "signature": ["header:X-Acme"],
        "parse": "pairs",
        "separator": ";",
        "signature_key": "sig",
        "encoding": "base64url",
        "timestamp": {"from": "field:at", "unit": "ms", "tolerance": 30},
        "sign": ["lit:acme|", "method", "lit:|", "url", "lit:|", "ts", "lit:|", "body"],
    }
    adapter = await built(verify=table, secrets=[SECRET])
    scheme = Scheme.model_validate({**table, "public_url": "https://hooks.example.com/in/acme"})
    request = sign(scheme, [secret_from_text(scheme, SECRET)], envelope(b'{"text":"x"}'), NOW)
    assert (await adapter.receive(request)).messages
    with pytest.raises(Unverified):
        await adapter.receive(_late(request, 31))


async def test_one_field_of_a_preset_can_be_changed() -> None:
    adapter = await built(scheme="slack", secrets=[SECRET], verify={"timestamp": {"tolerance": 5}})
    request = signed("slack", envelope(b'{"text":"x"}'))
    assert (await adapter.receive(request)).messages
    with pytest.raises(Unverified):
        await adapter.receive(_late(request, 6))


async def test_a_rotation_ends_on_its_day() -> None:
    ends = "2026-11-22T12:00:10"
    adapter = await built(scheme="github", secrets=["the new secret", {"value": SECRET, "not_after": ends}])
    request = signed("github", envelope(b'{"text":"x"}'))
    assert (await adapter.receive(_late(request, 9))).messages
    with pytest.raises(Unverified):
        await adapter.receive(_late(request, 10))


def _late(request: Envelope, seconds: int) -> Envelope:
    return Envelope(
        source=request.source,
        method=request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        received_at=NOW.replace(second=seconds),
    )
