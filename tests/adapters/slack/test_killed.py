"""The bridge as a process, killed between any two steps: what stands in Slack afterwards is one answer."""

import asyncio

import pytest

from adapters.slack.fake import Fault
from tests.adapters.slack.lab import until
from tests.adapters.slack.whole import Killable


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
