"""`Idempotency-Key`: the same request again is the same message, whatever has become of it meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import FakeClock
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import Sink, write_config

TOKEN = "correct horse battery staple"
MORE = """
[sources.{name}]
adapter = "webhook"
agent = "local"
scheme = "bearer"
secrets = ["{token}"]
callback = "{callback}"
callback_secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
allow_private_callbacks = true
"""


@pytest.fixture
def config(database_url: str, tmp_path: Path, sink: Sink) -> Path:
    path = write_config(tmp_path, database_url=database_url, callback=sink.url)
    tables = [MORE.format(name=name, token=TOKEN, callback=sink.url) for name in ("api", "other")]
    path.write_text("\n".join([path.read_text(), *tables]))
    return path


@pytest.fixture
async def opened(config: Path) -> AsyncIterator[Opened]:
    async with bridge_from(config) as one:
        yield one


async def ask(opened: Opened, key: str, text: str = "hello", *, source: str = "api", **headers: str) -> httpx2.Response:
    given = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", "idempotency-key": key, **headers}
    return await opened.http.post(f"/in/{source}", content=json.dumps({"text": text}).encode(), headers=given)


async def accepted(opened: Opened, key: str, text: str = "hello", **more: str) -> dict[str, Any]:
    response = await ask(opened, key, text, **more)
    assert response.status_code == 202, response.text
    told: dict[str, Any] = response.json()
    return told


async def test_the_stored_answer_is_given_again_while_the_turn_runs_and_after_it(opened: Opened, sink: Sink) -> None:
    first = await accepted(opened, "k1", "sleep 1")
    assert await accepted(opened, '"k1"', "sleep 1") == first, "quoted, as the draft has it, or bare"
    await sink.callbacks(1)
    await opened.settled()
    assert await accepted(opened, "k1", "sleep 1") == first
    assert (await opened.settled()).accepted == 1
    assert len(sink.received) == 1


async def test_twenty_at_the_same_moment_are_one_message(opened: Opened, sink: Sink) -> None:
    told = await asyncio.gather(*(accepted(opened, "k1") for _ in range(20)))
    assert len({one["message_id"] for one in told}) == 1
    await sink.callbacks(1)
    assert (await opened.settled()).accepted == 1
    assert len(sink.received) == 1


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(opened: Opened, sink: Sink) -> None:
    first = await accepted(opened, "k1", "one")
    refused = await ask(opened, "k1", "two")
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert "Use a new key" in refused.json()["detail"]
    assert await accepted(opened, "k1", "one") == first
    (callback,) = await sink.callbacks(1)
    assert callback.data["result"] == "You said: one"
    assert (await opened.settled()).accepted == 1


async def test_a_key_belongs_to_its_source(opened: Opened, sink: Sink) -> None:
    one, other = await accepted(opened, "k1"), await accepted(opened, "k1", source="other")
    assert one["message_id"] != other["message_id"]
    await sink.callbacks(2)


async def test_a_key_without_its_secret_tells_nothing(opened: Opened) -> None:
    await accepted(opened, "k1")
    stranger = await ask(opened, "k1", authorization="Bearer another horse battery staple")
    assert (stranger.status_code, "msg_" in stranger.text) == (401, False)


async def test_it_is_known_after_a_restart_and_for_two_weeks(config: Path, clock: FakeClock, sink: Sink) -> None:
    async with bridge_from(config, clock) as opened:
        first = await accepted(opened, "k1")
        await sink.callbacks(1)
        await opened.settled()
    await clock.leap(timedelta(days=13, hours=23))
    async with bridge_from(config, clock) as opened:
        await clock.advance(timedelta(hours=0.5))
        assert await accepted(opened, "k1") == first
        assert (await opened.settled()).accepted == 1
