"""Files that a body names by address: fetched over a real connection, checked where it is dialled, and stored."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from adapters.webhook import Settings, WebhookAdapter, build
from bridge.addresses import Guard
from bridge.egress import open_client
from bridge.model import Author, Candidate, FileRef, InboundMessage
from tests.adapters.kits import DictFiles, open_kit
from tests.signed_requests import SIGNING
from tests.words.wire import Peer, Speak, Wire, answer, serving

PRIVATE = Guard(allow_private=True)


@asynccontextmanager
async def fetching(
    speak: Speak, *, guard: Guard = PRIVATE, **settings: Any
) -> AsyncIterator[tuple[WebhookAdapter, Wire, DictFiles]]:
    async with serving(speak) as wire, open_client(guard=guard) as client, open_kit() as kit:
        files = DictFiles()
        given = Settings.model_validate({"secrets": [SIGNING["standard"]], **settings})
        yield build(given, replace(kit, guarded_http=client, files=files)), wire, files


def naming(*urls: str) -> InboundMessage:
    return InboundMessage(
        message_key="k",
        conversation=(Candidate(value="k", matched_by="message"),),
        return_address="",
        author=Author(id="a"),
        text="Read these.",
        files=tuple(FileRef(url=url, name=url.rpartition("/")[2] or "file") for url in urls),
    )


async def test_what_is_named_by_address_is_stored_before_the_agent_is_asked() -> None:
    async with fetching(answer(b"a,b\n1,2\n", headers=("Content-Type: text/csv; charset=utf-8",))) as (
        adapter,
        wire,
        files,
    ):
        message = await adapter.enrich(naming(f"{wire.url}a.csv", f"{wire.url}b.csv", "file:fil_known"))
    assert [ref.url.partition(":")[0] for ref in message.files] == ["file"] * 3
    assert [ref.name for ref in message.files[:2]] == ["a.csv", "b.csv"]
    assert (message.files[0].media_type, message.files[0].size) == ("text/csv", 8)
    assert files.contents[message.files[0].url] == b"a,b\n1,2\n"
    assert message.context == ""


async def test_an_address_inside_is_left_out_without_a_byte_and_the_agent_is_told() -> None:
    async with fetching(answer(b"secret"), guard=Guard(allow_http=True)) as (adapter, wire, files):
        message = await adapter.enrich(naming(f"{wire.url}a.csv", "http://169.254.169.254/latest/meta-data"))
        assert (wire.connections, wire.requests) == (0, [])
    assert message.files == ()
    assert "a.csv was not fetched: its address may not be called" in message.context
    assert "meta-data was not fetched" in message.context
    assert not files.contents


async def test_a_redirect_to_somewhere_inside_is_checked_like_any_address() -> None:
    moved = answer(status="302 Found", headers=("Location: http://169.254.169.254/latest",))
    async with fetching(moved) as (adapter, wire, _):
        message = await adapter.enrich(naming(f"{wire.url}a.csv"))
        assert len(wire.requests) == 1
    assert message.files == ()


@pytest.mark.parametrize("length", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_a_file_that_is_too_large_is_cut_off_and_left_out(length: str) -> None:
    async def large(peer: Peer) -> None:
        await peer.request()
        chunk = b"x" * 100_000
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunk), chunk) if "chunked" in length else chunk
        await peer.say(b"HTTP/1.1 200 OK\r\n" + length.encode() + b"\r\n\r\n" + framed)

    async with fetching(large, max_file="10 KiB") as (adapter, wire, files):
        message = await adapter.enrich(naming(f"{wire.url}a.bin"))
    assert message.files == ()
    assert "a.bin was not fetched: it is too large" in message.context
    assert not files.contents


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops"])
async def test_what_cannot_be_had_now_keeps_its_address(status: str) -> None:
    async with fetching(answer(b"no", status=status)) as (adapter, wire, _):
        asked = naming(f"{wire.url}a.csv", "http://127.0.0.1:1/b.csv", "http://[")
        assert await adapter.enrich(asked) == asked


async def test_nothing_is_fetched_where_the_operator_does_not_want_it() -> None:
    async with fetching(answer(b"x"), fetch_files=False) as (adapter, wire, _):
        asked = naming(f"{wire.url}a.csv")
        assert await adapter.enrich(asked) == asked
        assert wire.connections == 0
