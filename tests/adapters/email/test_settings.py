"""A configuration that cannot work is refused with what would be right."""

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.email import Settings
from adapters.email.domains import plain_address, plain_domain
from bridge.errors import Permanent
from tests.adapters.email.mails import mail
from tests.adapters.email.rooms import open_email, outbound, read_one, settings
from tests.signed_requests import VERIFYING


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"address": "nobody"}, "address"),
        ({"secrets": []}, "MAIL_SECRET"),
        ({"smtp_url": ""}, "maildir:path"),
        ({"smtp_url": "http://example.com"}, "maildir:path"),
        ({"ingress": "mailgun", "secrets": ["short"]}, "signing key"),
        ({"ingress": "resend", "secrets": ["whsec_!"]}, "whsec_"),
        ({"ingress": "sendgrid"}, "public_key"),
        ({"ingress": "sendgrid", "public_key": "nonsense"}, "public_key"),
        ({"ingress": "ses"}, "topics"),
        ({"ingress": "lmtp"}, "127.0.0.1:8024"),
        ({"ingress": "smtp", "listen": "here"}, "127.0.0.1:8024"),
        ({"ingress": "imap"}, "imaps://"),
        ({"ingress": "imap", "imap_url": "https://x@y"}, "imaps://"),
        ({"reply_style": "catch_all"}, "reply_domain"),
        ({"sender": "postmark"}, "api_key"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_is_missing_or_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"smtp_url": "smtps://user:password@smtp.example.com"},
        {"ingress": "lmtp", "listen": "127.0.0.1:8024", "secrets": []},
        {"ingress": "sendgrid", "public_key": VERIFYING["sendgrid"]},
        {"ingress": "imap", "imap_url": "imaps://a%40b.c:secret@imap.example.com/INBOX"},
        {"sender": "resend", "api_key": "re_x", "smtp_url": ""},
    ],
)
def test_what_works_is_taken(changes: dict[str, Any]) -> None:
    assert isinstance(settings(**changes), Settings)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, ""),
        ({"ingress": "lmtp", "listen": "10.0.0.1:24"}, "lmtp://10.0.0.1:24"),
        ({"ingress": "smtp", "listen": "8025"}, "smtp://127.0.0.1:8025"),
        (
            {"ingress": "imap", "imap_url": "imaps://a%40b.c:secret@imap.example.com/INBOX"},
            "imaps://a%40b.c@imap.example.com/INBOX",
        ),
    ],
)
def test_where_mail_comes_in_is_told_without_the_password(changes: dict[str, Any], place: str) -> None:
    assert settings(**changes).receives_at == place


def test_secrets_do_not_show() -> None:
    shown = repr(settings(secrets=["whsec_very-secret-thing"], api_key="also-secret"))
    assert "very-secret" not in shown
    assert "also-secret" not in shown


def test_urls_with_passwords_do_not_show() -> None:
    shown = repr(settings(smtp_url="smtp://u:hidden@h", imap_url="imap://u:hidden@h"))
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"require_auth": "none"}, "taken for that person"),
        ({"ingress": "lmtp", "listen": "0.0.0.0:8024"}, "open to others"),
        ({"ingress": "imap", "imap_url": "imaps://a:b@imap.example.com"}, "must remove"),
    ],
)
def test_what_is_allowed_and_risky_is_told(changes: dict[str, Any], said: str) -> None:
    (warning,) = settings(**changes).warnings
    assert said in warning


def test_what_is_usual_is_no_surprise() -> None:
    assert settings().warnings == settings(ingress="lmtp", listen="127.0.0.1:8024").warnings == []


@pytest.mark.parametrize(
    ("domain", "plain"),
    [
        ("B\u00dcCHER.example", "xn--bcher-kva.example"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),  # whose owner is another than that of strasse.example
        ("\uff45xample.com", "\uff45xample.com"),  # looks like example.com, and is no domain
        ("Example.COM.", "example.com"),
    ],
)
def test_a_domain_has_one_form(domain: str, plain: str) -> None:
    assert plain_domain(domain) == plain
    assert plain_address(f"J\u00e4ne@{domain}") == f"J\u00e4ne@{plain}"


@pytest.mark.parametrize("written", ["b\u00fccher.example", "xn--bcher-kva.example"])
@pytest.mark.parametrize("listed", ["@b\u00fccher.example", "@xn--bcher-kva.example", "Jane@B\u00dcCHER.example"])
async def test_senders_are_known_however_their_domain_is_written(written: str, listed: str) -> None:
    message = await read_one(mail(From=f"jane@{written}"), senders=[listed], require_auth="none")
    assert (message.author.id, message.declined) == ("jane@xn--bcher-kva.example", None)


async def test_mail_for_a_domain_that_is_none_goes_nowhere() -> None:
    message = await read_one(mail(From="jane@\uff45xample.com"), require_auth="none")
    assert message.author.id == "jane@\uff45xample.com"
    async with open_email(require_auth="none") as (adapter, _):
        with pytest.raises(Permanent, match="no such domain"):
            await adapter.send(outbound(message))
