"""While the agent works: a view, and at the end one visible answer whatever became of the view."""

import asyncio
from typing import Any

import pytest

from adapters.slack.fake import Fault
from adapters.slack.statuses import title
from adapters.slack.streams import ROTATE_SECONDS
from bridge.adapter import Leaves, Progress
from bridge.model import OutboundMessage
from tests.adapters.slack.lab import Lab, until

WORDS = "All of this is said in small pieces, one after the other. " * 12


async def opened(lab: Lab, channel: str = "D1", **options: Any) -> tuple[str, Progress]:
    lab.configured(**options)
    ts = lab.people.say("<@UBOT> hi", channel=channel)
    await lab.arrivals()
    lab.slack.calls.clear()
    return ts, await lab.adapter.open(lab.answer("", kind="progress"))


async def pieces(view: Progress, text: str, size: int = 20) -> None:
    for start in range(0, len(text), size):
        await view.show("chunk", text[start : start + size])


async def finish(lab: Lab, view: Progress, final: OutboundMessage) -> str:
    """What the core does: the view becomes the answer, else it goes away and the answer is posted."""
    became = await view.close(final)
    if became is None:
        if view.remote_id is not None:
            await lab.adapter.withdraw(view.remote_id, final)
        became = await lab.adapter.send(final)
    return became


async def test_a_quick_turn_shows_nothing_and_costs_one_call(lab: Lab) -> None:
    ts, view = await opened(lab, channel="C1")

    await finish(lab, view, lab.answer("done"))

    assert lab.slack.calls == {"chat.postMessage": 1}
    assert lab.slack.answers("C1", ts) == ["done"]


async def test_text_streams_into_a_direct_message_and_becomes_the_answer(lab: Lab) -> None:
    ts, view = await opened(lab)
    await pieces(view, WORDS)
    live = lab.slack.answers("D1", ts)[0]

    remote_id = await finish(lab, view, final := lab.answer(WORDS))

    assert WORDS.startswith(live)
    assert live
    assert lab.slack.answers("D1", ts) == [WORDS]
    assert await lab.adapter.find(final) == remote_id
    assert lab.slack.calls["chat.postMessage"] == 0
    assert lab.slack.calls["chat.appendStream"] <= len(WORDS) / 256


async def test_a_piece_that_is_no_text_is_not_shown(lab: Lab) -> None:
    ts, view = await opened(lab)
    for piece in (WORDS, None, {"text": "x"}, WORDS):
        await view.show("chunk", piece)

    assert lab.slack.answers("D1", ts)[0] in WORDS * 2


async def test_a_final_text_that_reads_differently_replaces_the_stream(lab: Lab) -> None:
    ts, view = await opened(lab)
    await pieces(view, WORDS)

    await finish(lab, view, lab.answer("Something else."))

    assert lab.slack.answers("D1", ts) == ["Something else."]


async def test_a_token_that_comes_in_halves_pings_nobody(lab: Lab) -> None:
    ts, view = await opened(lab)
    text = WORDS + "<!chan" + "nel> `List<x>` " + WORDS
    await pieces(view, text, size=3)

    await finish(lab, view, lab.answer(text))

    (said,) = lab.slack.answers("D1", ts)
    assert "&lt;!channel>" in said
    assert "`List<x>`" in said


async def test_a_stream_is_replaced_before_slack_ends_it(lab: Lab) -> None:
    ts, view = await opened(lab)
    await pieces(view, WORDS)
    first = view.remote_id
    for _ in range(5):
        lab.clock.advance(130)
        await pieces(view, WORDS)

    text = WORDS * 6
    assert lab.slack.refusals == {}
    await finish(lab, view, lab.answer(text))

    assert view.remote_id != first
    assert lab.slack.answers("D1", ts) == [text]


async def rotated(lab: Lab) -> tuple[str, Progress]:
    """A stream that has just been replaced; the former one still stands there."""
    ts, view = await opened(lab)
    await pieces(view, WORDS)
    lab.clock.advance(ROTATE_SECONDS + 1)
    await view.show("chunk", WORDS)
    assert len(lab.slack.answers("D1", ts)) == 2
    return ts, view


