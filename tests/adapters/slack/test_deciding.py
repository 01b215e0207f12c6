"""The agent asks, people press buttons: the decision is one person's, made once, and everybody sees what came of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.slack.fake.faults import Fault
from adapters.slack.fake.people import buttons
from adapters.slack.fake.workspace import said_in
from bridge.store import reader
from tests.adapters.slack.approving import Approving
from tests.adapters.slack.lab import served, until
from tests.adapters.slack.whole import Whole
from tests.end_to_end.parties import SECRET, post, request

QUESTION = "May I delete the branch?"


@pytest.fixture
async def agent(whole: Whole) -> AsyncIterator[Approving]:
    """The bridge's agent is one that wants an approval."""
    agent = Approving()
    async with served(agent.app()) as url:
        table = f'kind = "xpander"\nbase_url = "{url}"\napi_key = "k"\nagent_id = "a"\nmode = "poll"\n'
        table += 'decisions = "/tasks/{task_id}/approval"\nfeedback = "/tasks/{task_id}/feedback"\n'
        text = whole.config.read_text().replace('kind = "embedded"\nbrain = "demo"\n', table)
        whole.config.write_text(text)
        yield agent


async def asked(whole: Whole, text: str = "<@UBOT> clean up") -> tuple[str, dict[str, Any]]:
    """The thread, and the message with the buttons in it."""
    ts = whole.people.say(text)
    await whole.deliveries.pump()
    await until(lambda: any(buttons(message) for message in whole.slack.thread("C1", ts)))
    return ts, dict(next(message for message in whole.slack.thread("C1", ts) if buttons(message)))


def standing(whole: Whole, ts: str) -> list[str]:
    """The buttons in a thread."""
    return [label for message in whole.slack.thread("C1", ts) for label in buttons(message)]


@pytest.mark.parametrize("choice", ["Approve", "Deny"])
async def test_a_decision_reaches_the_agent_once_and_its_buttons_go(
    whole: Whole, agent: Approving, choice: str
) -> None:
    async with whole.up():
        ts, question = await asked(whole)
        assert buttons(question) == ["Approve", "Deny"]

        await whole.people.press(question, choice)
        answers = await whole.answers("C1", ts, count=2)

        await until(lambda: not standing(whole, ts))
        answers = whole.slack.answers("C1", ts)
    assert answers == [f"{QUESTION}\nChoices: approve, deny\n\n{choice}, decided by ada.", f"Done: {choice.lower()}"]
    assert [(made["choice"], made["decided_by"]) for made in agent.decisions] == [(choice.lower(), "U1")]
    assert whole.slack.ephemeral == []


async def test_somebody_else_decides_nothing_and_alone_is_told_so_once(whole: Whole, agent: Approving) -> None:
    async with whole.up():
        ts, question = await asked(whole)
        for _ in range(3):
            await whole.people.press(question, "Approve", user="U2")
        await until(lambda: bool(whole.slack.ephemeral))
        assert standing(whole, ts) == ["Approve", "Deny"]
        assert agent.decisions == []

        await whole.people.press(question, "Deny")
        await whole.answers("C1", ts, count=2)
    assert [made["choice"] for made in agent.decisions] == ["deny"]
    assert [(one["user"], one["thread_ts"], one["text"]) for one in whole.slack.ephemeral] == [
        ("U2", ts, "Only the person who was asked can decide this.")
    ]


async def test_a_second_click_changes_nothing(whole: Whole, agent: Approving) -> None:
    async with whole.up():
        ts, question = await asked(whole)
        await whole.people.press(question, "Approve")
        await whole.people.press(question, "Approve")
        await whole.people.press(question, "Deny")
        answers = await whole.answers("C1", ts, count=2)
        await until(lambda: bool(whole.slack.ephemeral))
    assert answers[-1] == "Done: approve"
    assert [made["choice"] for made in agent.decisions] == ["approve"]
    assert [one["text"] for one in whole.slack.ephemeral] == ["This was decided before."]


async def test_buttons_work_after_a_restart(whole: Whole, agent: Approving) -> None:
    async with whole.up():
        ts, question = await asked(whole)
    async with whole.up():
        await whole.people.press(question, "Approve")
        await whole.answers("C1", ts, count=2)
        await until(lambda: not standing(whole, ts))
    assert len(agent.decisions) == 1


