"""Two bridges on one PostgreSQL, behind a PgBouncer that lends connections for a transaction: `make test-pooler`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from bridge.store.notices import CHANNEL, Deaf, hints
from tests.conftest import fresh_database
from tests.end_to_end.parties import Sink, post, request
from tests.end_to_end.pooler import pooling
from tests.end_to_end.test_two_nodes import two_bridges
from tests.stages.test_nodes import until_listening

pytestmark = pytest.mark.skipif(os.environ.get("POOLER") != "1", reason="run by `make test-pooler`")
CONVERSATIONS, MESSAGES = 10, 10


@pytest.fixture
def direct(postgres: str) -> str:
    return fresh_database(postgres)


@pytest.fixture
async def pooled(direct: str) -> AsyncIterator[str]:
    async with pooling(direct) as url:
        yield url


@pytest.mark.parametrize("past_the_pooler", [True, False])
async def test_turns_run_in_order_and_no_statement_is_missed(
    tmp_path: Path,
    direct: str,
    pooled: str,
    sink: Sink,
    capfd: pytest.CaptureFixture[str],
    *,
    past_the_pooler: bool,
) -> None:
    url = f'{pooled}"\ndatabase_direct_url = "{direct}' if past_the_pooler else pooled
    async with AsyncExitStack() as stack:
        nodes = await two_bridges(stack, tmp_path, url, sink)
        await until_listening(direct, 2 if past_the_pooler else 0)
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
    written = "".join(capfd.readouterr())
    assert written.count("hints_unheard") == (0 if past_the_pooler else 2)
    assert all(word not in written for word in ("prepared statement", "Traceback", "store_unavailable"))


async def test_nobody_listens_through_the_pooler(pooled: str, direct: str) -> None:
    with pytest.raises(Deaf):
        await anext(hints(pooled))
    heard = hints(direct)
    assert await anext(heard) == frozenset()
    with psycopg.connect(pooled, autocommit=True) as connection:
        connection.execute("SELECT pg_notify(%s, 'nod_one nod_two')", (CHANNEL,))
    assert await anext(heard) == {"nod_one", "nod_two"}
    await heard.aclose()
