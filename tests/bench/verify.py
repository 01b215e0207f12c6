"""What a verification costs, per preset, against a bare `hmac.digest` of the same body in the same run.

    python -m tests.bench.verify [seconds per row]

The last rows are the webhook adapter's whole way from bytes to a message. Absolute times depend on
the machine and on what else runs there; the column to compare is the ratio.
"""

import asyncio
import hmac
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from adapters.webhook import Settings, build
from bridge.model import Envelope
from bridge.signing import verify
from tests.adapters.kits import open_kit
from tests.bench.table import Table
from tests.signed_requests import FORM, NOW, ROWS, SIGNING, envelope, scheme_of, signed, verifying_secret

ONE_KILOBYTE = json.dumps({"text": "x" * 900, "conversation": "order-7", "user": {"id": "u1"}, "id": "1"}).encode()
ROUNDS = 5


def microseconds(once: Callable[[], object], seconds: float) -> float:
    """The best of several rounds: what the machine can do when nothing disturbs it."""
    repeat, best = 1, float("inf")
    while (spent := _spent(once, repeat)) < seconds / ROUNDS / 4:
        repeat *= 2
    for _ in range(ROUNDS):
        best = min(best, _spent(once, repeat) / repeat)
    return min(best, spent / repeat) * 1e6


def _spent(once: Callable[[], object], repeat: int) -> float:
    started = time.perf_counter()
    for _ in range(repeat):
        once()
    return time.perf_counter() - started


def request_for(preset: str) -> Envelope:
    if preset == "twilio":
        form = b"Body=" + b"x" * 900 + b"&From=%2B14158675309&MessageSid=SM1&To=%2B18005551212"
        return signed(preset, envelope(form, content_type=FORM))
    return signed(preset, envelope(ONE_KILOBYTE))


def verifying(preset: str) -> Callable[[], object]:
    scheme, secrets, request = scheme_of(preset), [verifying_secret(preset)], request_for(preset)
    return lambda: verify(scheme, secrets, request, NOW)


async def receiving(seconds: float) -> list[tuple[str, float]]:
    """The adapter's `receive`, which never waits, so a coroutine can be driven by hand."""
    rows = []
    async with open_kit() as kit:
        plain = build(Settings.model_validate({"secrets": [SIGNING["standard"]]}), kit)
        mapping = {"text": "{{ body.text }}", "conversation": "body.conversation", "user": {"id": "body.user.id"}}
        mapped = build(Settings.model_validate({"secrets": [SIGNING["standard"]], "map": mapping}), kit)
        request = replace(request_for("standard"), received_at=NOW)
        for name, adapter in (("receive, default body", plain), ("receive, mapped", mapped)):

            def once(receive: Callable[[Envelope], object] = adapter.receive) -> None:
                try:
                    receive(request).send(None)  # type: ignore[attr-defined]  # a coroutine, driven by hand
                except StopIteration:
                    return
                raise AssertionError("receive waited for something")

            rows.append((name, microseconds(once, seconds)))
    return rows


def main(seconds: float) -> None:
    """Print one line per preset."""
    bare = microseconds(lambda: hmac.digest(b"k" * 24, ONE_KILOBYTE, "sha256"), seconds)
    rows = [(preset, microseconds(verifying(preset), seconds)) for preset in ROWS]
    rows += asyncio.run(receiving(seconds))
    table = Table(f"{len(ONE_KILOBYTE)} byte body", "µs", "of a bare HMAC")
    for name, cost in [("bare hmac.digest", bare), *rows]:
        table.row(name, f"{cost:.1f}", f"{cost / bare:.1f}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.1)
