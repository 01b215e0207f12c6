"""Two bridges on one database: whichever receives, a conversation is answered in order and each message once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from tests.conftest import fresh_database
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import Sink, post, request, write_config

CONVERSATIONS, MESSAGES = 8, 6


@pytest.fixture
def database_url(postgres: str) -> str:
    return fresh_database(postgres)


async def two_bridges(stack: AsyncExitStack, folder: Path, database_url: str, sink: Sink) -> list[Opened]:
    configs = [write_config(folder, database_url=database_url, callback=sink.url, name=name) for name in ("one", "two")]
    return [await stack.enter_async_context(bridge_from(config)) for config in configs]


def drop_hints(database_url: str) -> None:
    """From here on NOTIFY does nothing in this database: a function of ours is found before the system's."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''")
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET search_path = public, pg_catalog")


@pytest.mark.parametrize("hints", [True, False])
async def test_both_receive_and_every_conversation_keeps_its_order(
    tmp_path: Path,
    database_url: str,
    sink: Sink,
    hints: bool,  # noqa: FBT001
) -> None:
    if not hints:
        drop_hints(database_url)
    async with AsyncExitStack() as stack:
        nodes = await two_bridges(stack, tmp_path, database_url, sink)
        for number in range(MESSAGES):
            sent = [
                post(nodes[(number + conversation) % 2].http, request(f"{number}", conversation=f"c{conversation}"))
                for conversation in range(CONVERSATIONS)
            ]
            assert {response.status_code for response in await asyncio.gather(*sent)} == {202}
        await sink.callbacks(CONVERSATIONS * MESSAGES)
        books = await nodes[0].settled()
    assert (books.accepted, books.answered) == (CONVERSATIONS * MESSAGES, CONVERSATIONS * MESSAGES)
    for conversation in range(CONVERSATIONS):
        told = [c.data["result"] for c in sink.received if c.data["conversation"] == f"c{conversation}"]
        assert told == [f"You said: {number}" for number in range(MESSAGES)]
