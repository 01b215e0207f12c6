"""Amazon SES receipt rules over SNS: the mail inside the notice (up to 150 KB), or a pointer to S3."""

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import load_pem_x509_certificate

from adapters.email.identity import Verdict
from adapters.email.ingresses.arrived import Arrived, bare_address, delivery_key
from adapters.email.ingresses.events import ses_reports
from adapters.email.ingresses.postmark import json_object
from adapters.email.reports import Report
from adapters.email.senders.outgoing import post
from adapters.email.sigv4 import Credentials, sign
from bridge.adapter import Vault
from bridge.clock import Clock
from bridge.errors import Malformed, Permanent, Retryable, Unverified
from bridge.model import Envelope, Received, Reply

_HOST = re.compile(r"sns\.[a-z]{2}(?:-[a-z]{2,12}){1,3}-\d{1,2}\.amazonaws\.com(?:\.cn)?")
"""With a region and nothing else between: `sns.s3-eu-west-1.amazonaws.com` is a bucket of somebody's."""
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[\w-]{1,64}\.pem")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Amazon:
    """What SES needs to know of the configuration."""

    topics: Collection[str]
    region: str
    access_key_id: str
    secret_access_key: str
    s3_url: str = ""
    """Base of S3, where it is not Amazon's own."""


class SesIngress:
    """SNS gives up on any 4xx at once, and after a minute on 5xx by default: set a retry policy on the subscription."""

    def __init__(self, amazon: Amazon, vault: Vault, http: httpx2.AsyncClient, clock: Clock) -> None:
        self._amazon = amazon
        self._vault = vault
        self._http = http
        self._clock = clock

    async def verify(self, envelope: Envelope) -> Received:
        notice = json_object(envelope.body)
        if notice.get("TopicArn") not in self._amazon.topics:
            raise Unverified("The topic is not among the topics of this source.")
        try:
            certificate = await self._certificate(str(notice.get("SigningCertURL", "")))
        except Retryable:
            return Received(reply=Reply(status=503, headers=(("retry-after", "5"),)))
        check_signature(notice, certificate)
        if notice["Type"] == "UnsubscribeConfirmation":
            return Received(reply=Reply(status=200))
        return Received(delivery_key=delivery_key(str(notice.get("MessageId"))), messages=None, reply=Reply(status=200))

    async def open(self, envelope: Envelope) -> Arrived | Sequence[Report]:
        notice = json_object(envelope.body)
        if notice.get("Type") == "SubscriptionConfirmation":
            await self._get(_amazon_url(str(notice.get("SubscribeURL"))))
            return ()
        document = json_object(str(notice.get("Message", "")).encode("utf-8", "replace"))
        receipt = document.get("receipt")
        if not isinstance(receipt, dict):
            return ses_reports(document)
        return Arrived(
            raw=await self._raw(document, receipt),
            mail_from=_mail_from(document),
            recipients=_addresses(receipt.get("recipients")),
            verdict=_verdict(receipt),
        )

    async def _certificate(self, url: str) -> bytes:
        """The signing certificate, fetched once and kept: it is published under a name of its own for ever."""
        url = _amazon_url(url)
        if not _CERTIFICATE.fullmatch(urlsplit(url).path):
            raise Unverified("The address in the notice is none of a certificate.")
        name = f"certificate/{hashlib.sha256(url.encode()).hexdigest()[:32]}"
        if (stored := await self._vault.get(name)) is not None:
            return stored[0]
        content = await self._get(url)
        try:
            load_pem_x509_certificate(content)
        except ValueError as error:
            raise Retryable("What came is no certificate.") from error  # and must not be kept for ever
        await self._vault.put(name, content, version=None)
        return content

    async def _get(self, url: str) -> bytes:
        try:
            return (await post(self._http, self._http.build_request("GET", url), "Amazon")).content
        except Permanent as error:
            raise Malformed(f"Amazon does not know this address: {error}") from error

    async def _raw(self, document: dict[str, Any], receipt: dict[str, Any]) -> bytes:
        content = document.get("content")
        action = receipt.get("action") if isinstance(receipt.get("action"), dict) else {}
        if isinstance(content, str):
            return _decoded(content, str((action or {}).get("encoding", "")))
        bucket, key = str((action or {}).get("bucketName", "")), str((action or {}).get("objectKey", ""))
        if not re.fullmatch(r"[a-z0-9.-]{3,63}", bucket) or not key:
            raise Malformed("The notice holds neither the mail nor where it lies in S3.")
        base = self._amazon.s3_url or f"https://s3.{self._amazon.region}.amazonaws.com"
        url = f"{base}/{bucket}/{quote(key, safe='/-_.~')}"
        credentials = Credentials(
            access_key_id=self._amazon.access_key_id,
            secret_access_key=self._amazon.secret_access_key,
            region=self._amazon.region,
            service="s3",
        )
        headers = sign("GET", url, b"", credentials, self._clock.now())
        try:
            return (await post(self._http, self._http.build_request("GET", url, headers=dict(headers)), "S3")).content
        except Permanent as error:
            raise Malformed(f"The mail is gone from S3: {error}") from error


def _amazon_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not _HOST.fullmatch(parts.netloc):
        raise Unverified("The address in the notice is none of Amazon SNS.")
    return url


def check_signature(notice: dict[str, Any], certificate: bytes) -> None:
    """Verify an SNS notice, signature version 1 (SHA-1) or 2 (SHA-256). Raises Unverified."""
    names = _SIGNED.get(str(notice.get("Type")))
    if names is None:
        raise Unverified("Unknown type of notice.")
    text = "".join(f"{name}\n{notice[name]}\n" for name in names if isinstance(notice.get(name), str))
    try:
        key = load_pem_x509_certificate(certificate).public_key()
        signature = base64.b64decode(str(notice.get("Signature", "")), validate=True)
        algorithm = {"1": SHA1(), "2": SHA256()}[str(notice.get("SignatureVersion"))]  # noqa: S303 - Amazon's version 1
        if not isinstance(key, RSAPublicKey):
            raise Unverified("The certificate holds no RSA key.")
        key.verify(signature, text.encode("utf-8", "surrogatepass"), PKCS1v15(), algorithm)
    except (InvalidSignature, ValueError, KeyError, binascii.Error) as error:
        raise Unverified("The signature is not Amazon's.") from error


def _decoded(content: str, encoding: str) -> bytes:
    if encoding.upper() != "BASE64":
        return content.encode("utf-8", "replace")
    try:
        return base64.b64decode(content)
    except (binascii.Error, ValueError) as error:
        raise Malformed("The mail in the notice is no base64.") from error


def _mail_from(document: dict[str, Any]) -> str | None:
    mail = document.get("mail")
    source = mail.get("source") if isinstance(mail, dict) else None
    return bare_address(source) if isinstance(source, str) else None


def _addresses(found: object) -> tuple[str, ...]:
    values = found[:100] if isinstance(found, list) else []
    return tuple(filter(None, (bare_address(str(value)) for value in values)))


def _verdict(receipt: dict[str, Any]) -> Verdict | None:
    verdict = receipt.get("dmarcVerdict")
    status = str(verdict.get("status", "")).upper() if isinstance(verdict, dict) else ""
    known = {"PASS": "pass", "FAIL": "fail", "PROCESSING_FAILED": "temperror"}
    return Verdict(by="provider", dmarc=known[status]) if status in known and status != "PROCESSING_FAILED" else None
