"""The stream parser: every split of the bytes gives the same events."""

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.sse import Oversized, Sent, read_events


async def chunked(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def parsed(chunks: list[bytes], *, max_bytes: int = 1000) -> list[Sent]:
    return [event async for event in read_events(chunked(chunks), max_bytes=max_bytes)]


STREAM = (
    ': hello\nid: 7\r\ndata: {"a":"é€😀"}\r\n\r\nevent: x\ndata:one\ndata: two\nretry: 5\n\n\n\ndata: cut off'.encode()
)
EVENTS = [Sent('{"a":"é€😀"}'.encode(), "7"), Sent(b"one\ntwo", "7")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
async def test_where_the_bytes_are_split_makes_no_difference(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert await parsed([STREAM[a:b] for a, b in itertools.pairwise(edges)]) == EVENTS


async def test_an_id_with_a_nul_is_none() -> None:
    assert await parsed([b"id: 7\ndata: one\n\nid: 8\0\ndata: two\n\n"]) == [Sent(b"one", "7"), Sent(b"two", "7")]


@given(st.lists(st.binary(max_size=40), max_size=10))
async def test_no_bytes_are_an_error(chunks: list[bytes]) -> None:
    await parsed(chunks)


@pytest.mark.parametrize("chunk", [b"x" * 100, b"data: x\n" * 15])
async def test_one_event_without_end_is_given_up(chunk: bytes) -> None:
    with pytest.raises(Oversized):
        await parsed([chunk] * 20)


async def test_many_events_are_no_large_event() -> None:
    assert len(await parsed([b"data: x\n\n" * 20] * 20)) == 400
