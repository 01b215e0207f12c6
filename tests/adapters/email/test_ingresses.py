"""Every way in proves its sender first, and hands on the same mail."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from adapters.email.ingresses.raw import STANDARD
from adapters.email.ingresses.resend import SCHEME as RESEND
from adapters.email.ingresses.sendgrid import SCHEME as SENDGRID
from adapters.email.sigv4 import Credentials
from adapters.email.sigv4 import sign as sign_for_amazon
from bridge.errors import Malformed, ReceiveError, Retryable, Unsupported, Unverified
from bridge.model import Envelope, InboundMessage
from bridge.signing import Scheme, secret_from_text, sign
from tests.adapters.email.mails import SECRET, mail, posted
from tests.adapters.email.rooms import open_email
from tests.signed_requests import NOW, SIGNING, VERIFYING

RAW = mail("Hello caf\u00e9")
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
KEY = generate_private_key(public_exponent=65537, key_size=2048)


def request(body: bytes, *headers: tuple[str, str], query: str = "") -> Envelope:
    return Envelope(
        source="helpdesk", method="POST", path="/in/helpdesk", query=query, headers=headers, body=body, received_at=NOW
    )


def with_signature(scheme: Scheme, secret: str, envelope: Envelope) -> Envelope:
    return sign(scheme, [secret_from_text(scheme, secret)], envelope, NOW)


def raw_signed() -> Envelope:
    return with_signature(STANDARD, SECRET, request(RAW, ("content-type", "message/rfc822")))


def mailgun(**changes: str) -> Envelope:
    stamp = str(int(NOW.timestamp()))
    signature = hmac.new(b"mailgun-key", f"{stamp}token-1".encode(), hashlib.sha256).hexdigest()
    fields = {
        "timestamp": stamp,
        "token": "token-1",
        "signature": signature,
        "sender": "jane@example.org",
        "recipient": "agent@example.com",
        "body-mime": RAW.decode(),
    }
    body = urlencode(fields | changes).encode()
    return request(body, ("content-type", "application/x-www-form-urlencoded"))


def multipart(fields: dict[str, bytes]) -> tuple[bytes, str]:
    parts = b"".join(
        f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
        for name, value in fields.items()
    )
    return parts + b"--xx--\r\n", "multipart/form-data; boundary=xx"


def postmark(**changes: Any) -> Envelope:
    document = {"MessageID": "pm-1", "OriginalRecipient": "agent@example.com", "RawEmail": RAW.decode(), **changes}
    basic = base64.b64encode(b"user:password").decode()
    return request(json.dumps(document).encode(), ("authorization", f"Basic {basic}"))


def sendgrid(**changes: bytes) -> Envelope:
    envelope = json.dumps({"to": ["agent@example.com"], "from": "jane@example.org"}).encode()
    fields = {"email": RAW, "envelope": envelope, "dkim": b"{@example.org : pass}", "SPF": b"pass", **changes}
    body, kind = multipart(fields)
    return with_signature(SENDGRID, SIGNING["sendgrid"], request(body, ("content-type", kind)))


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    made = made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return made.sign(KEY, SHA256()).public_bytes(Encoding.PEM)


def sns(message: dict[str, Any] | None = None, *, version: str = "2", **changes: str) -> Envelope:
    content = message or {
        "receipt": {
            "recipients": ["agent@example.com"],
            "dmarcVerdict": {"status": "PASS"},
            "action": {"encoding": "BASE64"},
        },
        "mail": {"source": "jane@example.org"},
        "content": base64.b64encode(RAW).decode(),
    }
    notice = {
        "Type": "Notification",
        "MessageId": "sns-1",
        "TopicArn": TOPIC,
        "Message": json.dumps(content),
        "Timestamp": "2026-11-22T12:00:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        **changes,
    }
    names = ["Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{notice[name]}\n" for name in names if name in notice)
    algorithm = SHA256() if version == "2" else SHA1()  # noqa: S303 - Amazon's version 1
    notice["Signature"] = base64.b64encode(KEY.sign(text.encode(), PKCS1v15(), algorithm)).decode()
    return request(json.dumps(notice).encode())


def resend() -> Envelope:
    body = json.dumps({"type": "email.received", "data": {"email_id": "re_1", "to": ["agent@example.com"]}}).encode()
    return with_signature(RESEND, SECRET, request(body))


def provider(request: httpx2.Request) -> httpx2.Response:
    """Amazon's certificates, S3 and Resend, as far as these tests reach."""
    url = str(request.url)
    if url == CERTIFICATE_URL:
        return httpx2.Response(200, content=certificate())
    if (
        url == "https://s3.eu-west-1.amazonaws.com/bucket/in/key%201"
        and "AWS4-HMAC" in request.headers["authorization"]
    ):
        return httpx2.Response(200, content=RAW)
    if url == "https://api.resend.com/emails/receiving/re_1":
        return httpx2.Response(200, json={"raw": {"download_url": "https://files.resend.com/1"}})
    if url in {"https://files.resend.com/1", "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"}:
        return httpx2.Response(200, content=RAW)
    return httpx2.Response(404)


