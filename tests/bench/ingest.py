"""Acknowledgements a second, and how long one takes, beside a bare Starlette route that only verifies the signature.

Both servers are real processes. Rounds alternate, so that both meet the same noise; medians of the rounds are told.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import SECRET
from tests.bench.table import Table, middle, verdict
from tests.bench.usage import cpu_seconds
from tests.conftest import postgres_server
from tests.end_to_end.serving import ROOT, free_port, serving, until_listening

CONFIG = """
[bridge]
listen = "127.0.0.1:{port}"
database_url = "{database_url}"
files_url = "{folder}/files"
secret_keys = ["a key of this benchmark alone"]
admin_token = "an-admin-token-of-these-tests"
log_level = "error"

{agent}

[sources.orders]
adapter = "{adapter}"
agent = "local"
secrets = ["{secret}"]
{options}
"""
OPTIONS = {
    "webhook": "",
    "email": 'address = "agent@example.com"\nauthserv_id = "mx.example.com"\nsmtp_url = "maildir:unused"\n'
    "max_replies_10_minutes = 0\nmax_replies_day = 0\nmax_same_text_hour = 0",
}
KINDS = {"webhook": "json", "email": "mail"}
AGENTS = {
    "away": '[agents.local]\nkind = "xpander"\nbase_url = "http://127.0.0.1:9"\napi_key = "k"\nagent_id = "a"',
    "embedded": '[agents.local]\nkind = "embedded"\nbrain = "demo"',
}
LEAST_SHARE = 0.5
MOST_LONGER = 3


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement."""

    per_second: float
    p50: float
    p99: float
    failures: int
    cpu_ms: float
    """Of the server's process, for each acknowledgement, turns that were begun included."""


async def measure(port: int, pid: int, *, connections: int, seconds: float, most: int, kind: str) -> Round:
    """Let the load generator, a process of its own, do its work."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", str(port), "/in/orders", "--connections", str(connections),
        "--seconds", str(seconds), "--most", str(most), "--conversations", str(most),
        "--kind", kind,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    used = cpu_seconds([pid])
    output, _ = await process.communicate()
    cpu_ms = (cpu_seconds([pid]) - used) * 1000
    found = json.loads(output)
    times = sorted(found["milliseconds"])
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return Round(len(times) / found["seconds"], p50, p99, found["failures"], cpu_ms / len(times))


async def main(given: argparse.Namespace) -> None:
    """Measure in rounds and tell the medians."""
    bare, ours = [], []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        url = f"sqlite:///{folder}/bridge.db"
        if given.postgres:
            url = stack.enter_context(postgres_server()).get_uri()
        port, bare_port = free_port(), free_port()
        config = folder / "bridge.toml"
        config.write_text(
            CONFIG.format(
                port=port,
                database_url=url,
                folder=folder,
                secret=SECRET,
                agent=AGENTS[given.agent],
                adapter=given.adapter,
                options=OPTIONS[given.adapter],
            ),
            "utf-8",
        )
        served = await stack.enter_async_context(serving(config, port))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.bare", str(bare_port), cwd=ROOT
        )
        stack.callback(process.terminate)
        await until_listening(process, bare_port)
        for number in range(given.rounds + 1):
            load = {
                "connections": given.connections,
                "seconds": 1 if number == 0 else given.seconds,
                "most": given.most,
                "kind": KINDS[given.adapter],
            }
            pair = await measure(bare_port, process.pid, **load), await measure(port, served.process.pid, **load)
            if number:  # the first one warms up
                bare.append(pair[0])
                ours.append(pair[1])
            await asyncio.sleep(given.pause)
    _tell(bare, ours)


def _tell(bare: list[Round], ours: list[Round]) -> None:
    """The medians, and how the two compare, round by round."""
    table = Table("what", "acks/s", "p50, ms", "p99, ms", "CPU, ms", "failures")
    for name, rounds in (("bare route", bare), ("Agent Bridge", ours)):
        failures = sum(one.failures for one in rounds)
        figures = (middle([getattr(one, name) for one in rounds]) for name in ("per_second", "p50", "p99", "cpu_ms"))
        table.row(
            name, *(f"{figure:.{digits}f}" for figure, digits in zip(figures, (0, 1, 1, 2), strict=True)), str(failures)
        )
    share = middle([one.per_second / floor.per_second for one, floor in zip(ours, bare, strict=True)])
    longer = middle([one.p99 / floor.p99 for one, floor in zip(ours, bare, strict=True)])
    more = middle([one.cpu_ms / floor.cpu_ms for one, floor in zip(ours, bare, strict=True)])
    flawless = not any(one.failures for one in (*bare, *ours))
    table.row("of the bare route", f"{share:.2f}", "", f"{longer:.1f} times", f"{more:.1f} times", "")
    goals = (share >= LEAST_SHARE, longer <= MOST_LONGER, flawless)
    told = [verdict(met=met) for met in goals]
    table.row("goal", f">= {LEAST_SHARE}: {told[0]}", "", f"<= {MOST_LONGER} times: {told[1]}", "", f"0: {told[2]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--most", type=int, default=40_000, help="requests made ready for each round")
    parser.add_argument("--pause", type=float, default=0, help="seconds between rounds, for turns to be finished in")
    parser.add_argument(
        "--agent", choices=AGENTS, default="away", help="away: ingest alone; embedded: turns run in the same process"
    )
    parser.add_argument("--adapter", choices=KINDS, default="webhook", help="what is posted: events, or raw mails")
    parser.add_argument("--postgres", action="store_true")
    asyncio.run(main(parser.parse_args()))
