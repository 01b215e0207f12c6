"""A node that freezes beside a commit while another one takes over: one answer stands, the late write does not."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from adapters.slack.fake import Workspace
from adapters.slack.fake.api import Api
from adapters.slack.fake.sockets import Sockets
from bridge.clock import SystemClock
from tests.adapters.slack.lab import served
from tests.adapters.slack.whole import Killable
from tests.conftest import fresh_database
from tests.crash.order import two_nodes
from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS, post, request
from tests.end_to_end.serving import SERVE, Served

TTL_SECONDS = 5


async def _until_frozen(pid: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":  # noqa: ASYNC110, ASYNC240 - the kernel's
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("commit", "text"),
    [
        ("before:deliveries.post", "<@UBOT> long 9000"),  # the first part is `sending`
        # The view that shows it is about to become the answer: the other node finds it there, whatever the fence does.
        ("after:turns.end", "<@UBOT> hello"),
    ],
)
async def test_one_answer_stands_after_a_freeze_between_the_commit_and_the_post(
    tmp_path: Path, postgres: str, commit: str, text: str
) -> None:
    slack, database = Workspace(SystemClock()), fresh_database(postgres)
    async with served(Api(slack, Sockets(slack)).app()) as slack.url, AsyncExitStack() as stack:
        nodes = Killable(slack, tmp_path, stack)
        frozen = await nodes.start(frozen=commit, database=database)
        other = await nodes.start(database=database)
        ts = nodes.people.say(text)
        await nodes.deliveries.pump()
        await _until_frozen(frozen.process.pid)
        books = await other.settled()
        assert (books["accepted"], books["answered"]) == (1, 1)
        stands = slack.answers("C1", ts)
        frozen.send_signal(signal.SIGCONT)
        assert (await frozen.settled())["answered"] == 1
        await asyncio.sleep(1)  # whatever the woken node was about to do, it would have done by now
        assert slack.answers("C1", ts) == stands
        assert len(stands) == len(set(stands))


async def _state(node: Served, message_id: str) -> str:
    state: str = (await node.http.get(f"/v1/messages/{message_id}", headers=ADMIN)).raise_for_status().json()["state"]
    return state


async def test_the_end_of_a_turn_that_comes_after_the_takeover_is_not_written(tmp_path: Path, postgres: str) -> None:
    """Both nodes know the result. Were the first one's word taken, the turn would end under the other's hands."""
    journal, boundary = tmp_path / "journal", "before:turns.end"
    commands = (
        ("-m", "tests.crash.freezing", boundary, "serve"),
        ("-m", "tests.crash.launcher", boundary, str(journal), "serve"),
    )
    async with two_nodes(tmp_path, fresh_database(postgres), commands=commands) as parties:
        frozen, other = parties.nodes
        said = (await post(frozen.http, request("hello", conversation="c0"))).json()["message_id"]
        await _until_frozen(frozen.process.pid)
        async with asyncio.timeout(TTL_SECONDS + PATIENCE_SECONDS):
            while not journal.exists():  # noqa: ASYNC110 - another process comes there
                await asyncio.sleep(0.02)
        frozen.send_signal(signal.SIGCONT)
        # The one writer commits in the order of its queue, so by this answer the late write was tried, too.
        assert (await post(frozen.http, request("later", conversation="c1"))).status_code == 202
        (callback,) = await parties.sink.callbacks(1)
        assert callback.data["result"] == "Done: later"
        assert await _state(frozen, said) == "running"
        await other.kill()
        books = await frozen.settled(TTL_SECONDS + PATIENCE_SECONDS)
        assert (books["accepted"], books["answered"], books["balanced"]) == (2, 2, True)
        assert [one.data["result"] for one in parties.sink.received] == ["Done: later", "Done: hello"]
        assert set(parties.agent.begun.values()) == {1}


async def test_a_node_that_freezes_in_the_middle_of_a_transaction_keeps_nobody(tmp_path: Path, postgres: str) -> None:
    """Its rows are locked, and the server hears no more of it: not even that it is gone."""
    commands = (("-m", "tests.crash.freezing", "within:heads.take", "serve"), SERVE)
    async with two_nodes(tmp_path, fresh_database(postgres), commands=commands) as parties:
        frozen, other = parties.nodes
        assert (await post(frozen.http, request("hello", conversation="c0"))).status_code == 202
        await _until_frozen(frozen.process.pid)
        async with asyncio.timeout(TTL_SECONDS + PATIENCE_SECONDS / 3):
            assert (await post(other.http, request("later", conversation="c0"))).status_code == 202
        books = await other.settled(TTL_SECONDS + PATIENCE_SECONDS)
        assert (books["accepted"], books["answered"], books["balanced"]) == (2, 2, True)
        frozen.send_signal(signal.SIGCONT)
        assert (await post(frozen.http, request("at last", conversation="c0"))).status_code == 202
        assert (await frozen.settled())["answered"] == 3
        assert [one.data["result"] for one in parties.sink.received] == ["Done: hello", "Done: later", "Done: at last"]
        assert set(parties.agent.begun.values()) == {1}
