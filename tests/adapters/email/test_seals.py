"""Forwarded mail: the word of a server counts where it is sealed, unbroken, and all who sealed it are trusted."""

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adapters.email.seals import check_seals_with
from adapters.email.signatures import Unanswered
from tests.adapters.email.mails import mail
from tests.adapters.email.names import open_name_server
from tests.adapters.email.rooms import read_one
from tests.adapters.email.test_identity import KEY, record_of

PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
RECORDS = {f"s1._domainkey.{domain}": record_of(KEY) for domain in ("uni.example", "lab.example", "evil.example")}
FOUND = "dkim=pass header.d=example.org; dmarc=pass header.from=example.org"
FIELDS = [b"from", b"subject", b"date"]


def sealed(raw: bytes, by: str, found: str = FOUND, arc: str = "") -> bytes:
    """As a forwarder leaves it: its own results on top, its three headers above all."""
    results = f"Authentication-Results: {by}; {arc}{found}\r\n".encode()
    headers = dkim.arc_sign(results + raw, b"s1", by.encode(), PEM, by.encode(), include_headers=FIELDS)
    assert len(headers) == 3
    return b"".join(headers) + results + raw


PLAIN = mail(Authentication_Results=None)
ONCE = sealed(PLAIN, "uni.example")
TWICE = sealed(ONCE, "lab.example", "dkim=fail header.d=example.org", arc="arc=pass; ")


@pytest.mark.parametrize(
    ("raw", "sealers", "dmarc"),
    [
        (ONCE, ["uni.example"], "pass"),
        (ONCE, ["UNI.example", "other.example"], "pass"),
        (TWICE, ["uni.example", "lab.example"], "pass"),
        (ONCE, ["lab.example"], None),
        (ONCE, ["example"], None),
        (TWICE, ["lab.example"], None),
        (TWICE, ["uni.example"], None),
        (sealed(sealed(PLAIN, "evil.example"), "uni.example", arc="arc=pass; "), ["uni.example"], None),
        (ONCE.replace(b"Hello agent", b"Pay mallory"), ["uni.example"], None),
        (ONCE.replace(b"Subject: A question", b"Subject: Another"), ["uni.example"], None),
        (ONCE.replace(b"dmarc=pass", b"dmarc=fail", 1), ["uni.example"], None),
        (sealed(PLAIN, "uni.example", "dmarc=fail header.from=example.org"), ["uni.example"], "fail"),
        (sealed(PLAIN, "uni.example", "dmarc=pass header.from=evil.example"), ["uni.example"], "mismatch"),
        (sealed(PLAIN, "uni.example", "dmarc=temperror header.from=example.org"), ["uni.example"], "none"),
        (PLAIN, ["uni.example"], None),
        (b"ARC-Seal: nonsense\r\n" + PLAIN, ["uni.example"], None),
        (b"ARC-Seal: i=1; a=rsa-sha256; d=\xff\r\n" * 3 + PLAIN, ["uni.example"], None),
        (ONCE.replace(b"ARC-Seal:", b"ARC-Seal: i=9;\r\nARC-Seal:") + b"", ["uni.example"], None),
    ],
)
def test_a_chain_counts_where_all_of_it_is_trusted_and_whole(raw: bytes, sealers: list[str], dmarc: str | None) -> None:
    found = check_seals_with(raw, sealers, RECORDS.get)
    assert (found.dmarc if found else None) == dmarc


def test_silent_name_servers_are_a_reason_to_try_again() -> None:
    def silent(_name: str) -> str | None:
        raise Unanswered

    found = check_seals_with(ONCE, ["uni.example"], silent)
    assert found is not None
    assert found.is_temporary


@pytest.mark.parametrize(("sealers", "parked"), [(["uni.example"], None), ([], "unauthenticated")])
async def test_the_author_of_a_forwarded_mail_is_who_the_forwarder_says(sealers: list[str], parked: str | None) -> None:
    records = {**RECORDS, "_dmarc.example.org": "v=DMARC1; p=reject"}
    with open_name_server(records) as address:
        message = await read_one(ONCE, authserv_id="", dns_servers=(address,), trusted_sealers=sealers)
    assert message.parked == parked
    if not parked:
        assert message.author.trust == "verified"
        assert message.author.attributes["identity"].startswith("arc uni.example")
