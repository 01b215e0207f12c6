"""The agent is down for a while: everybody is told once, and answered in order when it is back, by two nodes."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from tests.conftest import fresh_database
from tests.crash.agent_double import AgentDouble
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import Sink, post, request, write_config
from tests.end_to_end.serving import free_port

AGENT = '[agents.local]\nkind = "xpander"\nbase_url = "{url}"\napi_key = "k"\nagent_id = "a"'
CONVERSATIONS, MESSAGES = 6, 3


async def test_everybody_is_told_once_and_answered_in_order(tmp_path: Path, postgres: str, sink: Sink) -> None:
    port = free_port()  # nobody listens there yet
    agent, database = AGENT.format(url=f"http://127.0.0.1:{port}"), fresh_database(postgres)
    async with AsyncExitStack() as stack:
        nodes = []
        for name in ("one", "two"):
            config = write_config(tmp_path, database_url=database, callback=sink.url, agent=agent, name=name)
            nodes.append(await stack.enter_async_context(bridge_from(config)))
        await _say_everything(nodes)
        told = [callback.data for callback in await sink.callbacks(CONVERSATIONS)]
        assert all("kept" in data["result"] for data in told)
        double = AgentDouble()
        async with await double.start(port):
            books = await nodes[0].settled()
    assert (books.accepted, books.answered, books.balanced) == (18, 18, True)
    notices = Counter(c.data["conversation"] for c in sink.received if c.data["status"] == "waiting")
    assert notices == {f"c{number}": 1 for number in range(CONVERSATIONS)}
    for number in range(CONVERSATIONS):
        results = [c.data["result"] for c in sink.received if c.data["conversation"] == f"c{number}"][1:]
        assert results == [f"Done: {message}" for message in range(MESSAGES)]
    assert set(double.asked.values()) == {1}


async def _say_everything(nodes: list[Opened]) -> None:
    """In each conversation one thing after the other, at one node and the other in turn."""
    for message in range(MESSAGES):
        said = [
            post(nodes[(message + number) % 2].http, request(f"{message}", conversation=f"c{number}"))
            for number in range(CONVERSATIONS)
        ]
        assert {response.status_code for response in await asyncio.gather(*said)} == {202}
