"""The line to PostgreSQL is cut behind a commit, before its answer comes, and there is no other for a while."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest
from sqlalchemy.engine import make_url

from bridge.errors import StoreUnavailable
from bridge.model import Act, Lease
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.sweeper import OVERDUE, Sweeper
from tests.conftest import FakeClock, fresh_database
from tests.stages.platform import arrival
from tests.stages.test_turns import Room, task
from tests.store.journeys import say, take


class Line:
    """Passes a socket on to the server's, until it is to be cut behind the next commit."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._serving: set[asyncio.Task[None] | None] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.cut_next = False
        self.is_cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        self._ends |= {writer, server_writer}
        if self.is_cut:
            self.hang_up()
        await asyncio.gather(self._pass_on(reader, server_writer), self._pass_back(server_reader, writer))
        for end in (writer, server_writer):
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()

    def hang_up(self) -> None:
        for end in self._ends:
            end.close()

    async def close(self) -> None:
        self.hang_up()
        await asyncio.gather(*filter(None, self._serving))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self.cut_next and b"COMMIT\0" in data:  # as the server says that it has done so
                    self.is_cut, self.cut_next = True, False
                    self.hang_up()
                    break
                writer.write(data)
        writer.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="line-") as name:  # the name of a socket must not be long
        yield Path(name)


@pytest.fixture
async def line(database_url: str, folder: Path) -> AsyncIterator[Line]:
    line = Line(f"{make_url(database_url).query['host']}/.s.PGSQL.5432")
    async with await asyncio.start_unix_server(line.serve, folder / ".s.PGSQL.5432"):
        yield line
        await line.close()


@pytest.fixture
def database_url(postgres: str) -> str:
    return fresh_database(postgres)


@pytest.fixture
async def far(line: Line, database_url: str, folder: Path, clock: FakeClock) -> AsyncIterator[Store]:  # noqa: ARG001 - it is served
    """A store at the other end of the line."""
    url = make_url(database_url).update_query_dict({"host": str(folder)})
    opened = Store.open(url.render_as_string(hide_password=False), clock, node="nod_one")
    yield opened
    await opened.close()


async def test_an_answer_that_was_handed_over_after_all_is_sent(far: Store, line: Line, clock: FakeClock) -> None:
    room = Room(far, clock)

    def answer(request: httpx2.Request) -> httpx2.Response:
        line.cut_next = True
        return task(request)

    room.answer = answer
    lease = await room.hear("m1")
    with pytest.raises(StoreUnavailable):
        await room.turns.step(lease)
    line.is_cut = False
    assert room.delivering == [lease]
    assert await room.deliver(lease) == ["done"]


async def test_what_is_edited_unheard_is_asked_with_the_next_beat(far: Store, line: Line, clock: FakeClock) -> None:
    """Whoever sent it may repeat it, and hears that it is there already: nobody is woken for that."""
    woken: list[Lease] = []
    sweeper = Sweeper(far, clock, woken.append, lanes=[])
    await sweeper.beat()
    room = Room(far, clock)
    lease = await room.hear("m1")
    await room.turns.step(lease)
    await room.deliver(lease)
    said = arrival(far, "m1", "and now?")
    (message,) = said.messages or ()
    edit = replace(said, delivery_key="edit", messages=(replace(message, act=Act.EDIT),))
    line.cut_next = True
    with pytest.raises(StoreUnavailable):
        await far.accept(INGEST, edit)
    line.is_cut = False
    assert (await far.accept(INGEST, edit)).wake == ()
    await clock.advance(timedelta(seconds=1))
    await sweeper.beat()
    assert [(await take(far, one)).said[0].message.text for one in woken] == ["(Edited, it now reads:) and now?"]
    await sweeper.beat()
    assert len(woken) == 1


async def test_what_was_taken_over_unheard_is_worked_on(store: Store, far: Store, line: Line, clock: FakeClock) -> None:
    woken: list[Lease] = []
    sweeper = Sweeper(far, clock, woken.append, lanes=[])
    await sweeper.beat()
    gone = Store.open(store.engine.url.render_as_string(hide_password=False), clock, node="nod_gone")
    turn = await take(gone, (await say(gone, "m1")).wake[0])
    await gone.close()
    await clock.advance(2 * OVERDUE)
    line.cut_next = True
    with pytest.raises(StoreUnavailable):
        await sweeper.beat()
    line.is_cut = False
    await sweeper.beat()
    assert woken == [Lease(turn.lease.conversation_id, turn.lease.epoch + 1)]