async def test_a_replaced_stream_goes_though_slack_does_not_let_it_at_first(lab: Lab) -> None:
    ts, view = await rotated(lab)
    lab.slack.faults.add("chat.delete", Fault("limit"), Fault("status"))
    await pieces(view, WORDS)

    await finish(lab, view, lab.answer(WORDS * 3))

    assert lab.slack.answers("D1", ts) == [WORDS * 3]


async def test_a_replaced_stream_goes_though_its_node_dies_before(lab: Lab) -> None:
    ts, view = await rotated(lab)
    assert view.remote_id is not None

    await lab.adapter.revise(view.remote_id, lab.answer(WORDS * 3))  # by the next life

    assert lab.slack.answers("D1", ts) == [WORDS * 3]


async def test_a_stream_that_slack_ended_before_the_answer_is_updated_with_it(lab: Lab) -> None:
    ts, view = await opened(lab)
    await pieces(view, WORDS)
    lab.clock.advance(301)

    await finish(lab, view, lab.answer(WORDS + "The end."))

    assert lab.slack.answers("D1", ts) == [WORDS + "The end."]


@pytest.mark.parametrize("method", ["chat.startStream", "chat.appendStream", "chat.stopStream", "chat.update"])
@pytest.mark.parametrize("fault", [Fault("error", error="fatal_error"), Fault("limit"), Fault("cut_before")])
async def test_the_answer_comes_once_where_the_stream_breaks(lab: Lab, method: str, fault: Fault) -> None:
    ts, view = await opened(lab)
    lab.slack.faults.add(method, fault)
    await pieces(view, WORDS)

    await finish(lab, view, lab.answer("Something else."))

    assert lab.slack.answers("D1", ts) == ["Something else."]


async def test_a_stream_that_nobody_heard_of_goes_before_slack_ends_it(lab: Lab) -> None:
    """An ended one could not be told from any other message."""
    ts, view = await opened(lab)
    lab.slack.faults.add("chat.startStream", Fault("cut_after"))
    await pieces(view, WORDS)
    lab.clock.advance(400)

    await finish(lab, view, lab.answer(WORDS))

    assert lab.slack.answers("D1", ts) == [WORDS]


async def test_a_stream_that_an_earlier_life_did_not_note_goes_before_slack_ends_it(lab: Lab) -> None:
    ts, dying = await opened(lab)
    await pieces(dying, WORDS)

    view = await lab.adapter.open(lab.answer("", kind="progress", task_id="task-1", turn_id="trn_1"))
    await pieces(view, WORDS)
    lab.clock.advance(400)
    await finish(lab, view, lab.answer(WORDS))

    assert lab.slack.answers("D1", ts) == [WORDS]


async def test_a_plan_that_nobody_heard_of_goes_however_long_the_turn_takes(lab: Lab) -> None:
    ts, view = await opened(lab, channel="C1", progress="plan")
    lab.slack.faults.add("chat.postMessage", Fault("cut_after"))
    await view.show("tool_call_request", {"tool_name": "search"})
    lab.clock.advance(3600)

    await finish(lab, view, lab.answer("done"))

    assert lab.slack.answers("C1", ts) == ["done"]


async def test_an_answer_of_several_parts_is_posted_and_the_stream_goes_away(lab: Lab) -> None:
    ts, view = await opened(lab)
    await pieces(view, WORDS)

    assert await view.close(None) is None
    assert view.remote_id is None
    assert lab.slack.answers("D1", ts) == []


async def test_steps_are_cards_and_none_is_left_open(lab: Lab) -> None:
    ts, view = await opened(lab)
    await view.show(
        "tool_call_request", {"tool_call_id": "1", "tool_name": "search", "reasoning": {"title": "Look <it> up"}}
    )
    await view.show("tool_call_request", {"tool_call_id": "2", "tool_name": "write"})
    await view.show("tool_call_result", {"tool_call_id": "1", "result": "x"})

    await finish(lab, view, lab.answer("done"))

    message = lab.slack.thread("D1", ts)[-1]
    cards = [(block["title"], block["status"]) for block in message["blocks"] if block["type"] == "task_card"]
    assert cards == [("Look &lt;it&gt; up", "complete"), ("write", "complete")]


