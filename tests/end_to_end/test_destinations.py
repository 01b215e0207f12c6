"""Callback targets of many owners: one that is down holds up nobody else, and one that wants no more is not called."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS, Sink, post, request, write_config
from tests.end_to_end.serving import run_command

AT_A_TIME = 3


@pytest.fixture
def config(database_url: str, tmp_path: Path, sink: Sink) -> Path:
    path = write_config(tmp_path, database_url=database_url, callback=sink.url)
    more = f'callback_allow = ["http://127.0.0.1"]\ncallback_concurrency = {AT_A_TIME}\n'
    path.write_text(path.read_text() + more)
    return path


@asynccontextmanager
async def another_sink() -> AsyncIterator[Sink]:
    double = Sink()
    async with await double.start():
        yield double


def allow(config: Path, *urls: str) -> None:
    listed = ", ".join(f'"{url.rpartition("/")[0]}"' for url in urls)
    config.write_text(config.read_text().replace('"http://127.0.0.1"', listed))


async def listed(opened: Opened) -> list[dict[str, Any]]:
    response = await opened.http.get("/v1/destinations", headers=ADMIN)
    destinations: list[dict[str, Any]] = response.raise_for_status().json()["destinations"]
    return destinations


async def test_one_that_takes_calls_and_never_answers_delays_nobody(config: Path, sink: Sink) -> None:
    async with another_sink() as silent:
        silent.held = True
        allow(config, silent.url)
        async with bridge_from(config) as opened:
            for number in range(10):
                await post(opened.http, request(f"lost {number}", callback=silent.url))
            await silent.callbacks(AT_A_TIME)
            for number in range(10):
                await post(opened.http, request(f"seen {number}"))
            seen = await sink.callbacks(10)
            assert {callback.data["result"] for callback in seen} == {f"You said: seen {n}" for n in range(10)}
            assert len(silent.received) == AT_A_TIME, "the others wait in line and hold no connection"
            assert (await opened.books(lambda books: books.answered == 10)).in_flight == 10


async def test_many_of_one_that_is_gone_are_held_back_and_others_go_on(config: Path, sink: Sink) -> None:
    async with another_sink() as gone:
        pass  # nobody listens there any more
    allow(config, gone.url)
    async with bridge_from(config) as opened:
        for number in range(20):
            await post(opened.http, request(f"lost {number}", callback=gone.url))
        await post(opened.http, request("seen"))
        assert (await sink.callbacks(1))[0].data["result"] == "You said: seen"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = (await opened.http.get("/v1/deliveries?state=pending", headers=ADMIN)).json()["deliveries"]
                if len(found) == 20 and all(one["not_before"] for one in found):
                    break
                await asyncio.sleep(0.01)
        tried = sum(one["attempt"] for one in found)
        assert tried < 20, "whoever was held back has spent no try"
        (row,) = await listed(opened)
        assert (row["state"], row["address"]) == ("failing", gone.url)
        assert row["failures"] >= tried


async def test_410_is_a_wish_that_outlives_a_restart_until_a_person_enables_it(config: Path, sink: Sink) -> None:
    sink.answers.append((410, {}))
    async with bridge_from(config) as opened:
        await post(opened.http, request("first"))
        await opened.books(lambda books: books.dead == 1)
        assert [row["state"] for row in await listed(opened)] == ["disabled"]
    async with bridge_from(config) as opened:
        await post(opened.http, request("second"))
        await opened.books(lambda books: books.dead == 2)
        assert len(sink.received) == 1, "nothing is sent to a disabled destination"
        (row,) = await listed(opened)
        newest = (await opened.http.get("/v1/deliveries?state=dead", headers=ADMIN)).json()["deliveries"][0]
        assert row["destination_id"] in newest["error"]
        await _enable(opened, row["destination_id"])
        assert await listed(opened) == []
        retried = await opened.http.post(f"/v1/deliveries/{newest['delivery_id']}/retry", headers=ADMIN)
        assert retried.is_success, retried.text
        assert (await sink.callbacks(2))[1].data["result"] == "You said: second"
        await opened.books(lambda books: books.answered == 1)


async def _enable(opened: Opened, destination_id: str) -> None:
    path = f"/v1/destinations/{destination_id}/enable"
    assert (await opened.http.post(path)).status_code == 401
    rehearsed = await opened.http.post(path, headers=ADMIN, json={"dry_run": True})
    assert rehearsed.json()["dry_run"]
    assert len(await listed(opened)) == 1
    assert (await opened.http.post(path, headers=ADMIN)).json()["does"].startswith("Call http")
    assert (await opened.http.post(path, headers=ADMIN)).status_code == 404


async def test_one_target_that_wants_no_more_says_nothing_about_another(config: Path, sink: Sink) -> None:
    async with another_sink() as other:
        other.answers.append((410, {}))
        allow(config, other.url)
        async with bridge_from(config) as opened:
            await post(opened.http, request("first", callback=other.url))
            await opened.books(lambda books: books.dead == 1)
            await post(opened.http, request("second"))
            assert (await sink.callbacks(1))[0].data["result"] == "You said: second"


async def test_the_commands_show_and_enable(config: Path, sink: Sink) -> None:
    sink.answers.append((410, {}))
    async with bridge_from(config) as opened:
        await post(opened.http, request("first"))
        await opened.books(lambda books: books.dead == 1)
    code, found = await run_command("destinations", "list", "--config", str(config), "--json", "--state", "disabled")
    assert (code, [one["address"] for one in found]) == (0, [sink.url])
    id_ = found[0]["destination_id"]
    code, done = await run_command("destinations", "enable", id_, "--config", str(config), "--json")
    assert (code, done[0]["destination_id"]) == (0, id_)
    assert (await run_command("destinations", "list", "--config", str(config), "--json"))[1] == []
    assert (await run_command("destinations", "enable", id_, "--config", str(config), "--json"))[0] == 1