SETTINGS: dict[str, dict[str, Any]] = {
    "raw": {},
    "mailgun": {"ingress": "mailgun", "secrets": ["mailgun-key"]},
    "postmark": {"ingress": "postmark", "secrets": ["user:password"]},
    "sendgrid": {"ingress": "sendgrid", "public_key": VERIFYING["sendgrid"]},
    "ses": {"ingress": "ses", "topics": [TOPIC], "region": "eu-west-1"},
    "resend": {"ingress": "resend", "api_key": "re_key"},
}
GENUINE: dict[str, Callable[[], Envelope]] = {
    "raw": raw_signed,
    "mailgun": mailgun,
    "postmark": postmark,
    "sendgrid": sendgrid,
    "ses": sns,
    "resend": resend,
}


async def taken(ingress: str, envelope: Envelope, **changes: Any) -> Sequence[InboundMessage]:
    async with open_email(wire=provider, **(SETTINGS[ingress] | changes)) as (adapter, _):
        received = await adapter.receive(envelope)
        if received.messages is not None:
            return received.messages
        assert received.delivery_key
        return await adapter.read(envelope)


@pytest.mark.parametrize("ingress", GENUINE)
async def test_the_same_mail_comes_out_of_every_ingress(ingress: str) -> None:
    (message,) = await taken(ingress, GENUINE[ingress]())
    assert message.text == "Hello café"
    assert message.author.email == "jane@example.org"
    assert message.author.trust == "verified"
    assert message.parked is None


@pytest.mark.parametrize("ingress", ["raw", "sendgrid", "ses", "resend"])
async def test_a_changed_body_is_refused_where_the_signature_covers_it(ingress: str) -> None:
    genuine = GENUINE[ingress]()
    with pytest.raises(Unverified):
        await taken(ingress, replace(genuine, body=genuine.body.replace(b"a", b"b", 1)))


@pytest.mark.parametrize("ingress", GENUINE)
async def test_without_credentials_nothing_enters(ingress: str) -> None:
    bare = replace(GENUINE[ingress](), headers=(("content-type", "message/rfc822"),), body=b"x")
    with pytest.raises(ReceiveError):
        await taken(ingress, bare)


@pytest.mark.parametrize("ingress", ["raw", "mailgun", "sendgrid", "resend"])
async def test_an_old_request_is_refused(ingress: str) -> None:
    async with open_email(wire=provider, **SETTINGS[ingress]) as (adapter, kit):
        await kit.clock.sleep(301)
        with pytest.raises(Unverified):
            await adapter.receive(GENUINE[ingress]())