async def test_sixty_steps_fit_into_one_message(lab: Lab) -> None:
    ts, view = await opened(lab)
    for number in range(60):
        await view.show("tool_call_request", {"tool_call_id": str(number), "tool_name": f"step {number}"})

    await finish(lab, view, lab.answer("done"))

    assert lab.slack.answers("D1", ts) == ["done"]


async def test_channels_stream_to_who_asked_where_configured(lab: Lab) -> None:
    ts, view = await opened(lab, channel="C1", progress="stream")
    await pieces(view, WORDS)

    await finish(lab, view, lab.answer(WORDS))

    assert lab.slack.answers("C1", ts) == [WORDS]


async def test_streams_beyond_the_budget_of_a_minute_are_a_status_whichever_nodes_start_them(lab: Lab) -> None:
    nodes = [lab.configured(progress="stream") for _ in range(3)]
    lab.people.say("hi", channel="D1")
    await lab.arrivals()
    views = [await nodes[number % 3].open(lab.answer("", kind="progress")) for number in range(24)]
    await asyncio.gather(*(pieces(view, WORDS) for view in views))
    lab.clock.advance(3)
    await until(lambda: lab.slack.calls["agents.sessions.setStatus"] >= 6)

    assert lab.slack.calls["chat.startStream"] == 18
    lab.clock.advance(60)
    later = await nodes[0].open(lab.answer("", kind="progress"))
    await pieces(later, WORDS)
    assert lab.slack.calls["chat.startStream"] == 19
    for view in (*views, later):
        await view.close(None)


async def test_turns_that_show_nothing_cost_no_stream(lab: Lab) -> None:
    for _ in range(20):
        _, view = await opened(lab, progress="stream")
        await view.close(None)
    _, view = await opened(lab, progress="stream")
    await pieces(view, WORDS)

    assert lab.slack.calls["chat.startStream"] == 1
    await view.close(None)


async def test_a_stream_that_may_not_be_replaced_becomes_the_answer_all_the_same(lab: Lab) -> None:
    ts, view = await opened(lab, budgets={"chat.startStream": [1, 1]})
    await pieces(view, WORDS)
    lab.clock.advance(ROTATE_SECONDS + 1)
    await lab.adapter.open(other := lab.answer("", kind="progress"))
    await pieces(await lab.adapter.open(other), WORDS)
    await pieces(view, WORDS)

    await finish(lab, view, lab.answer(WORDS * 2))

    assert lab.slack.answers("D1", ts)[0] == WORDS * 2


async def test_steps_are_one_message_that_goes_away_where_a_plan_is_configured(lab: Lab) -> None:
    ts, view = await opened(lab, channel="C1", progress="plan")
    for number in range(10):
        await view.show("plan_updated", {"tasks": [{"id": "a", "title": "Look", "completed": number > 5}]})
        lab.clock.advance(1)
    plan = lab.slack.thread("C1", ts)[-1]

    await finish(lab, view, lab.answer("done"))

    assert plan["blocks"][0]["tasks"][0]["status"] == "complete"
    assert lab.slack.calls["chat.update"] <= 4
    assert lab.slack.answers("C1", ts) == ["done"]


async def test_the_stop_button_of_a_plan_stops_its_conversation(lab: Lab) -> None:
    ts, view = await opened(lab, channel="C1", progress="plan")
    await view.show("tool_call_request", {"tool_name": "search"})
    await lab.people.press(lab.slack.thread("C1", ts)[-1], "Stop", user="U2")
    await view.close(None)

    stop = lab.got[-1]
    assert (stop.act, stop.author.id, stop.conversation[0].value) == ("stop", "U2", f"A1:T1:C1:{ts}")


@pytest.mark.parametrize("is_agent", [True, False])
async def test_a_slow_turn_has_a_status_that_is_cleared(lab: Lab, *, is_agent: bool) -> None:
    lab.slack.is_agent = is_agent
    ts, view = await opened(lab, channel="C1")
    await asyncio.sleep(0)
    lab.clock.advance(3)
    await until(lambda: bool(lab.slack.statuses))
    during = dict(lab.slack.statuses)

    await finish(lab, view, lab.answer("done"))

    assert during == {("C1", ts): "processing" if is_agent else "is working on it…"}
    assert lab.slack.statuses == {("C1", ts): "active" if is_agent else ""}


