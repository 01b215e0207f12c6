"""`capture = true`: the last raw requests of a source, for the operator who sets it up. Sealed, and shown redacted."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from bridge.errors import StoreUnavailable
from bridge.model import Envelope
from bridge.redaction import MASK, redactor, secrets_in
from bridge.sealing import Sealer
from bridge.settings import Settings, Source
from bridge.store.captures import CAPTURE, Captured
from bridge.store.database import Store

log = structlog.get_logger()

BODY_BYTES: Final = 65_536
"""What is kept of a body; how long it was is kept as well."""
_PURPOSE: Final = "capture"
_CREDENTIAL: Final = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
_FIELD: Final = re.compile(
    r'("[^"\\]*(?:token|secret|password|api_?key)[^"\\]*"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One captured request, without its secrets. Signatures are shown: they open nothing by themselves."""

    received_at: datetime
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: str
    """As text; base64 where it is none."""
    body_bytes: int
    status: int
    """How it was answered."""
    answer: str
    failed_check: str | None
    """What was wrong with its signature: header, encoding, mismatch, stale, body. Its sender was not told."""


class Captures:
    """Keeps requests whatever becomes of them, refused ones above all."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def keep(self, envelope: Envelope, status: int, answer: bytes, *, failed_check: str | None = None) -> None:
        """Keep one. Where that fails, it is not kept: the request itself is answered all the same."""
        content = {
            "received_at": envelope.received_at.isoformat(),
            "method": envelope.method,
            "path": envelope.path,
            "query": envelope.query,
            "headers": [(name, _masked(name, value)) for name, value in envelope.headers],
            "body": b64encode(envelope.body[:BODY_BYTES]).decode(),
            "body_bytes": len(envelope.body),
            "status": status,
            "answer": answer[:BODY_BYTES].decode("utf-8", "replace"),
            "failed_check": failed_check,
        }
        sealed = self._sealer.seal(json.dumps(content).encode(), purpose=_PURPOSE)
        try:
            await self._store.write(
                CAPTURE, Captured(source=envelope.source, sealed=sealed, created_at=envelope.received_at)
            )
        except StoreUnavailable as error:
            log.warning("not_captured", source=envelope.source, error=str(error))


def shown(rows: Iterable[Captured], sealer: Sealer, settings: Settings, source: Source) -> list[Request]:
    """As the operator may see them. Raises Unsealable."""
    redact = redactor([*secrets_in(source.own), *secrets_in(source.common), *secrets_in(settings.bridge)])
    found = []
    for row in rows:
        content: Mapping[str, Any] = json.loads(sealer.open(row.sealed, purpose=_PURPOSE))
        body = _FIELD.sub(rf'\1"{MASK}"', redact(_text(b64decode(content["body"]))))
        found.append(
            Request(
                received_at=datetime.fromisoformat(content["received_at"]),
                method=content["method"],
                path=content["path"],
                query=redact("?" + content["query"])[1:],
                headers=tuple((name, redact(value)) for name, value in content["headers"]),
                body=body,
                body_bytes=content["body_bytes"],
                status=content["status"],
                answer=_FIELD.sub(rf'\1"{MASK}"', redact(content["answer"])),
                failed_check=content.get("failed_check"),
            )
        )
    return found


def _masked(name: str, value: str) -> str:
    """Credentials are not even stored; their kind is, which is what one gets wrong."""
    if not _CREDENTIAL.search(name):
        return value
    kind, space, _ = value.partition(" ")
    return f"{kind} {MASK}" if space and kind.isalpha() else MASK


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return b64encode(body).decode()
