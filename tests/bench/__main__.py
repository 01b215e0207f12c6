"""`make bench`: every benchmark of ours in turn, each a section of Markdown, each against the floor of its own run.

    python -m tests.bench [section ...]

Some eight minutes in all; nothing else should run. A goal that is missed is told in its row and is no failure.
"""

import argparse
import asyncio
import signal
import sys
import time

from tests.bench.table import machine, say
from tests.end_to_end.serving import ROOT

INGEST = ("tests.bench.ingest", "--rounds", "3", "--seconds", "3", "--most", "20000")
ENGINE = ("accept", "turns", "latency", "waiting", "takeover", "far")  # the map has a command of its own: scale
LIMIT_SECONDS = 240
"""Of one section; it is ended and told then."""

SECTIONS = {
    "webhook-sqlite": ("Webhooks accepted, SQLite", INGEST),
    "webhook-postgres": ("Webhooks accepted, PostgreSQL", (*INGEST, "--postgres")),
    "email-sqlite": ("Mails accepted, SQLite", (*INGEST, "--adapter", "email")),
    "email-postgres": ("Mails accepted, PostgreSQL", (*INGEST, "--adapter", "email", "--postgres")),
    "engine": ("The engine, without HTTP", ("tests.bench.engine", *ENGINE, "--seconds", "2")),
    "agent": ("The agent's client and server", ("tests.bench.agent", "--seconds", "1.5")),
    "verify": ("Signatures", ("tests.bench.verify", "0.05")),
}


async def run(title: str, command: tuple[str, ...]) -> None:
    """One section. What a part says of its own trouble goes to stderr as ever."""
    say(f"\n## {title}\n\n`python -m {' '.join(command)}`\n")
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *command, cwd=ROOT)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGINT)  # as Ctrl-C does: what it started is ended, too
        await process.wait()
        say(f"\nEnded after {LIMIT_SECONDS} s, unfinished.")
    if process.returncode and process.returncode > 0:
        say(f"\nBroke off with exit code {process.returncode}; stderr says why.")
    sys.stderr.write(f"{title}: {time.monotonic() - begun:.0f} s\n")


async def main(names: list[str]) -> None:
    """All sections, or those that are named."""
    say(f"# Benchmarks\n\n{machine()}")
    for name in names or SECTIONS:
        await run(*SECTIONS[name])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    given = parser.parse_args()
    if unknown := set(given.sections) - SECTIONS.keys():
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    asyncio.run(main(given.sections))
