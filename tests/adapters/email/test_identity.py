"""Who wrote it: only a verdict we have reason to believe makes a From true."""

from collections.abc import Callable

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapters.email.identity import Verdict, judge, organizational, sole_author
from adapters.email.mime import Limits, read_headers_of
from adapters.email.signatures import Unanswered, check_with
from bridge.errors import Retryable
from tests.adapters.email.mails import mail, posted
from tests.adapters.email.names import open_name_server
from tests.adapters.email.rooms import open_email, read_one

KEY = generate_private_key(public_exponent=65537, key_size=2048)


def record_of(key: RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return "v=DKIM1; k=rsa; p=" + "".join(public.split("\n")[1:-2])


def lookup(**records: str) -> Callable[[str], str | None]:
    table = {"s1._domainkey.example.org": record_of(KEY), "_dmarc.example.org": "v=DMARC1; p=reject", **records}
    return table.get


def signed(raw: bytes, domain: str = "example.org", *, key: RSAPrivateKey = KEY, length: bool = False) -> bytes:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    header: bytes = dkim.sign(
        raw, b"s1", domain.encode(), pem, include_headers=[b"From", b"Subject", b"Date"], length=length
    )
    return header + raw


PLAIN = mail(Authentication_Results=None)


@pytest.mark.parametrize(
    ("results", "trusted"),
    [
        (["mx.example.com; dmarc=pass header.from=example.org"], True),
        (["mx.example.com; dkim=pass header.d=example.org"], True),
        (["mx.example.com; dkim=pass header.i=@mail.example.org header.s=x"], True),
        (["mx.example.com; spf=pass smtp.mailfrom=jane@example.org"], True),
        (["MX.Example.COM 1; dmarc=pass (p=reject) header.from=example.org"], True),
        (["mx.example.com; dmarc=fail header.from=example.org; dkim=pass header.d=example.org"], False),
        (["mx.example.com; dmarc=pass header.from=evil.example"], False),
        (["mx.example.com; dkim=pass header.d=evil.example"], False),
        (["mx.example.com; spf=pass smtp.mailfrom=x@evil.example"], False),
        (["mx.example.com; dmarc=none"], False),
        (["mx.example.com; none"], False),
        (["mx.example.com.evil.example; dmarc=pass header.from=example.org"], False),
        (["evil.example; dmarc=pass header.from=example.org"], False),
        (["mx.example.com; dmarc=fail", "mx.example.com; dmarc=pass header.from=example.org"], False),
        (["evil; dmarc=pass", "mx.example.com; dmarc=pass header.from=example.org"], True),
        (["mx.example.com; comment=(dmarc=pass header.from=example.org)"], False),
        (["mx.example.com; dmarc=pass(p=reject (sp) dis=none) header.from=example.org"], True),
        (["mx.example.com (v; 1); dkim = pass header.b=abc= header.d = example.org ; spf=fail"], True),
        (['mx.example.com; dkim/1=pass reason="good; as ever" header.d="example.org"'], True),
        (['mx.example.com; spf=pass smtp.mailfrom="x; dkim=pass header.d=example.org ;"@evil.example'], False),
        (['mx.example.com; spf=fail smtp.mailfrom="; dmarc=pass header.from=example.org"@evil.example'], False),
        (['mx.example.com; spf=pass smtp.mailfrom="a@example.org"@evil.example'], False),
        (['mx.example.com; dkim=fail reason="\\"; dkim=pass header.d=example.org"'], False),
        (["mx.example.com; dkim=pass header.d=example.org(.evil.example; spf=none smtp.mailfrom=x)"], False),
        (["mx.example.com; dkim=pass header.d=example.org( .evil.example header.s=x)"], False),
        (["mx.example.com; dkim=fail (dkim=pass header.d=example.org"], False),
        ([], False),
    ],
)
async def test_authentication_results_count_only_with_our_id(results: list[str], *, trusted: bool) -> None:
    head = b"".join(f"Authentication-Results: {value}\r\n".encode() for value in results)
    message = await read_one(head + PLAIN)
    assert (message.author.trust == "verified") is trusted
    assert (message.parked is None) is trusted


async def test_results_below_the_last_hop_came_with_the_mail() -> None:
    hops = b"Received: from relay by mx.example.com\r\nReceived: from evil by relay\r\n"
    assert (await read_one(hops + mail())).parked == "unauthenticated"


async def test_without_a_pin_no_header_is_believed() -> None:
    async with open_email(authserv_id="", require_auth="none") as (adapter, _):
        (message,) = await adapter.read(posted(mail()))
    assert message.author.trust == "unverified"
    assert message.parked is None


@pytest.mark.parametrize(
    "author",
    [
        "a@example.org, b@evil.example",
        "Friends: a@example.org, b@example.org;",
        "<a@example.org> <b@evil.example>",
        "a@example.org\x00b",
        "nobody",
        "",
        "<>",
    ],
)
def test_an_author_that_can_be_read_two_ways_is_none(author: str) -> None:
    assert sole_author(read_headers_of(mail(From=author), Limits())) is None


def test_two_from_fields_are_no_author() -> None:
    assert sole_author(read_headers_of(b"From: jane@example.org\r\n" + mail(), Limits())) is None


def test_a_name_that_looks_like_an_address_does_not_become_it() -> None:
    found = sole_author(read_headers_of(mail(From='"boss@example.com" <x@evil.example>'), Limits()))
    assert found is not None
    assert found.address == "x@evil.example"


def test_reply_to_never_decides_who_it_is() -> None:
    headers = read_headers_of(mail(Reply_To="boss@example.com"), Limits())
    found = judge(headers, Verdict(by="provider", dmarc="pass"), "dmarc")
    assert found.author is not None
    assert found.author.address == "jane@example.org"


async def test_answers_go_to_the_author_not_to_reply_to() -> None:
    message = await read_one(mail(Reply_To="elsewhere@evil.example"))
    assert "evil" not in message.return_address


@pytest.mark.parametrize(
    ("domain", "parent"),
    [("mail.example.co.uk", "example.co.uk"), ("example.org", "example.org"), ("a.b.example.org", "example.org")],
)
def test_alignment_knows_public_suffixes(domain: str, parent: str) -> None:
    assert organizational(domain) == parent


def test_our_own_check_accepts_an_aligned_signature() -> None:
    found = check_with(signed(PLAIN), lookup())
    assert (found.dmarc, found.dkim_domains) == ("pass", ("example.org",))


def test_a_changed_body_breaks_the_signature() -> None:
    found = check_with(signed(PLAIN).replace(b"Hello agent", b"Pay mallory"), lookup())
    assert (found.dmarc, found.dkim_domains) == ("fail", ())


def test_a_signature_of_another_domain_is_not_aligned() -> None:
    found = check_with(signed(PLAIN, "evil.example"), lookup(**{"s1._domainkey.evil.example": record_of(KEY)}))
    assert found.dmarc == "fail"
    headers = read_headers_of(PLAIN, Limits())
    assert not judge(headers, found, "dmarc").verified


def test_a_signature_with_a_body_length_counts_for_nothing() -> None:
    raw = signed(PLAIN, length=True)
    assert b"l=" in raw
    assert check_with(raw + b"appended", lookup()).dkim_domains == ()


def test_strict_alignment_is_respected() -> None:
    records = {"_dmarc.example.org": "v=DMARC1; p=reject; adkim=s", "s1._domainkey.mail.example.org": record_of(KEY)}
    found = check_with(signed(PLAIN, "mail.example.org"), lookup(**records))
    assert found.dmarc == "fail"
    assert not judge(read_headers_of(PLAIN, Limits()), found, "dmarc").verified


def test_silent_name_servers_are_a_reason_to_try_again() -> None:
    def silent(_name: str) -> str | None:
        raise Unanswered

    assert check_with(signed(PLAIN), silent).is_temporary


@pytest.mark.parametrize(
    "signature",
    [
        "v=1; a=rsa-sha256; d=example.org; s=s1; h=from; bh=!!; b=!!",
        "nonsense",
        "v=1; a=rsa-sha256; c=x/y; d=example.org; s=../..; h=from; bh=AA==; b=AA==",
        "v=1;" * 500,
        "v=1; a=rsa-sha256; d=\xff; s=s1; h=from; bh=AA==; b=AA==",
    ],
)
def test_nonsense_signatures_are_no_signatures(signature: str) -> None:
    assert check_with(f"DKIM-Signature: {signature}\r\n".encode() + PLAIN, lookup()).dkim_domains == ()


RECORDS = {"s1._domainkey.example.org": record_of(KEY), "_dmarc.example.org": "v=DMARC1; p=reject"}


@pytest.mark.parametrize(
    ("raw", "parked"),
    [(signed(PLAIN), None), (PLAIN, "unauthenticated"), (signed(PLAIN) + b"more", "unauthenticated")],
    ids=["signed", "unsigned", "changed"],
)
async def test_without_a_verdict_the_signature_is_checked_here(raw: bytes, parked: str | None) -> None:
    with open_name_server(RECORDS) as address:
        message = await read_one(raw, authserv_id="", dns_servers=(address,))
    assert message.parked == parked
    assert message.author.trust == ("unverified" if parked else "verified")


async def test_a_name_server_that_fails_is_a_reason_to_try_again_and_never_a_refusal() -> None:
    with open_name_server(RECORDS, fails=True) as address:
        async with open_email(authserv_id="", dns_servers=(address,)) as (adapter, _):
            with pytest.raises(Retryable):
                await adapter.read(posted(signed(PLAIN)))


@pytest.mark.parametrize(
    ("senders", "declined"),
    [(["jane@example.org"], None), (["@example.org"], None), (["@other.org"], "sender_not_allowed")],
)
async def test_lists_of_senders_are_kept(senders: list[str], declined: str | None) -> None:
    assert (await read_one(mail(), senders=senders)).declined == declined


async def test_what_is_not_authenticated_can_be_dropped_instead() -> None:
    message = await read_one(PLAIN, unauthenticated="drop")
    assert (message.declined, message.parked) == ("unauthenticated", None)
