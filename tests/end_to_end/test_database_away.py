"""PostgreSQL goes away and comes back: senders are told to come again, and nobody has to lend a hand."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from bridge.store.engine import open_engine
from tests.conftest import postgres_server
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import ADMIN, Sink, orphan, post, request, write_config


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A PostgreSQL of these tests' own, since it is stopped under them."""
    with postgres_server() as own:
        yield own


CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture
def database_url(server: Any, tmp_path: Path) -> str:
    uri: str = server.get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{tmp_path.name}"')
    head, _, tail = uri.partition("/postgres?")
    return f"{head}/{tmp_path.name}?{tail}"


@pytest.fixture
async def opened(database_url: str, tmp_path: Path, sink: Sink) -> AsyncIterator[Opened]:
    async with bridge_from(write_config(tmp_path, database_url=database_url, callback=sink.url)) as one:
        yield one


def _told_to_come_again(response: httpx2.Response) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0


async def test_nothing_is_stored_by_half_and_the_same_request_is_taken_later(
    opened: Opened, server: Any, sink: Sink
) -> None:
    requests = [request(f"number {number}", conversation=f"c{number}") for number in range(20)]
    await asyncio.to_thread(server.stop)
    for response in await asyncio.gather(*(post(opened.http, sent) for sent in requests)):
        _told_to_come_again(response)
    assert (await opened.http.get("/readyz")).status_code == 503
    _told_to_come_again(await opened.http.get("/v1/ledger", headers=ADMIN))
    await asyncio.to_thread(server.start)
    for response in await asyncio.gather(*(post(opened.http, sent) for sent in requests)):
        assert response.status_code == 202, response.text
    await sink.callbacks(20)
    books = await opened.settled()
    assert (books.accepted, books.answered) == (20, 20)
    assert len({callback.id for callback in sink.received}) == len(sink.received) == 20


async def test_what_was_running_is_answered_once_when_the_database_is_back(
    opened: Opened, server: Any, sink: Sink
) -> None:
    for number in range(5):
        assert (await post(opened.http, request("sleep 1", conversation=f"c{number}"))).status_code == 202
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(1.5)  # the agent's answers come now, and cannot be stored
    await asyncio.to_thread(server.start)
    await sink.callbacks(5)
    books = await opened.settled()
    assert (books.accepted, books.answered) == (5, 5)
    assert len({callback.id for callback in sink.received}) == 5
    assert {callback.data["result"] for callback in sink.received} == {"You said: sleep 1"}


async def test_connections_that_are_cut_while_requests_come_lose_nothing_that_was_acknowledged(
    opened: Opened, database_url: str, sink: Sink
) -> None:
    accepted = 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(10):
            sending = [post(opened.http, request("hello", conversation=f"c{number}-{n}")) for n in range(5)]
            responses = asyncio.gather(*sending)
            await asyncio.to_thread(connection.execute, CUT)
            statuses = [response.status_code for response in await responses]
            assert set(statuses) <= {202, 503}
            accepted += statuses.count(202)
    assert (await post(opened.http, request("the last word"))).status_code in {202, 503}
    books = await opened.settled()
    assert books.accepted >= accepted
    assert books.answered == books.accepted
    assert len({callback.data["message_id"] for callback in sink.received}) == books.accepted


async def test_who_asks_how_it_is_hears_of_a_database_that_is_silent(opened: Opened, server: Any) -> None:
    assert "bridge_ledger_balanced 1.0" in (await opened.http.get("/metrics")).text
    pid = int((Path(server.pgdata) / "postmaster.pid").read_text().split()[0])
    asked = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    with psycopg.connect(server.get_uri()) as connection:
        pids = [pid, *(row[0] for row in connection.execute(asked))]
    for each in pids:
        os.kill(each, signal.SIGSTOP)
    try:
        assert (await opened.http.get("/healthz")).status_code == 200
        assert (await opened.http.get("/readyz")).status_code == 503
        assert "bridge_lanes" in (await opened.http.get("/metrics")).text
    finally:
        for each in pids:
            os.kill(each, signal.SIGCONT)
    assert (await opened.http.get("/readyz")).status_code == 200


def test_a_server_that_is_gone_without_a_word_is_given_up_in_time(database_url: str) -> None:
    for url, patience in ((database_url, "15000"), (f"{database_url}&tcp_user_timeout=7000", "7000")):
        engine = open_engine(url)
        with engine.connect() as connection:
            told = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
        assert (told["tcp_user_timeout"], told["keepalives_idle"]) == (patience, "15")
        engine.dispose()


async def test_a_node_beats_on_whatever_a_beat_ran_into(opened: Opened, database_url: str, sink: Sink) -> None:
    """Else it would go on to take messages, and answer none of them."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE nodes RENAME TO elsewhere")  # as while a dump is restored
        await asyncio.sleep(2)
        connection.execute("ALTER TABLE elsewhere RENAME TO nodes")
    assert (await post(opened.http, request("sleep 2"))).status_code == 202
    orphan(database_url)
    assert (await sink.callbacks(1))[0].data["result"] == "You said: sleep 2"
