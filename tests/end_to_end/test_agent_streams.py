"""A bridge that dies in the middle of an agent's stream goes on with that stream where its readers left off."""

import json
from pathlib import Path
from typing import Any

from tests.agent.doubles import ScriptedService, event, stream, task
from tests.end_to_end.conftest import bridge_from
from tests.end_to_end.parties import Sink, post, request, write_config
from tests.end_to_end.streams import streaming, text_of

REMOTE = '[agents.local]\nkind = "xpander"\nbase_url = "{url}"\napi_key = "k"\nagent_id = "a1"'


def numbered(place: int, kind: str, data: Any) -> bytes:
    return f"id: {place}\ndata: {json.dumps(event(kind, data))}\n\n".encode()


async def test_the_readers_of_a_turn_lose_nothing_and_hear_nothing_twice(
    database_url: str, tmp_path: Path, sink: Sink
) -> None:
    service = ScriptedService()
    server = await service.start()
    first = stream(numbered(0, "task_created", task()), numbered(1, "chunk", "x" * 1500), cut=False)
    service.script(
        [
            type(first)(head=first.head, pieces=first.pieces[:-1], silent=True),
            stream(numbered(2, "chunk", "y" * 1500), numbered(3, "task_finished", task("completed"))),
        ]
    )
    config = write_config(tmp_path, database_url=database_url, callback=sink.url, agent=REMOTE.format(url=service.url))
    async with server:
        sent = request("hello")
        async with bridge_from(config) as opened:
            headers = {**sent.headers, "accept": "text/event-stream"}
            async with streaming(opened.bridge.asgi, "POST", "/in/orders", headers=headers, body=sent.body) as reader:
                assert len((await reader.until("chunk")).data["data"]) == 1500
        async with bridge_from(config) as opened:
            await sink.callbacks(1)
            accepted = (await post(opened.http, sent)).json()
            path = accepted["status_url"].removeprefix("http://127.0.0.1:8080").replace("?", "/events?")
            async with streaming(opened.bridge.asgi, "GET", path) as reader:
                frames = await reader.all()
    assert text_of(frames) == "x" * 1500 + "y" * 1500
    assert "restarted" not in [frame.event for frame in frames]
    assert [(call.method, call.headers.get("last-event-id")) for call in service.calls] == [
        ("POST", None),
        ("GET", "1"),
    ]