async def test_a_decision_that_the_agent_did_not_confirm_is_told_again_under_the_same_key(
    whole: Whole, agent: Approving
) -> None:
    agent.broken = 1
    async with whole.up():
        ts, question = await asked(whole)
        await whole.people.press(question, "Approve")
        answers = await whole.answers("C1", ts, count=2)
    assert answers[-1] == "Done: approve"
    assert len(agent.decisions) == 2
    assert len({made["key"] for made in agent.decisions}) == 1


async def test_after_its_time_nobody_decides_and_the_buttons_are_gone(whole: Whole, agent: Approving) -> None:
    async with whole.up():
        ts, question = await asked(whole)
        whole.clock.advance(8 * 86400)
        answers = await whole.answers("C1", ts, count=2)
        await until(lambda: not standing(whole, ts))
        await whole.people.press(question, "Approve")
        await until(lambda: bool(whole.slack.ephemeral))
        assert whole.slack.answers("C1", ts)[0].endswith("Nobody has to decide this any more.")
    assert "Sorry" in answers[-1]
    assert [one["text"] for one in whole.slack.ephemeral] == ["Nobody has to decide this any more."]
    assert agent.decisions == []


async def test_a_stop_takes_the_buttons_away(whole: Whole, agent: Approving) -> None:
    async with whole.up():
        ts, _ = await asked(whole)
        whole.people.stop(ts)
        await whole.deliveries.pump()
        await until(lambda: not standing(whole, ts))
        answers = await whole.answers("C1", ts, count=2)
    assert answers[-1] == "Stopped."
    assert agent.decisions == []


async def test_buttons_that_somebody_deleted_are_no_failure(whole: Whole, agent: Approving) -> None:
    async with whole.up():
        ts, question = await asked(whole)
        del whole.slack.messages["C1", question["ts"]]
        await whole.people.press(question, "Approve")
        answers = await whole.answers("C1", ts)
    assert answers == ["Done: approve"]
    assert len(agent.decisions) == 1


async def test_the_demo_agent_can_be_asked_to_ask(whole: Whole) -> None:
    async with whole.up():
        ts, question = await asked(whole, "<@UBOT> approve")
        await whole.people.press(question, "Deny")
        answers = await whole.answers("C1", ts, count=2)
        await until(lambda: not standing(whole, ts))
    assert "deny" in answers[-1].lower() or "denied" in answers[-1].lower()


async def test_a_choice_is_the_answer_to_a_question_and_everybody_reads_what_follows(whole: Whole) -> None:
    async with whole.up():
        ts, question = await asked(whole, "<@UBOT> ask")
        assert buttons(question) == ["Red", "Blue"]
        await whole.people.press(question, "Blue")
        answers = await whole.answers("C1", ts, count=2)
        await until(lambda: not standing(whole, ts))
    assert answers[-1] == "You said: blue"
    assert whole.slack.ephemeral == []


async def test_a_question_that_is_answered_in_words_needs_no_buttons_any_more(whole: Whole) -> None:
    async with whole.up():
        ts, question = await asked(whole, "<@UBOT> ask")
        whole.people.say("green", thread_ts=ts)
        await whole.deliveries.pump()
        await whole.answers("C1", ts, count=2)
        await until(lambda: not standing(whole, ts))
        await whole.people.press(question, "Blue")
        await until(lambda: bool(whole.slack.ephemeral))
        answers = whole.slack.answers("C1", ts)
    assert answers[0].endswith("Answered.")
    assert answers[1:] == ["You said: green"]


async def test_what_people_think_of_an_answer_reaches_the_agent_and_the_newest_opinion_last(
    whole: Whole, agent: Approving
) -> None:
    async with whole.up():
        ts, question = await asked(whole)
        await whole.people.press(question, "Approve")
        await whole.answers("C1", ts, count=2)
        answer = next(one for one in whole.slack.thread("C1", ts) if "Done" in said_in(one))
        for number, reaction in enumerate(("-1", "+1")):
            agent.broken = 1  # it is told again until it says that it knows
            whole.people.react(answer["ts"], reaction)
            await whole.deliveries.pump()
            while len(agent.opinions) < 2 * (number + 1):
                whole.clock.advance(5)
                await asyncio.sleep(0.02)
    assert [one["value"] for one in agent.opinions] == [-1, -1, 1, 1]
    assert {(one["given_by"], one["task"]) for one in agent.opinions} == {("U1", "task-1")}


