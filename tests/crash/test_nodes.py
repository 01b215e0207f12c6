"""Two nodes on one PostgreSQL: one freezes, one has a wrong clock, everything arrives twenty times, one dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import fresh_database
from tests.crash.order import Parties, disorder, talk, two_nodes
from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS, Sink, post, request, write_config
from tests.end_to_end.serving import SERVE, Served, free_port, serving

TTL_SECONDS = 5


@pytest.fixture
async def parties(tmp_path: Path, postgres: str) -> AsyncIterator[Parties]:
    async with two_nodes(tmp_path, fresh_database(postgres)) as both:
        yield both


def _answered_once(parties: Parties, count: int) -> None:
    """So many messages, each answered by one callback that came once; no call was made twice."""
    answered = [callback.data["message_id"] for callback in parties.sink.received]
    assert len(answered) == len(set(answered)) == count
    assert set(parties.agent.asked.values()) == {1}


async def _asked(parties: Parties, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(parties.agent.asked) < count:  # noqa: ASYNC110 - another process comes there
            await asyncio.sleep(0.01)


async def test_two_nodes_answer_many_conversations_each_in_order(parties: Parties) -> None:
    await talk(parties, conversations=50, messages=10)
    books = await parties.nodes[0].settled()
    assert (books["accepted"], books["answered"], books["balanced"]) == (500, 500, True)
    assert disorder(parties) == {}
    _answered_once(parties, 500)


async def test_a_storm_of_copies_at_both_nodes_is_one_message_each(parties: Parties) -> None:
    messages = [request("hello", conversation=f"c{number % 5}") for number in range(15)]
    copies = [(sent, number) for number in range(20) for sent in messages]
    responses = await asyncio.gather(*(post(parties.nodes[number % 2].http, sent) for sent, number in copies))
    assert {response.status_code for response in responses} == {202}
    told: dict[str, set[str]] = {}
    for (sent, _), response in zip(copies, responses, strict=True):
        told.setdefault(sent.webhook_id, set()).add(response.json()["message_id"])
    assert [len(ids) for ids in told.values()] == [1] * 15
    books = await parties.nodes[1].settled()
    assert (books["accepted"], books["answered"], books["balanced"]) == (15, 15, True)
    _answered_once(parties, 15)


async def test_a_node_that_froze_past_its_lease_wakes_to_find_itself_replaced(parties: Parties) -> None:
    frozen, other = parties.nodes
    parties.agent.work_seconds = 2
    for number in range(5):
        assert (await post(frozen.http, request("hello", conversation=f"c{number}"))).status_code == 202
    await _asked(parties, 5)
    await _until_tasked(other, 5)
    frozen.send_signal(signal.SIGSTOP)
    parties.agent.work_seconds = 0
    books = await other.settled(PATIENCE_SECONDS)
    assert (books["answered"], books["balanced"]) == (5, True)
    frozen.send_signal(signal.SIGCONT)
    assert (await post(frozen.http, request("later, after the thaw", conversation="c0"))).status_code == 202
    books = await frozen.settled()
    assert (books["accepted"], books["answered"], books["balanced"]) == (6, 6, True)
    _answered_once(parties, 6)
    assert disorder(parties) == {}


async def _until_tasked(node: Served, count: int) -> None:
    """Wait until the task ids of so many messages are stored: from there on nobody invokes again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = (await node.http.get("/v1/messages", headers=ADMIN)).json()["messages"]
            if sum(message["task_id"] is not None for message in found) == count:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("seconds", [-120, 120])
async def test_a_node_with_a_wrong_clock_steals_nothing_and_takes_over_in_time(
    tmp_path: Path, postgres: str, seconds: int
) -> None:
    commands = (SERVE, ("-m", "tests.crash.skewed", str(seconds), "serve"))
    async with two_nodes(tmp_path, fresh_database(postgres), commands=commands) as parties:
        true, wrong = parties.nodes
        parties.agent.work_seconds = 3  # several beats of the other node, which would steal by its own clock
        for number in range(5):
            for node in parties.nodes:
                sent = request("hello", conversation=f"{node.url} {number}")
                assert (await post(node.http, sent)).status_code == 202
        await _asked(parties, 10)
        assert (await true.settled())["answered"] == 10
        _answered_once(parties, 10)
        assert (await post(true.http, request("hello", conversation="orphan"))).status_code == 202
        await _until_tasked(wrong, 11)
        await true.kill()
        books = await wrong.settled(TTL_SECONDS + PATIENCE_SECONDS)
        assert (books["answered"], books["balanced"]) == (11, True)
        _answered_once(parties, 11)


async def test_killed_while_the_embedded_agent_runs_the_turn_is_answered_after_the_restart(
    tmp_path: Path, sink: Sink
) -> None:
    port = free_port()
    config = write_config(tmp_path, database_url=f"sqlite:///{tmp_path}/bridge.db", callback=sink.url, port=port)
    async with serving(config, port) as served:
        for text in ("sleep 2", "what did I say?"):
            assert (await post(served.http, request(text, conversation="order-7"))).status_code == 202
        await _until_tasked(served, 1)
        os.kill(served.process.pid, signal.SIGKILL)
    assert sink.received == []
    async with serving(config, port) as served:
        callbacks = await sink.callbacks(2)
        books = await served.settled()
    assert [callback.opened()["result"] for callback in callbacks] == ["You said: sleep 2", "You said before: sleep 2"]
    assert (books["accepted"], books["answered"], books["balanced"]) == (2, 2, True)
    assert len(sink.received) == 2