@pytest.mark.parametrize("ingress", GENUINE)
@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b'{"data":1}', b"a=b" * 1000, b"[" * 100_000]
)
async def test_garbage_is_refused_with_a_reason(ingress: str, body: bytes) -> None:
    for envelope in (GENUINE[ingress](), request(body)):
        with pytest.raises(ReceiveError) as caught:
            await taken(ingress, replace(envelope, body=body))
        assert str(caught.value)


@pytest.mark.parametrize(
    "authorization",
    ["Bearer wrong", "Bearer", "", "Basic %%%", "Digest x", "Bearer \udcff", f"bearer{SECRET}", f"Bearer {SECRET}x"],
)
async def test_wrong_credentials_are_refused(authorization: str) -> None:
    with pytest.raises(Unverified):
        await taken("raw", posted(RAW, headers={"authorization": authorization}))


async def test_two_authorization_headers_are_refused() -> None:
    twice = request(RAW, ("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer x"))
    with pytest.raises(Unverified):
        await taken("raw", twice)


async def test_a_bearer_token_is_enough_for_a_raw_post() -> None:
    (message,) = await taken("raw", posted(RAW))
    assert message.text == "Hello café"


async def test_a_raw_post_of_something_else_is_refused() -> None:
    with pytest.raises(Unsupported):
        await taken("raw", posted(RAW, headers={"content-type": "application/json"}))


async def test_an_empty_raw_post_is_refused() -> None:
    with pytest.raises(Malformed):
        await taken("raw", posted(b"\r\n"))


async def test_one_mail_to_two_recipients_is_two_deliveries_of_one_message() -> None:
    async with open_email() as (adapter, _):
        one = await adapter.receive(posted(RAW, query="to=agent@example.com"))
        two = await adapter.receive(posted(RAW, query="to=help@example.com"))
        again = await adapter.receive(posted(RAW, query="to=help@example.com"))
    assert one.delivery_key != two.delivery_key == again.delivery_key


async def test_a_null_sender_in_the_envelope_is_a_bounce_or_a_program() -> None:
    (message,) = await taken("raw", posted(RAW, query="from=%3C%3E"))
    assert message.declined == "auto_reply"


async def test_mailgun_without_raw_mail_says_how_to_get_it() -> None:
    envelope = mailgun()
    with pytest.raises(Malformed, match="/mime"):
        await taken("mailgun", replace(envelope, body=envelope.body.replace(b"body-mime", b"body-text")))


async def test_postmark_without_raw_mail_says_how_to_get_it() -> None:
    with pytest.raises(Malformed, match="raw email"):
        await taken("postmark", postmark(RawEmail=None))


async def test_sendgrid_results_of_another_domain_verify_nobody() -> None:
    (message,) = await taken("sendgrid", sendgrid(dkim=b"{@evil.example : pass}", SPF=b"fail"))
    assert message.parked == "unauthenticated"


@pytest.mark.parametrize("version", ["1", "2"])
async def test_both_signature_versions_of_sns_are_read(version: str) -> None:
    (message,) = await taken("ses", sns(version=version))
    assert message.author.trust == "verified"


async def test_a_failed_dmarc_verdict_of_ses_is_believed() -> None:
    receipt = {"recipients": [], "dmarcVerdict": {"status": "FAIL"}, "action": {"encoding": "BASE64"}}
    (message,) = await taken("ses", sns({"receipt": receipt, "content": base64.b64encode(RAW).decode()}))
    assert message.parked == "unauthenticated"


async def test_a_mail_in_s3_is_fetched() -> None:
    receipt = {
        "dmarcVerdict": {"status": "PASS"},
        "action": {"type": "S3", "bucketName": "bucket", "objectKey": "in/key 1"},
    }
    (message,) = await taken("ses", sns({"receipt": receipt}), access_key_id="AKID", api_key="secret")
    assert message.text == "Hello café"


async def test_a_mail_that_is_gone_from_s3_is_kept_as_unreadable() -> None:
    receipt = {"action": {"type": "S3", "bucketName": "bucket", "objectKey": "gone"}}
    (message,) = await taken("ses", sns({"receipt": receipt}), access_key_id="AKID", api_key="secret")
    assert message.parked == "malformed"


