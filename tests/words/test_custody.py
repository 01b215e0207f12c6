"""Files that agents hand back, over real connections: from the agent's own place, from elsewhere, and not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.addresses import Guard
from bridge.custody import Custody
from bridge.egress import open_client
from bridge.model import FileRef
from tests.words.test_files import HOUR, Place
from tests.words.wire import Peer, Speak, Wire, answer, serving

CSV = answer(b"a,b\n1,2\n", headers=("Content-Type: text/csv",))
LOOPBACK = Guard(allow_hosts=frozenset({"127.0.0.1"}))


@asynccontextmanager
async def keeping(
    place: Place, agent: Wire, *, guard: Guard | None = None, seconds: float = 20
) -> AsyncIterator[Custody]:
    async with open_client(guard=guard or Guard()) as guarded, open_client(guard=LOOPBACK) as at_home:
        yield Custody(
            place.files,
            guarded,
            at_home,
            ours="https://bridge.example.com/files/",
            homes={"support": agent.url},
            max_bytes=1000,
            seconds=seconds,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "files")


def named(*urls: str) -> list[FileRef]:
    return [FileRef(url=url, name="orders.csv") for url in urls]


async def test_what_an_agent_keeps_beside_itself_is_taken(place: Place) -> None:
    async with serving(CSV) as agent, keeping(place, agent) as custody:
        first, again = await custody.take("support", named(f"{agent.url}a.csv", f"{agent.url}a.csv"))
    assert (first.url, first.media_type, first.size) == (again.url, "text/csv", 8)
    assert first.url.startswith("file:")
    assert await place.files.load(first) == b"a,b\n1,2\n"


async def test_the_place_of_another_agent_and_every_other_inside_is_not_dialled(place: Place) -> None:
    async with serving(CSV) as agent, serving(CSV) as inside, keeping(place, agent) as custody:
        given = named(f"{inside.url}a.csv", "http://169.254.169.254/latest/meta-data", "http://[::1/")
        assert await custody.take("support", given) == tuple(given)
        assert await custody.take("other", named(f"{agent.url}a.csv")) == tuple(named(f"{agent.url}a.csv"))
        assert agent.connections + inside.connections == 0


async def test_elsewhere_is_fetched_where_the_policy_allows(place: Place) -> None:
    open_inside = Guard(allow_private=True)
    async with serving(CSV) as agent, serving(CSV) as other, keeping(place, agent, guard=open_inside) as custody:
        (file,) = await custody.take("support", named(f"{other.url}a.csv"))
    assert file.url.startswith("file:")


@pytest.mark.parametrize(
    "speak",
    [
        answer(b"gone", status="404 Not Found"),
        answer(b"x" * 1001),
        answer(b"", status="302 Found", headers=("Location: http://127.0.0.1:1/",)),
    ],
    ids=["gone", "too large", "a redirect"],
)
async def test_what_cannot_be_had_keeps_its_address(place: Place, speak: Speak) -> None:
    async with serving(speak) as agent, keeping(place, agent) as custody:
        given = named(f"{agent.url}a.csv")
        assert await custody.take("support", given) == tuple(given)
    assert place.blobs == []


async def test_one_that_never_comes_holds_up_no_other(place: Place) -> None:
    async def speak(peer: Peer) -> None:
        while (head := await peer.request()).startswith(b"GET /a.csv"):
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab")
        assert b"never" in head
        await peer.reader.read()

    async with serving(speak) as agent, keeping(place, agent, seconds=0.5) as custody:
        never, here = await custody.take("support", named(f"{agent.url}never.csv", f"{agent.url}a.csv"))
    assert (never.url, here.url[:5]) == (f"{agent.url}never.csv", "file:")


async def test_a_link_of_ours_is_opened_and_not_dialled(place: Place) -> None:
    ref = await place.files.store("a.txt", None, b"words", origin="test")
    link = place.files.link(ref, HOUR)
    async with serving(CSV) as agent, keeping(place, agent) as custody:
        forged = named("https://bridge.example.com/files/x.1.y/a.txt")
        assert await custody.own_content(link) == b"words"
        assert await custody.own_content(f"{agent.url}a.csv") is None
        assert (await custody.take("support", named(link)))[0].url == ref.url
        assert await custody.take("support", []) == ()
        assert (await custody.take("support", forged))[0].url == forged[0].url
