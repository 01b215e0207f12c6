"""A node that freezes between its commit and the platform, while another one takes over: one answer stands."""

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
from tests.end_to_end.parties import PATIENCE_SECONDS


async def _until_frozen(pid: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":  # noqa: ASYNC110, ASYNC240 - the kernel's
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("commit", "text"),
    [
        ("deliveries.begin", "<@UBOT> long 9000"),  # the first part is `sending`
        ("turns.end", "<@UBOT> hello"),  # the view that shows it is about to become the answer
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