ORDERS = """
[sources.orders]
adapter = "webhook"
secrets = ["{secret}"]
reply_via = {{ source = "team", address = "C0001" }}
"""


@pytest.mark.parametrize(("said", "label", "answer"), [("approve", "Deny", "den"), ("ask", "Red", "You said: red")])
async def test_what_a_webhook_asks_in_a_channel_anybody_there_decides(
    whole: Whole, said: str, label: str, answer: str
) -> None:
    whole.slack.channels["C0001"] = {"id": "C0001", "name": "orders", "is_member": True}
    whole.config.write_text(whole.config.read_text() + ORDERS.format(secret=SECRET), encoding="utf-8")
    async with whole.up():
        assert (await post(whole.http, request(said, user={"id": "the shop"}))).status_code == 202
        await until(lambda: any(buttons(message) for message in whole.slack.messages.values()))
        question = next(message for message in whole.slack.messages.values() if buttons(message))
        await whole.people.press(dict(question), label, channel="C0001", user="U2")
        await until(lambda: not any(buttons(message) for message in whole.slack.messages.values()))
        books = await whole.settled()
        told = [said_in(message) for message in whole.slack.messages.values()]

    assert "decided by grace" in told[0]
    assert answer in told[-1]
    assert len(told) == 2
    assert (books.accepted, books.answered) == (1, 1)


async def test_a_press_counts_before_slack_has_told_the_bridge_what_it_posted(whole: Whole) -> None:
    whole.config.write_text(whole.config.read_text() + ORDERS.format(secret=SECRET), encoding="utf-8")
    whole.slack.channels["C0001"] = {"id": "C0001", "name": "orders", "is_member": True}
    whole.slack.faults.add("chat.postMessage", Fault("late"))
    async with whole.up():
        assert (await post(whole.http, request("ask"))).status_code == 202
        await until(lambda: any(buttons(message) for message in whole.slack.messages.values()))
        question = next(message for message in whole.slack.messages.values() if buttons(message))
        await whole.people.press(dict(question), "Red", channel="C0001", user="U2")
        books = await whole.settled()
        told = [said_in(message) for message in whole.slack.messages.values()]
        conversations = await whole.nodes[0][0].store.read(reader.conversation_list)

    assert told[1:] == ["You said: red"]
    assert (books.accepted, books.answered) == (1, 1)
    assert [conversation.source for conversation in conversations] == ["orders"]


async def test_an_edit_in_a_channel_stays_in_the_conversation_a_webhook_began(whole: Whole) -> None:
    whole.config.write_text(whole.config.read_text() + ORDERS.format(secret=SECRET), encoding="utf-8")
    whole.slack.channels["C0001"] = {"id": "C0001", "name": "orders", "is_member": True}
    async with whole.up():
        assert (await post(whole.http, request("one"))).status_code == 202
        await whole.settled()
        (alert,) = whole.slack.messages
        ts = whole.people.say("<@UBOT> two", channel="C0001", thread_ts=alert[1])
        await whole.settled()
        whole.people.edit(ts, "<@UBOT> three", channel="C0001")
        await whole.deliveries.pump()
        await until(
            lambda: any("three" in said_in(message) for message in whole.slack.messages.values() if "bot_id" in message)
        )
        await whole.settled()
        conversations = await whole.nodes[0][0].store.read(reader.conversation_list)

    assert [(conversation.source, conversation.turns) for conversation in conversations] == [("orders", 3)]


async def test_what_was_approved_elsewhere_needs_no_buttons_any_more(whole: Whole, agent: Approving) -> None:
    async with whole.up():
        ts, _ = await asked(whole)
        agent.approve_elsewhere()
        await whole.settled(step=5)
        await until(lambda: not standing(whole, ts))  # what was said is no message, so the books do not wait for it
        answers = whole.slack.answers("C1", ts)

    assert standing(whole, ts) == []
    assert answers[0].endswith("Nobody has to decide this any more.")
    assert answers[1:] == ["Done: elsewhere"]
