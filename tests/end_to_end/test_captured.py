"""What a source was sent lately, shown to its operator without any secret in it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bridge.store.tables import captures
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import ADMIN, SECRET, Sink, post, request, write_config
from tests.end_to_end.serving import run_command

PASSWORD = "a-password-of-a-sender"


@pytest.fixture
def config(database_url: str, tmp_path: Path, sink: Sink) -> Path:
    path = write_config(tmp_path, database_url=database_url, callback=sink.url)
    path.write_text(path.read_text() + "capture = true\n")
    return path


@pytest.fixture
async def opened(config: Path) -> AsyncIterator[Opened]:
    async with bridge_from(config) as one:
        yield one


async def captured(opened: Opened) -> list[dict[str, Any]]:
    response = await opened.http.get("/v1/sources/orders/captured", headers=ADMIN)
    found: list[dict[str, Any]] = response.raise_for_status().json()["captured"]
    return found


async def test_requests_are_shown_with_their_answers_newest_first(opened: Opened) -> None:
    sent = request("hello")
    await post(opened.http, sent)
    await opened.http.post("/in/orders", content=b"unsigned")
    refused, taken = await captured(opened)
    assert (refused["status"], refused["body"]) == (401, "unsigned")
    assert "Not verified" in refused["answer"]
    assert (refused["failed_check"], taken["failed_check"]) == ("header", None)
    assert "header" not in refused["answer"].replace("signature headers", ""), "the sender is not told"
    assert (taken["status"], taken["body"], taken["body_bytes"]) == (202, sent.body.decode(), len(sent.body))
    assert dict(taken["headers"])["webhook-id"] == sent.webhook_id


async def test_what_is_too_large_is_shown_without_its_body(opened: Opened) -> None:
    await opened.http.post("/in/orders", content=bytes(2 << 20))
    (one,) = await captured(opened)
    assert (one["status"], one["body_bytes"]) == (413, 0)


async def test_no_secret_is_shown_and_none_lies_in_the_clear(opened: Opened, config: Path) -> None:
    sent = request("hello", secret_note=SECRET, token=PASSWORD, note=f"my key is {SECRET}")
    headers = {**sent.headers, "authorization": f"Basic {PASSWORD}", "x-api-key": PASSWORD, "cookie": PASSWORD}
    await opened.http.post(f"/in/orders?token={PASSWORD}", content=sent.body, headers=headers)
    (one,) = await captured(opened)
    assert SECRET not in json.dumps(one)
    assert PASSWORD not in json.dumps(one)
    assert dict(one["headers"])["authorization"] == "Basic [redacted]"
    code, told = await run_command("messages", "captured", "orders", "--json", "--config", str(config))
    assert (code, told) == (0, [one])
    rows = await opened.bridge.store.read(
        lambda connection: connection.execute(select(captures.c.sealed)).scalars().all()
    )
    assert all(PASSWORD.encode() not in row and b"webhook-id" not in row for row in rows)


async def test_the_last_fifty_are_kept(opened: Opened) -> None:
    for number in range(53):
        await opened.http.post("/in/orders", content=str(number).encode())
    assert [one["body"] for one in await captured(opened)] == [str(number) for number in range(52, 2, -1)]


async def test_only_the_operator_sees_them(opened: Opened) -> None:
    assert (await opened.http.get("/v1/sources/orders/captured")).status_code == 401
    assert (await opened.http.get("/v1/sources/unknown/captured", headers=ADMIN)).status_code == 404


async def test_a_source_that_does_not_ask_for_it_keeps_nothing(database_url: str, tmp_path: Path, sink: Sink) -> None:
    async with bridge_from(write_config(tmp_path, database_url=database_url, callback=sink.url)) as opened:
        await post(opened.http, request("hello"))
        assert await captured(opened) == []
