"""HTTP Message Signatures (RFC 9421) with Content-Digest (RFC 9530), in the strict subset that webhooks need.

Component parameters (`;sf`, `;bs`, `;key`, `;req`, `;tr`) are refused: nobody signs webhooks with them,
and reading them leniently would mean verifying other bytes than were signed.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from bridge.model import Envelope
from bridge.signing_keys import Secret, decode, make_signature, matches
from bridge.signing_request import only_value, public_url, refused, wire
from bridge.signing_scheme import Scheme

MAX_LABELS = 16
TOLERANCE_SECONDS = 300

_KEY = r"[a-z*][a-z0-9_\-.*]*"
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_BYTES = r":[A-Za-z0-9+/]*={0,2}:"
_PARAMETER = re.compile(rf";({_KEY})=({_STRING}|[0-9]{{1,14}})")
_INPUT = re.compile(rf'({_KEY})=\(((?:"[!#-~]+"(?: "[!#-~]+")*)?)\)((?:;{_KEY}=(?:{_STRING}|[0-9]{{1,14}}))*)')
_BINARY = re.compile(rf"({_KEY})=({_BYTES})")
_COMMA = re.compile(r"[ \t]*,[ \t]*")

_NAMES = {"sha256": "hmac-sha256", "ed25519": "ed25519", "ecdsa-p256": "ecdsa-p256-sha256"}
_DIGESTS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_LABEL = "sig1"


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """One member of Signature-Input: what was signed and with which parameters, as they were written."""

    components: tuple[str, ...]
    parameters: dict[str, str]

    def __str__(self) -> str:
        covered = " ".join(f'"{name}"' for name in self.components)
        return f"({covered})" + "".join(f";{name}={value}" for name, value in self.parameters.items())

    def text(self, name: str) -> str | None:
        """A string parameter without its quotes."""
        value = self.parameters.get(name)
        return None if value is None else re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value


def verify_message_signature(
    scheme: Scheme, secrets: Sequence[Secret], envelope: Envelope, now: datetime
) -> tuple[Secret, bytes]:
    """Who signed, and the signature base. Raises Unverified; ValueError where the bytes do not parse.

    A signature counts only if it is fresh, covers what `scheme.covered` asks for, the query where there
    is one and the content digest where there is a body, and only if that digest is the body's.
    """
    inputs = _inputs(only_value(envelope.header_values("signature-input")))
    signatures = _binaries(only_value(envelope.header_values("signature")))
    found: tuple[Secret, bytes] | None = None
    reason = "header"
    for label, described in inputs.items():
        signature = signatures.get(label)
        if signature is None or not _is_for_us(scheme, described):
            continue
        base = wire(signature_base(scheme, envelope, described))
        signer = None
        for secret in secrets:
            if matches("rfc9421", scheme.algorithm, secret, base, (signature,)):
                signer = secret
        reason = "mismatch" if signer is None else _objection(scheme, envelope, described, now)
        if signer is not None and not reason:
            found = signer, base
    if found is None:
        raise refused(reason)
    return found


def signed_by_message_signature(scheme: Scheme, secret: Secret, envelope: Envelope, now: datetime) -> Envelope:
    """The request with Content-Digest, Signature-Input and Signature, covering all that `verify` asks for."""
    dropped = {"signature", "signature-input", "content-digest"}
    headers = [pair for pair in envelope.headers if pair[0] not in dropped]
    components = [*scheme.covered, *(["@query"] if envelope.query else [])]
    if envelope.body:
        digest = base64.b64encode(hashlib.sha256(envelope.body).digest()).decode()
        headers.append(("content-digest", f"sha-256=:{digest}:"))
        components.append("content-digest")
    parameters = {"created": str(int(now.timestamp()))}
    if scheme.keyid:
        parameters["keyid"] = f'"{scheme.keyid}"'
    described = SignatureInput(tuple(dict.fromkeys(components)), parameters)
    envelope = replace(envelope, headers=tuple(headers))
    base = wire(signature_base(scheme, envelope, described))
    signature = base64.b64encode(make_signature("rfc9421", scheme.algorithm, secret, base)).decode()
    added = (("signature-input", f"{_LABEL}={described}"), ("signature", f"{_LABEL}=:{signature}:"))
    return replace(envelope, headers=(*envelope.headers, *added))


def signature_base(scheme: Scheme, envelope: Envelope, described: SignatureInput) -> str:
    """The text that is signed (RFC 9421, section 2.5)."""
    lines = [f'"{name}": {_component(scheme, envelope, name)}' for name in described.components]
    return "\n".join([*lines, f'"@signature-params": {described}'])


def _component(scheme: Scheme, envelope: Envelope, name: str) -> str:
    if not name.startswith("@"):
        values = envelope.header_values(name)
        if not values:
            raise refused("header")
        return ", ".join(value.strip() for value in values)
    target = public_url(scheme, envelope)
    parts = urlsplit(target)
    derived = {
        "@method": envelope.method,
        "@target-uri": target,
        "@authority": _authority(parts.scheme, parts.netloc),
        "@scheme": parts.scheme,
        "@path": parts.path or "/",
        "@query": f"?{envelope.query}",
    }
    if name not in derived:
        raise refused("header")
    return derived[name]


def _authority(scheme: str, netloc: str) -> str:
    default = {"https": ":443", "http": ":80"}.get(scheme, "")
    return netloc.lower().removesuffix(default) if default else netloc.lower()


def _is_for_us(scheme: Scheme, described: SignatureInput) -> bool:
    """Whether our key and algorithm are meant; the algorithm is ours to choose, the sender can only agree."""
    if described.text("alg") not in {None, _NAMES[scheme.algorithm]}:
        return False
    return scheme.keyid is None or described.text("keyid") == scheme.keyid


def _objection(scheme: Scheme, envelope: Envelope, described: SignatureInput, now: datetime) -> str:
    """Why an authentic signature does not cover this request, or the empty string."""
    names = set(described.components)
    if "@target-uri" in names:
        names |= {"@authority", "@path", "@scheme", "@query"}
    needed = {*scheme.covered, *(["@query"] if envelope.query else []), *(["content-digest"] if envelope.body else [])}
    if not needed <= names:
        return "header"
    if not _is_timely(scheme, described, now):
        return "stale"
    return "" if "content-digest" not in names or _has_digest(envelope) else "body"


def _is_timely(scheme: Scheme, described: SignatureInput, now: datetime) -> bool:
    created, expires = described.parameters.get("created", ""), described.parameters.get("expires", "")
    if not created.isdecimal():
        return False
    tolerance = scheme.timestamp.tolerance if scheme.timestamp else TOLERANCE_SECONDS
    if abs(datetime.fromtimestamp(int(created), UTC) - now) > timedelta(seconds=tolerance):
        return False
    return not expires or (expires.isdecimal() and now.timestamp() <= int(expires))


def _has_digest(envelope: Envelope) -> bool:
    digests = _binaries(only_value(envelope.header_values("content-digest")))
    known = [(algorithm, digests[name]) for name, algorithm in _DIGESTS.items() if name in digests]
    return bool(known) and all(
        hmac.compare_digest(algorithm(envelope.body).digest(), digest) for algorithm, digest in known
    )


def _inputs(text: str) -> dict[str, SignatureInput]:
    found: dict[str, SignatureInput] = {}
    for match in _members(_INPUT, text):
        label, listed, written = match.groups()
        components = tuple(name.strip('"') for name in listed.split(" ")) if listed else ()
        parameters = dict(_PARAMETER.findall(written))
        repeated = len(set(components)) < len(components) or len(parameters) < len(_PARAMETER.findall(written))
        if repeated or any(name != name.lower() for name in components):
            raise refused("header")
        found[label] = SignatureInput(components, parameters)
    return found


def _binaries(text: str) -> dict[str, bytes]:
    found = {match[1]: decode("base64", match[2][1:-1]) for match in _members(_BINARY, text)}
    return {label: raw for label, raw in found.items() if raw is not None}


def _members(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Every member of a dictionary structured field (RFC 8941, 3.2), read whole or refused."""
    found: list[re.Match[str]] = []
    position = 0
    while match := pattern.match(text, position):
        found.append(match)
        position = match.end()
        if position == len(text):
            break
        comma = _COMMA.match(text, position)
        position = comma.end() if comma else position
        if comma is None or len(found) >= MAX_LABELS:
            raise refused("header")
    if position != len(text) or not found or len({match[1] for match in found}) < len(found):
        raise refused("header")
    return found
