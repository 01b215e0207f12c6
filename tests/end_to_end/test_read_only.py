"""PostgreSQL takes no writes for a while, as after a failover or where its host has it so for a full disk."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bridge.store.engine import open_engine
from tests.conftest import fresh_database
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import PATIENCE_SECONDS, Sink, orphan, post, request, write_config


@pytest.fixture
def database_url(postgres: str) -> str:
    return fresh_database(postgres)


@pytest.fixture
async def opened(database_url: str, tmp_path: Path, sink: Sink) -> AsyncIterator[Opened]:
    async with bridge_from(write_config(tmp_path, database_url=database_url, callback=sink.url)) as one:
        yield one


@contextmanager
def read_only(postgres: str) -> Iterator[None]:
    """Every session of the server, those that are open included."""
    with psycopg.connect(postgres, autocommit=True) as admin:
        try:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
            yield
        finally:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")


async def test_senders_come_again_and_the_node_goes_on_by_itself(
    opened: Opened, postgres: str, database_url: str, sink: Sink, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (await post(opened.http, request("sleep 1", conversation="running"))).status_code == 202
    sent = [request(f"number {number}", conversation=f"c{number}") for number in range(10)]
    with read_only(postgres):
        await _until_not_ready(opened)
        for response in await asyncio.gather(*(post(opened.http, one) for one in sent)):
            assert response.status_code == 503, response.text
            assert int(response.headers["retry-after"]) > 0
        await asyncio.sleep(2)  # beats that cannot be noted, and an answer that cannot be stored
    for response in await asyncio.gather(*(post(opened.http, one) for one in sent)):
        assert response.status_code == 202, response.text
    assert (await post(opened.http, request("sleep 2", conversation="orphan"))).status_code == 202
    orphan(database_url)
    books = await opened.settled()
    assert (books.accepted, books.answered) == (12, 12)
    assert len({callback.id for callback in sink.received}) == 12
    assert "Traceback" not in "".join(capfd.readouterr())


async def _until_not_ready(opened: Opened) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await opened.http.get("/readyz")).status_code != 503:  # noqa: ASYNC110 - the server tells its sessions when it likes
            await asyncio.sleep(0.05)


async def test_a_connection_to_a_server_that_takes_no_writes_is_none(database_url: str) -> None:
    """After a failover a name may lead to the old server for a while: whoever stayed with it would stay for good."""
    engine = open_engine(database_url)
    with engine.connect() as connection:
        told: Any = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    engine.dispose()
    assert told["target_session_attrs"] == "read-write"
