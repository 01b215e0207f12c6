"""The bridge as a process, killed between any two steps: what stands in Slack afterwards is one answer."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from adapters.slack.fake import Fault, People, Workspace
from adapters.slack.fake.api import Api
from adapters.slack.fake.delivery import SECRET, Deliveries
from adapters.slack.fake.sockets import Sockets
from bridge.clock import SystemClock
from tests.adapters.slack.conftest import served, until
from tests.adapters.slack.test_whole import CONFIG
from tests.end_to_end.serving import Served, free_port, serving


class Killable:
    """A workspace, and a bridge process that comes and goes."""

    def __init__(self, slack: Workspace, config: Path, port: int, stack: AsyncExitStack) -> None:
        self.slack = slack
        self._config = config
        self._port = port
        self._stack = stack
        self._served: Served | None = None
        self.deliveries = Deliveries(slack, self._post)
        self.people = People(slack, self.deliveries)

    async def start(self) -> None:
        self._served = await self._stack.enter_async_context(serving(self._config, self._port))

    async def kill(self) -> None:
        assert self._served is not None
        await self._served.kill()

    async def settled(self) -> dict[str, object]:
        assert self._served is not None
        return await self._served.settled()

    async def _post(self, headers: Mapping[str, str], body: bytes) -> int:
        assert self._served is not None
        try:
            return (await self._served.http.post("/in/team", headers=dict(headers), content=body)).status_code
        except httpx2.TransportError:
            return 0


@pytest.fixture
async def killable(tmp_path: Path) -> AsyncIterator[Killable]:
    slack, port = Workspace(SystemClock()), free_port()
    async with served(Api(slack, Sockets(slack)).app()) as url, AsyncExitStack() as stack:
        slack.url = url
        config = tmp_path / "bridge.toml"
        text = CONFIG.format(folder=tmp_path, secret=SECRET, url=url).replace(":8080", f":{port}")
        config.write_text(text, encoding="utf-8")
        killable = Killable(slack, config, port, stack)
        await killable.start()
        yield killable


@pytest.mark.parametrize("redelivered", [False, True])
@pytest.mark.parametrize("moment", ["acknowledged", "running", "looked up", "posted"])
async def test_one_answer_stands_after_a_kill(killable: Killable, moment: str, *, redelivered: bool) -> None:
    slack = killable.slack
    if moment == "looked up":
        slack.faults.add("users.info", Fault("late", after=4))
    if moment == "posted":
        slack.faults.add("chat.postMessage", Fault("late", after=4))
    ts = killable.people.say("<@UBOT> sleep 1" if moment == "running" else "<@UBOT> hello")
    if redelivered:
        killable.deliveries.again()
    waiting = list(killable.deliveries.waiting) if redelivered else []
    await killable.deliveries.pump()
    if moment == "running":
        await asyncio.sleep(0.5)
    elif moment == "looked up":
        await until(lambda: slack.calls["users.info"] == 1)
    elif moment == "posted":
        await until(lambda: bool(slack.answers("C1", ts)))
    await killable.kill()

    await killable.start()
    killable.deliveries.waiting += waiting
    await killable.deliveries.pump()
    books = await killable.settled()

    assert len(slack.answers("C1", ts)) == 1
    assert (books["accepted"], books["answered"]) == (1, 1)
