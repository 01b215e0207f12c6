"""Many conversations, two nodes that take in what comes, and the order in which answers leave."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import postgres_server
from tests.crash.agent_double import AgentDouble
from tests.end_to_end.parties import PATIENCE_SECONDS, Sink, post, request, write_config
from tests.end_to_end.serving import SERVE, Served, free_port, serving

AGENT = '[agents.local]\nkind = "xpander"\nbase_url = "{url}"\napi_key = "k"\nagent_id = "a"'


@dataclass(frozen=True, slots=True)
class Parties:
    """Two nodes on one database, the agent and the receiver they share."""

    nodes: tuple[Served, Served]
    agent: AgentDouble
    sink: Sink


@asynccontextmanager
async def two_nodes(
    folder: Path, database_url: str, *, commands: tuple[tuple[str, ...], ...] = (SERVE, SERVE)
) -> AsyncIterator[Parties]:
    """Serve one PostgreSQL database from two processes."""
    agent, sink = AgentDouble(), Sink()
    async with await agent.start(), await sink.start(), AsyncExitStack() as stack:
        nodes = []
        for number, command in enumerate(commands):
            port = free_port()
            config = write_config(
                folder,
                database_url=database_url,
                callback=sink.url,
                port=port,
                agent=AGENT.format(url=agent.url),
                name=f"node{number}",
            )
            nodes.append(await stack.enter_async_context(serving(config, port, command=command)))
        yield Parties((nodes[0], nodes[1]), agent, sink)


async def talk(parties: Parties, *, conversations: int, messages: int, at_once: int = 50) -> None:
    """Say `messages` things in each conversation, one after the other, at one node and the other in turn."""
    places = asyncio.Semaphore(at_once)

    async def one(conversation: int) -> None:
        async with places:
            for number in range(messages):
                said = request(f"{number:04}", conversation=f"c{conversation}")
                response = await post(parties.nodes[(conversation + number) % 2].http, said)
                assert response.status_code == 202, response.text

    await asyncio.gather(*(one(conversation) for conversation in range(conversations)))


def disorder(parties: Parties) -> dict[str, list[str]]:
    """The conversations whose answers left in another order than their messages came, or more than once."""
    heard: dict[str, list[str]] = {}
    for callback in parties.sink.received:
        heard.setdefault(callback.data["conversation"], []).append(callback.data["result"])
    return {key: results for key, results in heard.items() if results != sorted(set(results))}


async def main(conversations: int, messages: int) -> int:
    """Say it, and tell whether every promise was kept."""
    with postgres_server() as server, tempfile.TemporaryDirectory(prefix="order-") as folder:
        async with two_nodes(Path(folder), server.get_uri()) as parties:
            begun = time.monotonic()
            await talk(parties, conversations=conversations, messages=messages)
            said = time.monotonic() - begun
            books = await parties.nodes[0].settled(PATIENCE_SECONDS + conversations * messages / 20)
            took = time.monotonic() - begun
            again = sum(times - 1 for times in parties.agent.asked.values())
            wrong = disorder(parties)
            posts = Counter(callback.id for callback in parties.sink.received)
            sys.stdout.write(
                f"{conversations} conversations x {messages} messages at two nodes: accepted {books['accepted']} in "
                f"{said:.1f} s, answered {books['answered']} in {took:.1f} s, out of order {len(wrong)}, invoked again "
                f"{again}, sent again {sum(posts.values()) - len(posts)}, ledger balances: {books['balanced']}\n"
            )
            kept = books["balanced"] and books["answered"] == conversations * messages and not wrong and not again
            return 0 if kept else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=10)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.conversations, given.messages)))
