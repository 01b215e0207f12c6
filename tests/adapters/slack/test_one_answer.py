"""Exactly one visible answer per question, whatever goes wrong: a table of troubles, judged by Slack's message tree.

Each trouble asks one question (or lets it be asked) and returns where; what stands in that thread at last is the same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from adapters.slack.fake import Fault
from adapters.slack.fake.oauth import CLIENT_ID, CLIENT_SECRET, TOKEN_SECONDS
from tests.adapters.slack import gated
from tests.adapters.slack.lab import until
from tests.adapters.slack.whole import Killable, Whole, configuration
from tests.conftest import fresh_database
from tests.crash.launcher import POST

Place: TypeAlias = tuple[str, str]
Trouble: TypeAlias = Callable[[Whole], Awaitable[Place]]

HELLO = "You said: hello"
LONG = ("This line is one of many, so that a long answer can be seen.\n" * 20)[:900].rstrip()


async def ask(whole: Whole, text: str = "<@UBOT> hello", channel: str = "C1") -> Place:
    ts = whole.people.say(text, channel=channel)
    await whole.deliveries.pump()
    return channel, ts


async def message_event_first(whole: Whole) -> Place:
    whole.people.order = "message_first"
    return await ask(whole)


async def mention_event_first(whole: Whole) -> Place:
    whole.people.order = "mention_first"
    return await ask(whole)


def redelivered(seconds: float) -> Trouble:
    async def trouble(whole: Whole) -> Place:
        """Both events come again: at once before the answer, or long after it."""
        ts = whole.people.say("<@UBOT> hello")
        copies = list(whole.deliveries.waiting)
        whole.deliveries.again()
        for copy in whole.deliveries.waiting:
            copy.due += seconds if copy not in copies else 0
        await whole.deliveries.pump()
        if seconds:
            await whole.answers("C1", ts)
            whole.clock.advance(seconds)
        return "C1", ts

    return trouble


async def refused_and_tried_again(whole: Whole) -> Place:
    """The bridge is away for the first two tries; the retry is the only copy there is."""
    nodes, whole.nodes = whole.nodes, []
    place = await ask(whole)
    whole.nodes = nodes
    whole.clock.advance(60)
    return place


async def events_out_of_order(whole: Whole) -> Place:
    """A preview of the question and what follows below it arrive before the question itself."""
    ts = whole.people.say("<@UBOT> hello")
    whole.people.unfurl(ts)
    whole.people.say("<@U2> look", thread_ts=ts)
    for number, out in enumerate(reversed(whole.deliveries.waiting)):
        out.number = number
        out.due = whole.slack.now() - 1
    await whole.deliveries.pump()
    return "C1", ts


async def edited_before_it_arrives(whole: Whole) -> Place:
    """The edit overtakes the question, which then comes with its old words: still a single question."""
    ts = whole.people.say("<@UBOT> hello")
    whole.people.edit(ts, "<@UBOT> hello ")
    whole.deliveries.waiting.reverse()
    return "C1", ts


def broken(method: str, *faults: Fault, text: str = "<@UBOT> hello", channel: str = "C1") -> Trouble:
    async def trouble(whole: Whole) -> Place:
        whole.slack.faults.add(method, *faults)
        return await ask(whole, text, channel)

    return trouble


async def storm_of_429(whole: Whole) -> Place:
    """The channel is full of posts and every method is at its limit, again and again."""
    whole.slack.limits.on = True
    whole.slack.faults.add("chat.postMessage", *[Fault("limit", after=30)] * 5)
    whole.slack.faults.add("users.info", *[Fault("limit", after=30)] * 5)
    return await ask(whole)


async def half_streamed(whole: Whole) -> tuple[Place, asyncio.Event]:
    gate = gated.close()
    place = await ask(whole, "tell me", "D1")
    await until(lambda: bool(whole.slack.answers(*place)))
    return place, gate


async def stream_expires(whole: Whole) -> Place:
    """Slack ends the stream after five minutes, in the middle of the answer."""
    place, gate = await half_streamed(whole)
    whole.clock.advance(301)
    gate.set()
    return place


async def stream_is_taken_away(whole: Whole) -> Place:
    """Somebody deletes the streamed message."""
    place, gate = await half_streamed(whole)
    (message,) = [one for one in whole.slack.thread(*place) if one.get("app_id")]
    del whole.slack.messages["D1", message["ts"]]
    gate.set()
    return place


async def token_expires(whole: Whole) -> Place:
    """Between the question and the answer."""
    await whole.install()
    place, gate = await half_streamed(whole)
    for grant in whole.slack.tokens.values():
        grant.expires_at = whole.slack.now()
    gate.set()
    return place


async def token_expired_over_night(whole: Whole) -> Place:
    await whole.install()
    whole.clock.advance(TOKEN_SECONDS + 60)
    return await ask(whole)


async def look_up_fails(whole: Whole) -> Place:
    whole.slack.faults.add("chat.postMessage", Fault("cut_after"))
    whole.slack.faults.add("conversations.replies", Fault("status"))
    return await ask(whole)


async def update_fails_twice(whole: Whole) -> Place:
    """The stream broke and was ended as it stood; what should have replaced its text does not get through."""
    whole.slack.faults.add("chat.appendStream", Fault("error"))
    whole.slack.faults.add("chat.update", Fault("limit"), Fault("status"))
    return await ask(whole, "long 900", "D1")


async def plan_is_lost(whole: Whole) -> Place:
    whole.slack.faults.add("chat.postMessage", Fault("cut_after"))
    return await ask(whole)


PLANNING = {
    'brain = "demo"': 'brain = "python"\nfunction = "tests.adapters.slack.gated:step"',
    'adapter = "slack"': 'adapter = "slack"\nprogress = "plan"',
}
PYTHON = {'brain = "demo"': 'brain = "python"\nfunction = "tests.adapters.slack.gated:answer"'}
MANY = {'bot_token = "xoxb-test"': f'client_id = "{CLIENT_ID}"\nclient_secret = "{CLIENT_SECRET}"'}
WHOLE = gated.HALF + gated.REST
NO = {}  # type: dict[str, str]

TROUBLES: dict[str, tuple[Trouble, dict[str, str], str]] = {
    "message event first": (message_event_first, NO, HELLO),
    "mention event first": (mention_event_first, NO, HELLO),
    "redelivered at once": (redelivered(0), NO, HELLO),
    "redelivered after a minute": (redelivered(60), NO, HELLO),
    "redelivered after five minutes": (redelivered(300), NO, HELLO),
    "refused and tried again": (refused_and_tried_again, NO, HELLO),
    "events out of order": (events_out_of_order, NO, HELLO),
    "edited before it arrives": (edited_before_it_arrives, NO, HELLO),
    "cut off after Slack took the post": (broken("chat.postMessage", Fault("cut_after")), NO, HELLO),
    "cut off before Slack took the post": (broken("chat.postMessage", Fault("cut_before")), NO, HELLO),
    "cut off, and the look-up fails": (look_up_fails, NO, HELLO),
    "nobody says who asked": (broken("users.info", Fault("status"), Fault("limit"), Fault("cut_after")), NO, HELLO),
    "503 again and again": (broken("chat.postMessage", *[Fault("status")] * 4), NO, HELLO),
    "internal_error": (broken("chat.postMessage", Fault("error", error="internal_error")), NO, HELLO),
    "a page instead of JSON": (broken("chat.postMessage", Fault("html")), NO, HELLO),
    "a storm of 429": (storm_of_429, NO, HELLO),
    "a stream that does not start": (
        broken("chat.startStream", Fault("cut_before"), text="long 900", channel="D1"),
        NO,
        LONG,
    ),
    "a stream whose start is cut off": (
        broken("chat.startStream", Fault("cut_after"), text="long 900", channel="D1"),
        NO,
        LONG,
    ),
    "a stream that cannot go on": (
        broken("chat.appendStream", Fault("error"), text="long 900", channel="D1"),
        NO,
        LONG,
    ),
    "a stream whose going on is cut off": (
        broken("chat.appendStream", Fault("cut_after"), text="long 900", channel="D1"),
        NO,
        LONG,
    ),
    "a stream that broke and is not replaced at once": (update_fails_twice, NO, LONG),
    "a plan whose post is cut off": (plan_is_lost, PLANNING, "The steps are done."),
    "a stream whose stop is cut off": (
        broken("chat.stopStream", Fault("cut_after"), text="long 900", channel="D1"),
        NO,
        LONG,
    ),
    "the stream expires mid-answer": (stream_expires, PYTHON, WHOLE),
    "the stream is taken away": (stream_is_taken_away, PYTHON, WHOLE),
    "the token expires mid-answer": (token_expires, PYTHON | MANY, WHOLE),
    "the token expired over night": (token_expired_over_night, MANY, HELLO),
}


@pytest.mark.parametrize("name", TROUBLES)
async def test_one_answer_stands(whole: Whole, name: str) -> None:
    trouble, changes, answer = TROUBLES[name]
    text = whole.config.read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    whole.config.write_text(text)
    async with whole.up():
        channel, root = await trouble(whole)
        books = await whole.settled(step=10)
        standing = whole.slack.answers(channel, root)

    assert [said.rstrip() for said in standing] == [answer]
    assert (books.answered, books.balanced) == (1, True)


BOUNDARIES = [
    f"{side}:{step}"
    for step in ("ingest", "heads.take", "turns.note_task", "turns.end", "deliveries.end")
    for side in ("before", "after")
] + [POST]


async def ask_and_be_killed(killable: Killable, **where: Any) -> str:
    """The question is asked, the process comes to its boundary and dies there."""
    doomed = await killable.start(**where)
    ts = killable.people.say("<@UBOT> hello")
    asking = asyncio.create_task(killable.deliveries.pump())
    await until(killable.journal.exists)
    await doomed.kill()
    await asking
    return ts


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_one_answer_stands_after_a_kill_between_two_steps(killable: Killable, boundary: str) -> None:
    ts = await ask_and_be_killed(killable, held=boundary)
    await killable.start()
    books = await killable.settled()

    assert killable.slack.answers("C1", ts) == [HELLO]
    assert (books["accepted"], books["answered"], books["balanced"]) == (1, 1, True)


async def test_one_answer_stands_after_a_kill_while_slack_opens_the_stream(killable: Killable) -> None:
    """Slack has the stream, and nobody ever heard its id."""
    killable.slack.faults.add("chat.startStream", Fault("late", after=4))
    doomed = await killable.start()
    ts = killable.people.say("long 900", channel="D1")
    await killable.deliveries.pump()
    await until(lambda: bool(killable.slack.answers("D1", ts)))
    await doomed.kill()
    await killable.start()
    books = await killable.settled()

    assert [said.rstrip() for said in killable.slack.answers("D1", ts)] == [LONG]
    assert (books["accepted"], books["answered"]) == (1, 1)


@pytest.mark.parametrize("boundary", ["before:ingest", "before:turns.end", "before:deliveries.end"])
async def test_one_answer_stands_after_the_other_node_has_taken_over(
    killable: Killable, postgres: str, boundary: str
) -> None:
    database = fresh_database(postgres)
    ts = await ask_and_be_killed(killable, held=boundary, database=database)
    await killable.start(database=database)
    books = await killable.settled()

    assert killable.slack.answers("C1", ts) == [HELLO]
    assert (books["accepted"], books["answered"], books["balanced"]) == (1, 1, True)


async def test_a_reply_that_overtakes_the_question_is_answered_behind_it(whole: Whole) -> None:
    async with whole.up():
        root = whole.people.say("<@UBOT> first words")
        late, whole.deliveries.waiting = whole.deliveries.waiting, []
        whole.people.say("second words", thread_ts=root)
        whole.people.say("third words", thread_ts=root)
        whole.people.say("<@U2> not for you", thread_ts=root)
        await whole.deliveries.pump()
        assert (await whole.settled()).declined == 3
        whole.deliveries.waiting = late
        books = await whole.settled()
        said = "\n".join(whole.slack.answers("C1", root))

    places = [said.find(words) for words in ("first words", "second words", "third words")]
    assert -1 not in places
    assert places == sorted(places)
    assert "not for you" not in said
    assert (books.answered, books.declined, books.balanced) == (3, 1, True)


async def test_a_mention_in_the_middle_of_a_thread_answers_nothing_of_what_was_said_before(whole: Whole) -> None:
    async with whole.up():
        root = whole.people.say("lunch?")
        whole.people.say("pizza", thread_ts=root)
        await whole.deliveries.pump()
        whole.people.say("<@UBOT> hello", thread_ts=root)
        books = await whole.settled()

    assert (books.answered, books.declined) == (1, 1)


async def test_two_nodes_that_get_the_copies_of_a_question_in_turn_give_one_answer(
    whole: Whole, tmp_path: Path, postgres: str
) -> None:
    database = fresh_database(postgres)
    one, two = (configuration(tmp_path, whole.slack.url, database=database, name=name) for name in ("one", "two"))
    async with whole.up(one), whole.up(two):
        asked = [whole.people.say(f"<@UBOT> question {number}") for number in range(6)]
        whole.deliveries.again()
        await whole.deliveries.pump()
        books = await whole.settled()
        standing = [whole.slack.answers("C1", ts) for ts in asked]

    assert standing == [[f"You said: question {number}"] for number in range(6)]
    assert (books.accepted, books.answered) == (6, 6)


async def test_two_nodes_keep_the_order_of_a_thread(whole: Whole, tmp_path: Path, postgres: str) -> None:
    database = fresh_database(postgres)
    one, two = (configuration(tmp_path, whole.slack.url, database=database, name=name) for name in ("one", "two"))
    async with whole.up(one), whole.up(two):
        root = whole.people.say("<@UBOT> start")
        for number in range(14):
            whole.people.say(f"number-{number:02d}", thread_ts=root)
        await whole.deliveries.pump()
        await whole.settled()
        said = "\n".join(whole.slack.answers("C1", root))

    places = [said.find(f"number-{number:02d}") for number in range(14)]
    assert -1 not in places
    assert places == sorted(places)
