"""A lean closed-loop load generator: presigned requests over keep-alive connections, one process, no HTTP library."""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

SECRET = "whsec_" + base64.b64encode(b"a secret of this benchmark alone").decode()


def spoken(run: str, number: int, conversations: int) -> bytes:
    """Some 0.9 KB of JSON."""
    filler = "so that the body has the size of a usual message " * 15
    conversation = f"{run}-{number % conversations}"
    return json.dumps({"text": filler, "conversation": conversation, "user": {"id": "bench"}}).encode()


def mailed(run: str, number: int, conversations: int) -> bytes:
    """A mail of some 4 KB, as mail programs send it: text and HTML, with what servers write on top."""
    filler = "so that the body has the size of a usual message " * 12
    trace = "".join(
        f"Received: from mx{hop}.example.org by mx.example.com; Sun, 22 Nov 2026 12:00:0{hop} +0000\r\n"
        for hop in range(4)
    )
    return (
        f"{trace}Authentication-Results: mx.example.com; dmarc=pass header.from=example.org\r\n"
        f"From: Jane Roe <jane{number % conversations}@example.org>\r\nTo: agent@example.com\r\nSubject: A question\r\n"
        f"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{run}.{number}@example.org>\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{filler}\r\n"
        f"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<div>{filler}<br>{filler}</div>\r\n--b--\r\n"
    ).encode()


KINDS = {"json": ("application/json", spoken), "mail": ("message/rfc822", mailed)}


def presigned(path: str, count: int, conversations: int, kind: str) -> Iterator[bytes]:
    """Whole requests, as bytes, each a message of its own, signed as Standard Webhooks."""
    key, now, run = base64.b64decode(SECRET.removeprefix("whsec_")), int(time.time()), uuid.uuid4().hex
    media_type, written = KINDS[kind]
    for number in range(count):
        name = f"msg_{run}_{number}"
        body = written(run, number, conversations)
        mac = hmac.new(key, f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {media_type}\r\nwebhook-id: {name}\r\n"
            f"webhook-timestamp: {now}\r\nwebhook-signature: v1,{base64.b64encode(mac).decode()}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


@dataclass
class Tally:
    """What came back."""

    milliseconds: list[float] = field(default_factory=list)
    failures: int = 0
    seconds: float = 0.0


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, requests: Iterator[bytes], until: float, tally: Tally, done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._until = until
        self._tally = tally
        self._done = done
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        _, _, length = head.lower().partition(b"content-length: ")
        if len(rest) < int(length.split(b"\r\n", 1)[0] or b"0"):
            return
        self._tally.milliseconds.append((time.perf_counter() - self._sent_at) * 1000)
        self._tally.failures += not head.startswith(b"HTTP/1.1 2")
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _next(self) -> None:
        request = next(self._requests, None) if time.perf_counter() < self._until else None
        if request is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def run(
    port: int, path: str, *, connections: int, seconds: float, most: int, conversations: int, kind: str
) -> Tally:
    """Keep so many connections busy for so long."""
    requests = iter(list(presigned(path, most, conversations, kind)))
    loop, tally, begun = asyncio.get_running_loop(), Tally(), time.perf_counter()
    ends = [loop.create_future() for _ in range(connections)]
    for end in ends:
        await loop.create_connection(lambda e=end: Connection(requests, begun + seconds, tally, e), "127.0.0.1", port)  # type: ignore[misc]  # a loop variable bound early
    await asyncio.gather(*ends)
    tally.seconds = time.perf_counter() - begun
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--most", type=int, default=40_000)
    parser.add_argument("--conversations", type=int, default=40_000)
    parser.add_argument("--kind", choices=KINDS, default="json")
    given = parser.parse_args()
    tally = asyncio.run(
        run(
            given.port,
            given.path,
            connections=given.connections,
            seconds=given.seconds,
            most=given.most,
            conversations=given.conversations,
            kind=given.kind,
        )
    )
    json.dump({"milliseconds": tally.milliseconds, "failures": tally.failures, "seconds": tally.seconds}, sys.stdout)
