"""Answers get there, once, whatever breaks on the way."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.slack import posts
from adapters.slack.calls import Refusal
from adapters.slack.fake import Fault
from bridge.errors import Permanent, Retryable
from bridge.markdown import split
from bridge.model import FileRef, OutboundMessage
from tests.adapters.slack.lab import Lab


async def asked(lab: Lab, text: str = "<@UBOT> hi", **more: str) -> str:
    ts = lab.people.say(text, **more)  # type: ignore[arg-type]  # only strings are given here
    await lab.arrivals()
    lab.slack.calls.clear()
    return ts


async def test_an_answer_is_one_call_in_the_thread_of_the_question(lab: Lab) -> None:
    ts = await asked(lab)

    remote_id = await lab.adapter.send(lab.answer("**hello**"))

    message = lab.slack.messages["C1", remote_id.rpartition(":")[2]]
    assert lab.slack.calls == {"chat.postMessage": 1}
    assert lab.slack.answers("C1", ts) == ["**hello**"]
    assert (message["text"], message["thread_ts"]) == ("hello", ts)
    assert message["metadata"]["event_payload"] == {"id": "dlv_1"}


async def test_a_person_in_a_single_conversation_is_answered_outside_of_threads(lab: Lab) -> None:
    lab.configured(dm="person")
    await asked(lab, "hi", channel="D1")

    remote_id = await lab.adapter.send(lab.answer("hello"))

    assert "thread_ts" not in lab.slack.messages["D1", remote_id.rpartition(":")[2]]


async def test_the_agent_can_ping_who_asked_and_nobody_else(lab: Lab) -> None:
    ts = await asked(lab)

    await lab.adapter.send(lab.answer("<@U1> <@U2> <!channel>"))

    assert lab.slack.answers("C1", ts) == ["<@U1> &lt;@U2> &lt;!channel>"]


@pytest.mark.parametrize(
    ("fault", "after", "ambiguous"),
    [
        (Fault("limit", after=7), 7, False),
        (Fault("error", error="rate_limited"), 30, False),
        (Fault("error", error="internal_error"), None, True),
        (Fault("error", error="fatal_error"), None, True),
        (Fault("status", status=503), None, True),
        (Fault("html"), None, True),
        (Fault("cut_before"), None, True),
        (Fault("cut_after"), None, True),
        (Fault("gzip"), None, True),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
async def test_what_passes_is_tried_again(lab: Lab, fault: Fault, after: float | None, ambiguous: bool) -> None:  # noqa: FBT001 - a table
    await asked(lab)
    lab.slack.faults.add("chat.postMessage", fault)

    with pytest.raises(Retryable) as failed:
        await lab.adapter.send(lab.answer("hello"))

    assert (failed.value.after, failed.value.ambiguous) == (after, ambiguous)
    assert lab.slack.calls["chat.postMessage"] == 1


@pytest.mark.parametrize("error", ["channel_not_found", "is_archived", "not_in_channel", "missing_scope", "a_new_word"])
async def test_what_does_not_pass_is_given_up_with_slacks_word(lab: Lab, error: str) -> None:
    await asked(lab)
    lab.slack.faults.add("chat.postMessage", Fault("error", error=error))

    with pytest.raises(Permanent, match=error):
        await lab.adapter.send(lab.answer("hello"))


async def test_slack_cannot_be_reached_means_nothing_was_sent(lab: Lab) -> None:
    await asked(lab)
    lab.configured(api_url="http://127.0.0.1:9/api/")

    with pytest.raises(Retryable) as failed:
        await lab.adapter.send(lab.answer("hello"))

    assert not failed.value.ambiguous


async def test_a_post_whose_answer_was_cut_off_is_found_and_not_repeated(lab: Lab) -> None:
    ts = await asked(lab)
    lab.slack.faults.add("chat.postMessage", Fault("cut_after"))
    answer = lab.answer("hello")
    with pytest.raises(Retryable):
        await lab.adapter.send(answer)

    found = await lab.adapter.find(answer)

    assert lab.slack.answers("C1", ts) == ["hello"]
    assert found == f"A1:T1:C1:{lab.slack.thread('C1', ts)[-1]['ts']}"


async def test_a_post_that_was_lost_is_not_found(lab: Lab) -> None:
    await asked(lab)
    lab.slack.faults.add("chat.postMessage", Fault("cut_before"))
    answer = lab.answer("hello")
    with pytest.raises(Retryable):
        await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) is None


async def test_an_answer_outside_of_threads_is_found_too(lab: Lab) -> None:
    lab.configured(dm="person")
    await asked(lab, "hi", channel="D1")
    answer = lab.answer("hello")
    remote_id = await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) == remote_id
    assert await lab.adapter.find(lab.answer("another")) is None


async def test_an_answer_is_found_behind_many_others(lab: Lab) -> None:
    ts = await asked(lab)
    for number in range(120):
        lab.people.say(str(number), thread_ts=ts)
    answer = lab.answer("hello")
    remote_id = await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) == remote_id


async def test_an_answer_outside_of_threads_is_found_in_a_busy_place(lab: Lab) -> None:
    lab.configured(dm="person")
    await asked(lab, "hi", channel="D1")
    answer = lab.answer("hello")
    remote_id = await lab.adapter.send(answer)
    for number in range(1100):
        lab.slack.add("D1", {"user": "U1", "text": str(number)})

    assert await lab.adapter.find(answer) == remote_id


async def test_where_too_much_was_said_to_look_through_nothing_is_guessed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "_PAGES", 2)
    lab.configured(dm="person")
    await asked(lab, "hi", channel="D1")
    for number in range(500):
        lab.slack.add("D1", {"user": "U1", "text": str(number)})

    with pytest.raises(Retryable, match="looked through") as failed:
        await lab.adapter.find(lab.answer("hello"))
    assert failed.value.ambiguous


async def test_the_look_up_says_so_when_slack_does_not_answer(lab: Lab) -> None:
    await asked(lab)
    lab.slack.faults.add("conversations.replies", Fault("limit", after=3))

    with pytest.raises(Retryable) as failed:
        await lab.adapter.find(lab.answer("hello"))

    assert failed.value.after == 3


async def test_nothing_is_found_in_a_thread_that_is_gone(lab: Lab) -> None:
    ts = await asked(lab)
    lab.people.delete(ts)

    assert await lab.adapter.find(lab.answer("hello")) is None


async def test_an_answer_is_revised_in_place_and_withdrawn(lab: Lab) -> None:
    ts = await asked(lab)
    answer = lab.answer("hello")
    remote_id = await lab.adapter.send(answer)

    await lab.adapter.revise(remote_id, replace(answer, text="good day"))
    assert lab.slack.answers("C1", ts) == ["good day"]

    await lab.adapter.withdraw(remote_id, answer)
    await lab.adapter.withdraw(remote_id, answer)
    assert lab.slack.answers("C1", ts) == []

    with pytest.raises(Refusal, match="message_not_found"):
        await lab.adapter.revise(remote_id, answer)


async def test_a_long_answer_arrives_whole_in_several_messages(lab: Lab) -> None:
    ts = await asked(lab)
    text = "\n\n".join(f"Paragraph {number}: " + "word " * 100 for number in range(80))

    for part in split(text, lab.adapter.max_chars):
        await lab.adapter.send(lab.answer(part))

    assert "".join("".join(lab.slack.answers("C1", ts)).split()) == "".join(text.split())


async def test_what_no_message_holds_once_it_is_escaped_comes_as_a_file(lab: Lab) -> None:
    ts = await asked(lab)
    text = "<a " * 3300

    await lab.adapter.send(lab.answer(text))

    beginning, file = lab.slack.thread("C1", ts)[1:]
    assert beginning["blocks"][0]["text"].endswith("all of it is in answer.md below.")
    assert lab.slack.files[file["files"][0]["id"]].body == text.encode()


async def test_slack_calling_it_too_long_brings_a_file_as_well(lab: Lab) -> None:
    ts = await asked(lab)
    lab.slack.faults.add("chat.postMessage", Fault("error", error="msg_too_long"))

    await lab.adapter.send(lab.answer("hello"))

    assert len(lab.slack.answers("C1", ts)) == 2


async def with_file(lab: Lab) -> OutboundMessage:
    ref = await lab.kit.files.store("report.csv", "text/csv", b"a,b", origin="agent")
    return lab.answer("here", files=(ref,))


async def test_files_are_shared_into_the_thread(lab: Lab) -> None:
    ts = await asked(lab)

    await lab.adapter.send(await with_file(lab))

    (file,) = lab.slack.thread("C1", ts)[-1]["files"]
    assert (file["name"], lab.slack.files[file["id"]].body) == ("report.csv", b"a,b")


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
async def test_a_file_that_was_cut_off_is_shared_once_in_the_end(lab: Lab, method: str, kind: str) -> None:
    ts = await asked(lab)
    answer = await with_file(lab)
    lab.slack.faults.add(method, Fault(kind))  # type: ignore[arg-type]  # both are kinds
    with pytest.raises(Retryable):
        await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) is not None

    shared = [file["name"] for message in lab.slack.thread("C1", ts) for file in message.get("files", ())]
    assert shared == ["report.csv"]
    assert lab.slack.answers("C1", ts) == ["here", ""]


async def test_a_file_that_is_elsewhere_is_linked_and_one_that_is_gone_left_out(lab: Lab) -> None:
    ts = await asked(lab)
    files = (FileRef(url="https://a.b/c.pdf", name="c.pdf"), FileRef(url="file:fil_gone", name="gone"))

    await lab.adapter.send(lab.answer("here", files=files))

    assert lab.slack.answers("C1", ts) == ["here\n\n[c.pdf](https://a.b/c.pdf)"]


async def test_a_notice_asks_with_buttons_that_only_some_may_press(lab: Lab) -> None:
    ts = await asked(lab)
    buttons = [
        {"label": "Approve", "decision_id": "dec_1", "choice": "approve", "style": "primary", "users": ["U1"]},
        {"label": "Log in", "url": "https://a.b/login"},
    ]
    notice = lab.answer("May I?", kind="notice", metadata={"buttons": buttons})
    remote_id = await lab.adapter.send(notice)
    question = lab.slack.thread("C1", ts)[-1]

    await lab.people.press(question, "Approve", user="U2")
    await lab.people.press(question, "Approve")

    refused, decided = lab.got[-2:]
    assert (refused.declined, decided.declined) == ("not_allowed", None)
    assert (decided.author.id, decided.metadata) == ("U1", {"decision_id": "dec_1", "choice": "approve"})
    assert [one.value for one in decided.conversation] == [f"A1:T1:C1:{ts}", remote_id]

    await lab.adapter.revise(remote_id, replace(notice, text="Approved by <@U1>.", metadata={}))
    assert [block["type"] for block in lab.slack.thread("C1", ts)[-1]["blocks"]] == ["markdown"]


async def test_who_uses_the_command_where_the_bot_is_no_member_is_told_so(lab: Lab) -> None:
    lab.slack.channels["C2"]["is_member"] = False
    await lab.people.command("hi", channel="C2")

    with pytest.raises(Permanent, match="not_in_channel"):
        await lab.adapter.send(lab.answer("hello"))

    (told,) = lab.slack.responses
    assert told["response_type"] == "ephemeral"
    assert "Invite me" in told["text"]
    await lab.people.command("hi", channel="C1")
    notice = lab.answer("?", kind="notice", metadata={"buttons": [{"label": "A", "decision_id": "d", "choice": "a"}]})
    await lab.adapter.send(notice)
    assert "commands/1" not in json.dumps(list(lab.slack.messages.values()))


async def test_who_may_not_press_is_told_so_alone(lab: Lab) -> None:
    ts = await asked(lab)
    buttons = [{"label": "Approve", "decision_id": "dec_1", "choice": "yes", "users": ["U1"]}]
    await lab.adapter.send(lab.answer("May I?", kind="notice", metadata={"buttons": buttons}))
    await lab.people.press(lab.slack.thread("C1", ts)[-1], "Approve", user="U2")

    await lab.adapter.send(lab.answer("Only Ada can decide this.", kind="notice"))

    (whisper,) = lab.slack.ephemeral
    assert (whisper["user"], whisper["thread_ts"]) == ("U2", ts)


async def test_feedback_buttons_stand_below_the_last_part_and_name_the_delivery(lab: Lab) -> None:
    lab.configured(feedback=True)
    ts = await asked(lab)
    await lab.adapter.send(lab.answer("one", part=0, parts=2))
    await lab.adapter.send(lab.answer("two", part=1, parts=2))
    first, last = lab.slack.thread("C1", ts)[1:]

    await lab.people.press(last, "Bad")

    assert len(first["blocks"]) == 1
    assert lab.got[-1].metadata == {"delivery_id": "dlv_2", "value": "-1"}


async def test_a_return_address_of_another_platform_is_given_up(lab: Lab) -> None:
    await asked(lab)

    with pytest.raises(Permanent, match="return address"):
        await lab.adapter.send(lab.answer("hello", return_address="mailto:a@b.c"))


async def test_budgets_are_by_channel_for_posts_and_can_be_configured(lab: Lab) -> None:
    await asked(lab)
    assert lab.adapter.budget(lab.answer("hello")) == (("T1:chat.postMessage:C1", 60.0, 5),)

    lab.configured(budgets={"chat.postMessage": [30, 1]})
    assert lab.adapter.budget(lab.answer("hello")) == (("T1:chat.postMessage:C1", 30.0, 1),)


async def test_a_storm_of_429_delays_and_never_doubles(lab: Lab) -> None:
    ts = await asked(lab)
    lab.slack.limits.on = True
    waiting = [lab.answer(f"answer {number}") for number in range(12)]
    while waiting:
        try:
            await lab.adapter.send(waiting[0])
            waiting.pop(0)
        except Retryable as error:
            lab.clock.advance(error.after or 1)

    assert lab.slack.limits.refused > 0
    assert lab.slack.answers("C1", ts) == [f"answer {number}" for number in range(12)]


@pytest.mark.parametrize("written", ["C1A", "T1A/C1A"])
def test_a_channel_that_the_operator_names_is_a_return_address(lab: Lab, written: str) -> None:
    assert json.loads(lab.adapter.return_address(written))["channel"] == "C1A"


@pytest.mark.parametrize("written", ["#alerts", "", "alerts", "C1A/T1A", "C1A\n", '{"channel":"C1"}'])
def test_what_is_no_channel_is_explained(lab: Lab, written: str) -> None:
    with pytest.raises(ValueError, match="C0123456789"):
        lab.adapter.return_address(written)


async def test_what_is_said_in_a_named_channel_is_found_by_the_replies_to_it(lab: Lab) -> None:
    lab.slack.channels["C1A"] = {**lab.slack.channels["C1"], "id": "C1A"}
    message = OutboundMessage(
        delivery_id="dlv_9",
        kind="answer",
        return_address=lab.adapter.return_address("C1A"),
        text="The disk is full.",
        created_at=lab.clock.now(),
    )
    remote_id = await lab.adapter.send(message)
    assert await lab.adapter.find(message) == remote_id

    lab.people.say("<@UBOT> since when?", channel="C1A", thread_ts=remote_id.rpartition(":")[2])
    (reply,) = await lab.arrivals()
    assert remote_id in {candidate.value for candidate in reply.conversation}


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
async def test_a_limit_met_after_the_words_are_posted_does_not_repeat_them(lab: Lab, method: str) -> None:
    await asked(lab)
    lab.slack.faults.add(method, Fault("limit", after=7))

    with pytest.raises(Retryable) as failed:
        await lab.adapter.send(await with_file(lab))

    assert (failed.value.after, failed.value.ambiguous) == (7, True)


def without_files_write(lab: Lab) -> None:
    token = lab.slack.tokens["xoxb-test"]
    token.scopes = token.scopes - {"files:write"}


def notes(lab: Lab, root: str) -> list[str]:
    blocks = [block for message in lab.slack.thread("C1", root) for block in message.get("blocks", ())]
    return [block["elements"][0]["text"] for block in blocks if block["type"] == "context"]


async def test_files_that_slack_will_never_take_are_named_and_hold_up_nothing(lab: Lab) -> None:
    ts = await asked(lab)
    without_files_write(lab)
    answer = await with_file(lab)

    remote_id = await lab.adapter.send(answer)
    assert await lab.adapter.find(answer) == remote_id

    assert lab.slack.answers("C1", ts) == ["here"]
    assert notes(lab, ts) == ["Not attached, since Slack takes no such file from this app: report.csv"]


async def test_of_several_files_only_those_that_slack_refuses_are_left_out(lab: Lab) -> None:
    ts = await asked(lab)
    names = ("a.csv", "b.csv")
    files = [await lab.kit.files.store(name, "text/csv", name.encode(), origin="agent") for name in names]
    lab.slack.faults.add("files.getUploadURLExternal", Fault("error", error="file_type_not_allowed"))

    await lab.adapter.send(lab.answer("here", files=tuple(files)))

    shared = [file["name"] for message in lab.slack.thread("C1", ts) for file in message.get("files", ())]
    assert shared == ["b.csv"]
    assert notes(lab, ts) == ["Not attached, since Slack takes no such file from this app: a.csv"]


async def test_an_empty_file_is_named_too(lab: Lab) -> None:
    ts = await asked(lab)
    ref = await lab.kit.files.store("nothing.txt", "text/plain", b"", origin="agent")

    await lab.adapter.send(lab.answer("here", files=(ref,)))

    assert notes(lab, ts) == ["Not attached, since Slack takes no such file from this app: nothing.txt"]


async def test_files_whose_sharing_is_refused_are_named_as_well(lab: Lab) -> None:
    ts = await asked(lab)
    lab.slack.faults.add("files.completeUploadExternal", Fault("error", error="not_allowed_token_type"))

    await lab.adapter.send(await with_file(lab))

    assert notes(lab, ts) == ["Not attached, since Slack takes no such file from this app: report.csv"]


async def test_a_long_text_goes_on_in_messages_where_slack_takes_no_file(lab: Lab) -> None:
    ts = await asked(lab)
    without_files_write(lab)
    answer = lab.answer("<a " * 3300)
    lab.slack.faults.add("chat.update", Fault("cut_before"))
    with pytest.raises(Retryable) as failed:
        await lab.adapter.send(answer)
    assert failed.value.ambiguous

    assert await lab.adapter.find(answer) is not None
    assert await lab.adapter.find(answer) is not None

    said = " ".join(lab.slack.answers("C1", ts))
    assert (said.count("&lt;a"), "answer.md" in said) == (3300, False)


async def test_a_message_that_takes_no_note_has_still_been_sent(lab: Lab) -> None:
    ts = await asked(lab)
    without_files_write(lab)
    lab.slack.faults.add("chat.update", Fault("error", error="edit_window_closed"))

    await lab.adapter.send(await with_file(lab))

    assert (lab.slack.answers("C1", ts), notes(lab, ts)) == (["here"], [])


async def test_the_file_of_an_answer_to_a_command_is_shared_once(lab: Lab) -> None:
    await lab.people.command("report")
    await lab.arrivals()
    answer = await with_file(lab)
    lab.slack.faults.add("files.completeUploadExternal", Fault("cut_after"))
    with pytest.raises(Retryable):
        await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) is not None

    shared = [file["name"] for message in lab.slack.messages.values() for file in message.get("files", ())]
    assert shared == ["report.csv"]


async def test_a_file_that_somebody_else_shared_is_not_taken_for_ours(lab: Lab) -> None:
    ts = await asked(lab)
    answer = await with_file(lab)
    lab.slack.faults.add("files.completeUploadExternal", Fault("cut_before"))
    with pytest.raises(Retryable):
        await lab.adapter.send(answer)
    lab.people.say("mine", thread_ts=ts, files=[lab.people.file("report.csv", b"x", "text/csv")])

    await lab.adapter.find(answer)

    assert lab.slack.answers("C1", ts) == ["here", ""]


async def test_the_whole_of_a_long_answer_is_not_lost_with_the_call_that_shares_it(lab: Lab) -> None:
    ts = await asked(lab)
    answer = lab.answer("<a " * 3300)
    lab.slack.faults.add("files.completeUploadExternal", Fault("cut_before"))
    with pytest.raises(Retryable):
        await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) is not None
    assert await lab.adapter.find(answer) is not None

    shared = [file for message in lab.slack.thread("C1", ts) for file in message.get("files", ())]
    assert [lab.slack.files[file["id"]].body for file in shared] == [answer.text.encode()]


async def test_what_slack_alone_called_too_long_is_not_lost_either(lab: Lab) -> None:
    ts = await asked(lab)
    answer = lab.answer("hello")
    lab.slack.faults.add("chat.postMessage", Fault("error", error="msg_too_long"))
    lab.slack.faults.add("files.completeUploadExternal", Fault("cut_before"))
    with pytest.raises(Retryable):
        await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) is not None

    shared = [file["name"] for message in lab.slack.thread("C1", ts) for file in message.get("files", ())]
    assert shared == ["answer.md"]


async def test_many_links_beside_a_long_text_are_in_its_file(lab: Lab) -> None:
    ts = await asked(lab)
    files = tuple(FileRef(url=f"https://a.b/{'c' * 1000}/{number}", name=f"{number}.pdf") for number in range(20))

    await lab.adapter.send(lab.answer("here", files=files))

    (file,) = lab.slack.thread("C1", ts)[-1]["files"]
    assert lab.slack.files[file["id"]].body.count(b"https://a.b/") == 20


@pytest.mark.parametrize("text", ["", " \n "])
async def test_an_answer_without_words_is_seen_all_the_same(lab: Lab, text: str) -> None:
    ts = await asked(lab)

    await lab.adapter.send(lab.answer(text))

    assert len(lab.slack.answers("C1", ts)) == 1


async def test_a_revised_text_of_characters_that_are_escaped_is_not_too_long(lab: Lab) -> None:
    ts = await asked(lab)
    answer = lab.answer("hello")
    remote_id = await lab.adapter.send(answer)

    await lab.adapter.revise(remote_id, replace(answer, text="`&&&&`" * 500))

    assert lab.slack.answers("C1", ts) == ["`&&&&`" * 500]


async def test_a_button_that_slack_would_not_take_does_not_take_the_notice_with_it(lab: Lab) -> None:
    ts = await asked(lab)
    buttons = [
        {"label": "Open", "url": "javascript:alert(1)"},
        {"label": "Open", "url": "https://a.b/" + "c" * 3000},
        {"label": "Long", "decision_id": "dec_1", "choice": "c" * 2000},
        {"label": "Fine", "decision_id": "dec_1", "choice": "fine"},
    ]

    await lab.adapter.send(lab.answer("Which?", kind="notice", metadata={"buttons": buttons}))

    (elements,) = [b["elements"] for b in lab.slack.thread("C1", ts)[-1]["blocks"] if b["type"] == "actions"]
    assert [element["text"]["text"] for element in elements] == ["Fine"]


async def test_an_answer_is_found_where_our_clock_is_some_minutes_early(lab: Lab) -> None:
    await asked(lab)
    answer = lab.answer("hello", created_at=lab.clock.now() + timedelta(minutes=4))
    remote_id = await lab.adapter.send(answer)

    assert await lab.adapter.find(answer) == remote_id
