"""Files that came with a message are handed on as links that expire, and served to be saved, never to be shown."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import select

from bridge.store.embedded_tables import agent_turns
from tests.conftest import FakeClock
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import Request, signed, write_config

CONTENT = bytes(range(256)) * 4
NAME = "größe & <b>.bin"
ETAG_LENGTH = 66

pytestmark = pytest.mark.asyncio(loop_scope="module")


def form(name: str, content: bytes) -> Request:
    head = (
        '--a-boundary\r\nContent-Disposition: form-data; name="text"\r\n\r\nRead this.\r\n'
        f'--a-boundary\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    )
    made = signed(head.encode() + content + b"\r\n--a-boundary--\r\n")
    headers = {**made.headers, "content-type": "multipart/form-data; boundary=a-boundary", "prefer": "wait=20"}
    return Request(webhook_id=made.webhook_id, body=made.body, headers=headers)


async def link_to(opened: Opened, name: str, content: bytes) -> str:
    """Where the agent was told to find it."""
    sent = form(name, content)
    answer = await opened.http.post("/in/orders", content=sent.body, headers=dict(sent.headers))
    task_id = answer.json()["task_id"]
    asked = select(agent_turns.c.request).where(agent_turns.c.task_id == task_id)
    request = await opened.bridge.store.read(lambda connection: connection.execute(asked).scalar_one())
    found = re.search(r"http://127\.0\.0\.1:8080(/files/[^\s\"]+)", request)
    assert found is not None, request
    return found[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Opened]:
    folder = tmp_path_factory.mktemp("files")
    config = write_config(folder, database_url=f"sqlite:///{folder}/bridge.db", callback="http://127.0.0.1:9/never")
    async with bridge_from(config) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def link(opened: Opened) -> str:
    return await link_to(opened, NAME, CONTENT)


async def test_the_file_is_served_as_what_it_is(opened: Opened, link: str) -> None:
    response = await opened.http.get(link)
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"].startswith("attachment; filename*=UTF-8''gr%C3%B6")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["accept-ranges"] == "bytes"
    assert len(response.headers["etag"]) == ETAG_LENGTH


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=1000-", (1000, 1024)),
        ("bytes=1000-99999", (1000, 1024)),
        ("bytes=-24", (1000, 1024)),
        ("Bytes = 5 - 6", (5, 7)),
    ],
)
async def test_a_part_may_be_asked_for(opened: Opened, link: str, asked: str, wanted: tuple[int, int]) -> None:
    response = await opened.http.get(link, headers={"range": asked})
    start, end = wanted
    assert (response.status_code, response.content) == (206, CONTENT[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
    assert response.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=9-1", "bytes=a-b", "pages=1-2", "bytes=-", "bytes", "-5"])
async def test_what_cannot_be_read_as_one_range_brings_the_whole(opened: Opened, link: str, asked: str) -> None:
    response = await opened.http.get(link, headers={"range": asked})
    assert (response.status_code, response.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=99999-100000", "bytes=-0"])
async def test_a_range_behind_the_end_is_refused(opened: Opened, link: str, asked: str) -> None:
    response = await opened.http.get(link, headers={"range": asked})
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */1024")


async def test_a_changed_file_is_sent_whole_and_an_unchanged_one_not_at_all(opened: Opened, link: str) -> None:
    etag = (await opened.http.get(link)).headers["etag"]
    same = await opened.http.get(link, headers={"range": "bytes=0-1", "if-range": etag})
    other = await opened.http.get(link, headers={"range": "bytes=0-1", "if-range": '"another"'})
    known = await opened.http.get(link, headers={"if-none-match": etag})
    assert (same.status_code, other.status_code, known.status_code) == (206, 200, 304)


async def test_head_tells_all_and_sends_nothing(opened: Opened, link: str) -> None:
    response = await opened.http.head(link)
    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "1024")


async def test_a_page_from_a_stranger_is_never_shown_as_one(opened: Opened) -> None:
    address = await link_to(opened, "page.html", b"<html><script>alert(1)</script></html>")
    response = await opened.http.get(address)
    assert response.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in response.headers["content-security-policy"]


async def test_an_empty_file_is_a_file(opened: Opened) -> None:
    address = await link_to(opened, "empty.txt", b"")
    response = await opened.http.get(address)
    assert (response.status_code, response.content) == (200, b"")
    assert (await opened.http.get(address, headers={"range": "bytes=-5"})).status_code == 416


@pytest.mark.parametrize("change", ["x", "fil_other.1.x", "a.b", "%C3%A4.1.2", "..", "1" * 5000])
async def test_every_other_token_is_nothing(opened: Opened, link: str, change: str) -> None:
    _, _, token, name = link.split("/")
    for forged in (change, token + change + "A", change + token):
        response = await opened.http.get(f"/files/{forged}/{name}")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


async def test_a_link_expires(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, clock = tmp_path_factory.mktemp("expiry"), FakeClock()
    config = write_config(folder, database_url=f"sqlite:///{folder}/bridge.db", callback="http://127.0.0.1:9/never")
    async with bridge_from(config) as now:
        address = await link_to(now, "note.bin", CONTENT)
    await clock.advance(timedelta(days=3650))
    async with bridge_from(config, clock) as later:
        assert (await later.http.get(address)).status_code == 404
