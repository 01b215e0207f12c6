"""Envelopes as bytes, to be sealed and kept, without what would let a reader act as the sender."""

from datetime import datetime

from bridge.model import Envelope

_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "x-gitlab-token"})


def pack(envelope: Envelope) -> bytes:
    """The envelope as bytes, without the headers that carry credentials."""
    kept = [f"{name}: {value}" for name, value in envelope.headers if name not in _CREDENTIALS]
    head = "\n".join([f"{envelope.method} {envelope.path}?{envelope.query}", envelope.received_at.isoformat(), *kept])
    return head.encode("utf-8", "surrogateescape") + b"\n\n" + envelope.body


def unpack(source: str, packed: bytes) -> Envelope:
    """The envelope that was packed."""
    head, _, body = packed.partition(b"\n\n")
    request, received_at, *lines = head.decode("utf-8", "surrogateescape").split("\n")
    method, _, target = request.partition(" ")
    path, _, query = target.partition("?")
    headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
    return Envelope(
        source=source,
        method=method,
        path=path,
        query=query,
        headers=headers,
        body=body,
        received_at=datetime.fromisoformat(received_at),
    )
