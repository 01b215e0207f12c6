"""Signs a request to Amazon (AWS Signature Version 4), for fetching mail from S3 and sending it through SES."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An access key, for one region and service."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    service: str


def sign(method: str, url: str, body: bytes, credentials: Credentials, now: datetime) -> Mapping[str, str]:
    """The headers that authorise the request. The URL's path must be encoded already; its query is not supported."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    # S3 signs the path as it is, every other service encodes it once more.
    path = parts.path or "/"
    path = path if credentials.service == "s3" else quote(path, safe="/-_.~")
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
    scope = f"{stamp[:8]}/{credentials.region}/{credentials.service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(_key(credentials, stamp[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return {"Authorization": authorization, "x-amz-content-sha256": digest, "x-amz-date": stamp}


def _key(credentials: Credentials, day: str) -> bytes:
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (day, credentials.region, credentials.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
