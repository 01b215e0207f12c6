"""The whole bridge between the fake Slack and the demo agent, when nothing breaks (else: test_one_answer)."""

import asyncio

import pytest

from adapters.slack.fake import Fault, People
from adapters.slack.fake.delivery import Deliveries
from adapters.slack.fake.oauth import CLIENT_ID, CLIENT_SECRET
from tests.adapters.slack.whole import Whole


@pytest.mark.parametrize(
    ("first", "apart"),
    [("start", 0.0), ("start", 0.1), ("sleep 1", 0.1)],
    ids=["at once", "in 1.5 s", "while it works"],
)
async def test_fifteen_messages_in_one_thread_are_all_answered_in_order(whole: Whole, first: str, apart: float) -> None:
    async with whole.up(), asyncio.TaskGroup() as posting:
        root = whole.people.say(f"<@UBOT> {first}")
        for number in range(14):
            posting.create_task(whole.deliveries.pump())  # Slack does not wait for one to be acknowledged
            await asyncio.sleep(apart)
            whole.people.say(f"number-{number:02d}", thread_ts=root)
        books = await whole.settled(step=1.0)  # more posts than a channel takes in a burst
        said = "\n".join(whole.slack.answers("C1", root))

    places = [said.find(f"number-{number:02d}") for number in range(14)]
    assert -1 not in places
    assert places == sorted(places)
    assert [said.count(f"number-{number:02d}") for number in range(14)] == [1] * 14
    assert (books.accepted, books.answered, books.balanced) == (15, 15, True)


async def test_a_message_waits_for_slack_to_say_who_wrote_it(whole: Whole) -> None:
    whole.slack.users["U2"]["is_restricted"] = True
    whole.slack.faults.add("users.info", *[Fault("status")] * 4)
    async with whole.up():
        asked = whole.people.say("<@UBOT> hi")
        guests = whole.people.say("<@UBOT> hi", user="U2")
        books = await whole.settled(step=1.0)

    assert len(whole.slack.answers("C1", asked)) == 1
    assert whole.slack.answers("C1", guests) == []
    assert (books.answered, books.declined, books.balanced) == (1, 1, True)


async def test_a_restart_in_between_loses_and_doubles_nothing(whole: Whole) -> None:
    asked = []
    for number in range(5):
        async with whole.up():
            asked.append(whole.people.say(f"<@UBOT> question {number}"))
            await whole.deliveries.pump()
    async with whole.up():
        for ts in asked:
            assert len(await whole.answers("C1", ts)) == 1


async def test_a_stream_in_a_direct_message_becomes_the_answer(whole: Whole) -> None:
    async with whole.up():
        ts = whole.people.say("long 3000", channel="D1")
        await whole.deliveries.pump()
        (answer,) = await whole.answers("D1", ts)

    assert len(answer) >= 3000
    assert whole.slack.calls["chat.startStream"] == 1
    assert whole.slack.calls["chat.postMessage"] == 0


async def test_a_very_long_answer_arrives_whole_and_in_order(whole: Whole) -> None:
    async with whole.up():
        ts = whole.people.say("long 30000", channel="D1")
        await whole.deliveries.pump()
        parts = await whole.answers("D1", ts, count=3)

    assert all(len(part) <= 11_500 for part in parts)
    assert 30_000 <= len("\n\n".join(parts)) < 31_000


async def test_a_stop_in_the_thread_ends_the_turn(whole: Whole) -> None:
    async with whole.up():
        ts = whole.people.say("<@UBOT> sleep 30")
        await whole.deliveries.pump()
        await asyncio.sleep(0.3)
        whole.people.stop(ts)
        await whole.deliveries.pump()

        assert len(await whole.answers("C1", ts)) == 1


async def test_an_edit_before_the_turn_is_what_the_agent_reads(whole: Whole) -> None:
    async with whole.up():
        root = whole.people.say("<@UBOT> sleep 1")
        await whole.deliveries.pump()
        ts = whole.people.say("<@UBOT> first words", thread_ts=root)
        whole.people.edit(ts, "<@UBOT> better words")
        await whole.deliveries.pump()
        answers = await whole.answers("C1", root, count=2)

    assert "better words" in answers[-1]
    assert "first words" not in answers[-1]


async def test_a_file_reaches_the_agent_and_a_person_is_named(whole: Whole) -> None:
    async with whole.up():
        file = whole.people.file("a.txt", b"abc", "text/plain")
        ts = whole.people.say("<@UBOT> look at this", files=[file])
        await whole.deliveries.pump()

        assert len(await whole.answers("C1", ts)) == 1
    assert whole.slack.calls["users.info"] == 1


async def test_over_a_socket_the_same_holds(whole: Whole) -> None:
    whole.config.write_text(whole.config.read_text() + 'app_token = "xapp-test"\n', encoding="utf-8")
    async with whole.up():
        await whole.sockets.connected(2)
        deliveries = Deliveries(whole.slack, whole.sockets.post)
        ts = People(whole.slack, deliveries).say("<@UBOT> hello")
        deliveries.again()
        await deliveries.pump()
        form = {"command": "/agent", "text": "no payload", "user_id": "U1", "channel_id": "C1", "team_id": "T1"}
        assert await deliveries.command(form) == 200

        assert deliveries.statuses == [200] * 4
        assert await whole.answers("C1", ts) == ["You said: hello"]
        assert (await whole.settled()).answered == 2


async def test_a_workspace_installs_the_app_and_is_answered(whole: Whole) -> None:
    text = whole.config.read_text().replace(
        'bot_token = "xoxb-test"', f'client_id = "{CLIENT_ID}"\nclient_secret = "{CLIENT_SECRET}"'
    )
    whole.config.write_text(text, encoding="utf-8")
    async with whole.up():
        await whole.install()
        ts = whole.people.say("<@UBOT> hello")
        await whole.deliveries.pump()

        assert len(await whole.answers("C1", ts)) == 1


async def test_an_answered_message_costs_one_call_and_people_are_asked_for_once(whole: Whole) -> None:
    async with whole.up():
        for number in range(5):
            whole.people.say(f"<@UBOT> question {number}")
            await whole.deliveries.pump()
            await whole.settled()

    assert whole.slack.calls == {"chat.postMessage": 5, "users.info": 1, "auth.test": 1}
