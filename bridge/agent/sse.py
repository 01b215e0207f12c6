"""Server-sent events, as far as an agent speaks them: lines of bytes in, `data` payloads out.

An own parser, since it never decodes: it splits bytes and hands them to the JSON parser as they are, so a character
cut between two network reads needs no care, and per event it costs less than half of httpx2's EventSource (measured
by tests/bench/agent.py). A lone CR as a line end, which the standard allows and nobody sends, is not read.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple


class Sent(NamedTuple):
    """One event: its payload, and the id to resume behind it where the server gives one."""

    data: bytes
    id: str | None


class Oversized(ValueError):
    """One event is larger than anything an agent has reason to send."""


async def read_events(chunks: AsyncIterator[bytes], *, max_bytes: int = 16 << 20) -> AsyncGenerator[Sent, None]:
    """Yields each complete event; one that the stream's end cuts off is dropped, as the standard demands.

    Raises Oversized above `max_bytes` for one event, and whatever `chunks` raises.
    """
    tail: list[bytes] = []
    data: list[bytes] = []
    cursor, held = None, 0
    async for chunk in chunks:
        held += len(chunk)
        if held > max_bytes:
            raise Oversized(f"one event of the stream is larger than {max_bytes} bytes")
        if b"\n" not in chunk:
            tail.append(chunk)
            continue
        lines = b"".join((*tail, chunk)).split(b"\n")
        tail = [lines.pop()]
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6 if line.startswith(b"data: ") else 5 :].rstrip(b"\r"))
            elif line in _BLANK:
                if data:
                    yield Sent(data[0] if len(data) == 1 else b"\n".join(data), cursor)
                    data = []
                held = len(tail[0])
            elif line.startswith(b"id:") and b"\0" not in line:  # as the standard demands; no database takes it either
                cursor = line[3:].strip().decode("utf-8", "replace")


_BLANK = frozenset({b"", b"\r"})