@pytest.mark.parametrize("is_agent", [True, False])
async def test_the_first_words_of_a_thread_are_its_title_once(lab: Lab, *, is_agent: bool) -> None:
    lab.slack.is_agent = is_agent
    long = "why is the build red, and " + "who broke it, " * 10
    root = lab.people.say(f"<@UBOT> {long}")
    lab.people.say("<@UBOT> and another thing", thread_ts=root)
    await lab.arrivals()
    for message in lab.got:
        await lab.adapter.enrich(message)
        view = await lab.adapter.open(lab.answer("", kind="progress"))
        await asyncio.sleep(0)
        lab.clock.advance(3)
        await until(lambda: lab.slack.statuses.get(("C1", root)) in {"processing", "is working on it…"})
        await until(lambda: bool(lab.slack.titles))
        await view.close(None)

    (title,) = lab.slack.titles.values()
    assert title.startswith("why is the build red, and who broke it")
    assert len(title) <= 80
    assert title.endswith("…")


def test_one_long_word_is_a_title_as_far_as_it_fits() -> None:
    assert title("https://a.b/" + "c" * 100) == "https://a.b/" + "c" * 67 + "…"


@pytest.mark.parametrize("is_agent", [True, False])
async def test_a_stream_gives_its_thread_a_title(lab: Lab, *, is_agent: bool) -> None:
    lab.slack.is_agent = is_agent
    root = lab.people.say("tell me everything", channel="D1")
    (message,) = await lab.arrivals()
    await lab.adapter.enrich(message)
    view = await lab.adapter.open(lab.answer("", kind="progress"))
    await pieces(view, WORDS)
    await finish(lab, view, lab.answer(WORDS))

    assert lab.slack.titles == {("D1", root): "tell me everything"}


async def test_a_session_that_waits_for_a_person_is_marked_until_it_goes_on(lab: Lab) -> None:
    root = lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    await lab.adapter.send(lab.answer("May I?", kind="notice", status="paused"))
    waiting = dict(lab.slack.statuses)
    await lab.adapter.send(lab.answer("done"))
    lab.slack.calls.clear()
    await lab.adapter.send(lab.answer("and more"))

    assert (waiting, lab.slack.statuses) == ({("C1", root): "suspended"}, {("C1", root): "active"})
    assert lab.slack.calls == {"chat.postMessage": 1}


async def test_nothing_is_shown_where_progress_is_off(lab: Lab) -> None:
    _, view = await opened(lab, progress="off")
    await pieces(view, WORDS)

    assert (await view.close(None), view.remote_id, lab.slack.calls) == (None, None, {})


@pytest.mark.parametrize("progress", ["status", "stream", "plan"])
@pytest.mark.parametrize("seconds", [0, 3])
async def test_a_view_that_is_left_says_nothing_more(lab: Lab, progress: str, seconds: int) -> None:
    ts, view = await opened(lab, channel="C1", progress=progress)
    await asyncio.sleep(0)
    lab.clock.advance(seconds)
    if seconds:
        await until(lambda: bool(lab.slack.statuses))
    assert isinstance(view, Leaves)

    view.leave()
    await asyncio.sleep(0)
    lab.slack.statuses.clear()
    lab.slack.calls.clear()
    for _ in range(3):
        lab.clock.advance(100)
        await lab.adapter.send(lab.answer("done"))  # by whoever goes on with the turn

    assert lab.slack.statuses == {}
    assert lab.slack.calls == {"chat.postMessage": 3}
    assert lab.slack.answers("C1", ts) == ["done"] * 3


async def test_the_status_that_an_earlier_life_may_have_left_is_cleared(lab: Lab) -> None:
    ts, _ = await opened(lab, channel="C1")

    view = await lab.adapter.open(lab.answer("", kind="progress", task_id="task-1"))
    await view.close(None)

    assert lab.slack.statuses == {("C1", ts): "active"}
