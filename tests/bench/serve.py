"""The bridge under load as it is in use: `agent-bridge serve`, an agent that is fast, a receiver of callbacks."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from tests.bench.load import SECRET
from tests.bench.peer import Peer
from tests.end_to_end.parties import Request, request
from tests.end_to_end.serving import Served, free_port, serving

CONFIG: Final = """
[bridge]
listen = "127.0.0.1:{port}"
database_url = "{database_url}"
files_url = "{folder}/files"
secret_keys = ["a key of this benchmark alone"]
admin_token = "an-admin-token-of-these-tests"
log_level = "error"
concurrency = 100000

{agent}

[sources.orders]
adapter = "webhook"
agent = "local"
secrets = ["{secret}"]
{callback}
"""
FILLER: Final = "so that the body has the size of a usual message " * 15
AWAY: Final = "http://127.0.0.1:9"


@asynccontextmanager
async def bridge(
    folder: Path, database_url: str, *, peer: Peer | None, mode: str = "stream", embedded: bool = False
) -> AsyncIterator[Served]:
    """One node. Without a peer its agent is away: it only stores what comes."""
    port = free_port()
    address = peer.url if peer else AWAY
    agent = f'kind = "xpander"\nbase_url = "{address}"\napi_key = "k"\nagent_id = "a"\nmode = "{mode}"'
    if embedded:
        agent = 'kind = "embedded"\nbrain = "demo"'
    callback = f'callback = "{peer.url}/answers"\nallow_private_callbacks = true' if peer else ""
    config = folder / f"node{port}.toml"
    text = CONFIG.format(
        port=port, database_url=database_url, folder=folder, secret=SECRET,
        agent=f"[agents.local]\n{agent}", callback=callback,
    )  # fmt: skip
    config.write_text(text, "utf-8")
    async with serving(config, port) as served:
        yield served


def message(number: int, *, conversation: int, text: str = "") -> Request:
    """A signed message of some 0.9 KB, or of these words; each of a person of its own."""
    person = {"id": f"person-{number % 1000}"}
    return request(text or FILLER, conversation=f"c{conversation}", secret=SECRET, user=person)


def sender() -> aiohttp.ClientSession:
    """Any number of connections. It lets go of an idle one before the server does, which would be a lost request."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2))


async def send(http: aiohttp.ClientSession, url: str, sent: Request) -> None:
    """Post it and see it accepted."""
    async with http.post(f"{url}/in/orders", data=sent.body, headers=dict(sent.headers)) as response:
        assert response.status == 202, f"{response.status}: {await response.text()}"
        await response.read()


async def send_all(http: aiohttp.ClientSession, urls: list[str], messages: Iterable[Request], *, at_once: int) -> None:
    """Post them over so many connections, at one node and the next in turn."""
    numbered = iter(enumerate(messages))

    async def one() -> None:
        for number, each in numbered:
            await send(http, urls[number % len(urls)], each)

    await asyncio.gather(*(one() for _ in range(at_once)))