async def test_a_topic_that_is_not_listed_delivers_nothing() -> None:
    with pytest.raises(Unverified):
        await taken("ses", sns(TopicArn="arn:aws:sns:eu-west-1:999999999999:evil"))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/cert.pem",
        "http://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/x.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
        "https://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com/?Action=GetTopicAttributes&x=/SimpleNotificationService-1.pem",
        "https://sns.s3-eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "",
    ],
)
async def test_certificates_come_from_amazon_only(url: str) -> None:
    with pytest.raises(Unverified):
        await taken("ses", sns(SigningCertURL=url))


async def test_a_subscription_of_a_listed_topic_is_confirmed_after_it_is_stored() -> None:
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
    assert not await taken("ses", sns(Type="SubscriptionConfirmation", SubscribeURL=url, Token="t"))


async def test_what_came_for_a_certificate_and_is_none_is_asked_for_again() -> None:
    pages = [httpx2.Response(200, text="<html>One moment, please.</html>")]

    def wire(request: httpx2.Request) -> httpx2.Response:
        return pages.pop() if pages else provider(request)

    async with open_email(wire=wire, **SETTINGS["ses"]) as (adapter, _):
        first, second = await adapter.receive(sns()), await adapter.receive(sns())
    assert first.reply is not None
    assert first.reply.status == 503
    assert second.delivery_key


async def test_while_the_certificate_cannot_be_had_sns_is_told_to_come_again() -> None:
    async with open_email(**SETTINGS["ses"]) as (adapter, _):
        received = await adapter.receive(sns())
    assert received.reply is not None
    assert received.reply.status == 503
    assert received.messages == ()


async def test_the_certificate_is_fetched_once() -> None:
    calls: list[str] = []

    def counted(request: httpx2.Request) -> httpx2.Response:
        calls.append(str(request.url))
        return provider(request)

    async with open_email(wire=counted, **SETTINGS["ses"]) as (adapter, _):
        await adapter.receive(sns())
        await adapter.receive(sns())
    assert calls == [CERTIFICATE_URL]


async def test_a_provider_that_does_not_answer_is_asked_again() -> None:
    async with open_email(**SETTINGS["resend"]) as (adapter, _):
        await adapter.receive(resend())
        with pytest.raises(Retryable):
            await adapter.read(resend())


async def test_other_notices_of_resend_are_acknowledged_and_ignored() -> None:
    body = json.dumps({"type": "email.delivered", "data": {}}).encode()
    assert not await taken("resend", with_signature(RESEND, SECRET, request(body)))


@pytest.mark.parametrize(
    ("service", "method", "url", "body", "signature"),
    [
        (
            "s3",
            "GET",
            "https://s3.eu-west-1.amazonaws.com/bucket/in/key%201",
            b"",
            "f26c2dec38f99400440434ad4d815c58123887ba3ffd69df928cec62c154ca43",
        ),
        (
            "ses",
            "POST",
            "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails",
            b"{}",
            "a906c77c38abc78531aca356045c4c6ec917ab2be5a922d35858a06cace0a19b",
        ),
    ],
)
def test_requests_to_amazon_are_signed_as_botocore_signs_them(
    service: str, method: str, url: str, body: bytes, signature: str
) -> None:
    credentials = Credentials(
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="eu-west-1",
        service=service,
    )
    headers = sign_for_amazon(method, url, body, credentials, NOW)
    assert headers["Authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize("ingress", ["lmtp", "imap"])
async def test_a_source_with_a_connection_takes_nothing_over_http(ingress: str) -> None:
    changes: dict[str, Any] = {"ingress": ingress, "listen": "127.0.0.1:0", "imap_url": "imap://u:p@127.0.0.1/INBOX"}
    async with open_email(**changes) as (adapter, _):
        with pytest.raises(Unverified):
            await adapter.receive(posted(RAW))
