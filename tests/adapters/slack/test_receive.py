"""What people do in Slack becomes messages, once, in words."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.slack.address import Address, load
from adapters.slack.fake.delivery import FORM, JSON
from adapters.slack.fake.people import Order
from adapters.slack.interactions import Pressed, interaction
from bridge.errors import Malformed, ReceiveError, TooLarge, Unverified
from bridge.model import Act
from tests.adapters.slack.lab import Lab


@pytest.mark.parametrize("order", ["message_first", "mention_first"])
async def test_both_events_of_a_mention_are_one_message(lab: Lab, order: Order) -> None:
    lab.people.order = order
    ts = lab.people.say("<@UBOT> what is up?")

    (message,) = await lab.arrivals()

    assert (message.text, message.addressed, message.message_key) == ("what is up?", "mention", f"T1:C1:{ts}")
    assert [candidate.value for candidate in message.conversation] == [f"A1:T1:C1:{ts}"]


async def test_the_copy_without_an_event_of_its_own_counts_as_a_mention(lab: Lab) -> None:
    lab.slack.publish({"type": "message", "user": "U1", "text": "hi <@UBOT|agent> there", "ts": "1.2", "channel": "C1"})

    (message,) = await lab.arrivals()

    assert (message.text, message.addressed) == ("hi there", "mention")


async def test_a_direct_message_needs_no_mention(lab: Lab) -> None:
    ts = lab.people.say("hello", channel="D1")

    (message,) = await lab.arrivals()

    assert (message.addressed, message.conversation[0].value) == ("direct", f"A1:T1:D1:{ts}")


async def test_a_person_can_have_a_single_conversation_in_direct_messages(lab: Lab) -> None:
    lab.configured(dm="person")
    root = lab.people.say("hello", channel="D1")
    lab.people.say("in a thread", channel="D1", thread_ts=root)

    first, second = await lab.arrivals()

    assert first.conversation == second.conversation
    assert "root" not in json.loads(first.return_address)
    assert json.loads(second.return_address)["root"] == root


async def test_messages_of_one_person_in_one_thread_have_one_return_address(lab: Lab) -> None:
    root = lab.people.say("<@UBOT> one")
    lab.people.say("two", thread_ts=root)

    first, second = await lab.arrivals()

    assert first.return_address == second.return_address
    assert (second.addressed, second.conversation) == ("ambient", first.conversation)


async def test_what_is_said_to_nobody_outside_of_threads_is_not_even_stored(lab: Lab) -> None:
    lab.people.say("lunch?")
    assert await declined(lab) == []

    await lab.deliveries.pump()
    assert lab.deliveries.statuses == [200]


async def declined(lab: Lab) -> list[str | None]:
    """The reasons, as the store would count them."""
    reasons = []
    for out in lab.deliveries.waiting:
        received = await lab.adapter.receive(lab.envelope(lab.deliveries.headers(out.body, out.kind), out.body))
        reasons += [message.declined for message in received.messages or ()]
    return reasons


async def test_a_reply_to_somebody_else_is_not_for_the_agent(lab: Lab) -> None:
    root = lab.people.say("<@UBOT> one")
    await lab.arrivals()
    lab.people.say("<@U2> what do you think?", thread_ts=root)

    assert await declined(lab) == ["addressed_to_others"]


async def test_bots_are_heard_only_where_allowed_and_within_a_budget(lab: Lab) -> None:
    for _ in range(3):
        lab.people.say("hi", channel="D1", bot_id="B9", app_id="A9")
    assert await declined(lab) == ["bot"] * 3

    lab.configured(allow_bots={"A9"}, bot_budget=2)
    assert await declined(lab) == [None, None, "bot_budget"]


async def test_people_of_other_organisations_are_heard_only_where_allowed(lab: Lab) -> None:
    lab.people.say("hi", channel="D1", user_team="T9")
    assert await declined(lab) == ["external_user"]

    lab.configured(allow_external=True)
    assert await declined(lab) == [None]


@pytest.mark.parametrize("words", ["stop", "mute", "reset", "unmute"])
async def test_whom_nobody_hears_commands_nothing(lab: Lab, words: str) -> None:
    lab.configured(channels={"C2": {"allow": False}})
    lab.people.say(f"<@UBOT> {words}", user_team="T9")
    lab.people.say(f"<@UBOT> {words}", bot_id="B9", app_id="A9")
    lab.people.say(f"<@UBOT> {words}", channel="C2")
    assert await declined(lab) == ["external_user"] * 2 + ["bot"] * 2 + ["channel_not_served"] * 2
    assert {message.act for message in await lab.arrivals()} <= {Act.SAY}


@pytest.mark.parametrize(("team", "refusal"), [("T9", "external_user"), ("T1", None)])
async def test_a_button_is_pressed_by_those_who_are_heard(lab: Lab, team: str, refusal: str | None) -> None:
    pressed = Pressed(
        do="decide",
        key="k",
        id="dcs_1",
        value="approve",
        address=Address(app="A1", tenant="shared", team="T1", channel="C1", root="1.1").dump(),
    )
    payload = {
        "type": "block_actions",
        "api_app_id": "A1",
        "team": {"id": "T1"},
        "user": {"id": "U9", "team_id": team},
        "actions": [{"value": pressed.model_dump_json()}],
    }
    for allowed in (False, True):
        (message,) = interaction(lab.settings(allow_external=allowed), payload, "digest").messages or ()
        assert message.declined == (None if allowed else refusal)


async def test_a_channel_can_have_its_own_agent_be_left_out_or_engage_by_itself(lab: Lab) -> None:
    lab.configured(channels={"C1": {"agent": "ops", "engage": "(?i)deploy failed"}, "C2": {"allow": False}})
    lab.people.say("Deploy failed again")
    lab.people.say("all fine")
    lab.people.say("<@UBOT> hi", channel="C2")

    (message,) = await lab.arrivals()

    assert (message.agent, message.addressed) == ("ops", "mention")


@pytest.mark.parametrize("rule", [["deploy", "roll back"], "(?i)deploy|roll back"])
async def test_words_or_an_expression_call_the_bot_in(lab: Lab, rule: object) -> None:
    lab.configured(channels={"C1": {"engage": rule}})
    for text in ("The DEPLOY of 9 failed", "please roll back", "redeployment" if isinstance(rule, list) else "lunch?"):
        lab.people.say(text)

    messages = await lab.arrivals()

    assert [message.text for message in messages] == ["The DEPLOY of 9 failed", "please roll back"]
    assert {message.conversation[0].matched_by for message in messages} == {"engaged"}


async def test_a_rule_takes_up_neither_what_is_said_to_others_nor_commands(lab: Lab) -> None:
    lab.configured(channels={"C1": {"engage": ["deploy", "stop"]}})
    lab.people.say("<@U2> how did the deploy go?")
    lab.people.say("stop")

    assert [(message.text, message.act) for message in await lab.arrivals()] == [("stop", Act.SAY)]


async def test_a_rule_reads_an_alert_that_is_all_attachment(lab: Lab) -> None:
    lab.configured(channels={"C1": {"engage": ["failed"]}}, allow_bots={"B9"})
    lab.people.say("", bot_id="B9", attachments=[{"text": "The build failed"}])

    assert [message.text for message in await lab.arrivals()] == ["The build failed"]


async def test_only_the_listed_channels_are_served_and_direct_messages(lab: Lab) -> None:
    lab.configured(only_channels={"C2"})
    lab.people.say("<@UBOT> hi")
    lab.people.say("hi", channel="D1")

    assert [message.addressed for message in await lab.arrivals()] == ["direct"]


async def test_our_own_messages_are_nothing(lab: Lab) -> None:
    lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    await lab.adapter.send(lab.answer("hello"))

    assert await declined(lab) == []


async def test_a_mention_in_a_channel_shared_by_two_installations_is_one_message(lab: Lab) -> None:
    lab.deliveries.shared = True
    event = {"type": "app_mention", "user": "U1", "text": "<@UBOT> hi", "ts": "1.2", "channel": "C1"}
    lab.deliveries.event(event, team="T1")
    lab.deliveries.event(event, team="T2")

    assert len(await lab.arrivals()) == 1


async def test_an_edit_counts_only_when_words_change(lab: Lab) -> None:
    ts = lab.people.say("<@UBOT> one")
    lab.people.unfurl(ts)
    lab.people.edit(ts, "<@UBOT> two")

    said, edited = await lab.arrivals()

    assert (edited.act, edited.text, edited.message_key) == (Act.EDIT, "two", said.message_key)


async def test_an_edit_that_adds_a_mention_is_a_question(lab: Lab) -> None:
    ts = lab.people.say("what is up?")
    lab.people.edit(ts, "<@UBOT> what is up?")

    assert [message.act for message in await lab.arrivals()] == [Act.SAY, Act.EDIT]


async def test_a_deleted_question_is_told_with_the_key_it_came_with(lab: Lab) -> None:
    ts = lab.people.say("<@UBOT> one")
    lab.people.delete(ts)

    said, gone = await lab.arrivals()

    assert (gone.act, gone.message_key, gone.conversation) == (Act.DELETE, said.message_key, said.conversation)


@pytest.mark.parametrize(
    ("words", "act"),
    [("stop", Act.STOP), ("Mute.", Act.MUTE), ("unmute", Act.UNMUTE), ("reset", Act.RESET), ("stop it", Act.SAY)],
)
async def test_some_words_do_something_when_they_are_all_that_is_said(lab: Lab, words: str, act: Act) -> None:
    lab.people.say(f"<@UBOT> {words}")

    assert (await lab.arrivals())[0].act is act


async def test_the_native_stop_button_stops_the_thread(lab: Lab) -> None:
    root = lab.people.say("<@UBOT> long one")
    lab.people.stop(root)

    said, stop = await lab.arrivals()

    assert (stop.act, stop.conversation) == (Act.STOP, said.conversation)


async def test_thumbs_on_an_answer_are_feedback_and_other_reactions_nothing(lab: Lab) -> None:
    lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    remote_id = await lab.adapter.send(lab.answer("hello"))
    ts = remote_id.rpartition(":")[2]
    for reaction in ("+1::skin-tone-3", "eyes"):
        lab.people.react(ts, reaction)

    _, rated = await lab.arrivals()

    assert (rated.act, rated.metadata) == (Act.RATE, {"remote_id": remote_id, "value": "1"})
    assert rated.conversation[0].value == remote_id


async def test_thumbs_on_the_answer_to_a_command_in_a_shared_channel_name_that_answer(lab: Lab) -> None:
    lab.deliveries.shared = True
    await lab.people.command("hi")
    remote_id = await lab.adapter.send(lab.answer("hello"))
    lab.people.react(remote_id.rpartition(":")[2], "+1")

    _, *rated = await lab.arrivals()

    assert len({one.message_key for one in rated}) == len(rated) == 2
    assert remote_id in [one.metadata["remote_id"] for one in rated]
    assert all(remote_id in {candidate.value for candidate in one.conversation} for one in rated)


async def test_the_stop_sign_on_the_question_stops_it(lab: Lab) -> None:
    ts = lab.people.say("<@UBOT> hi")
    lab.people.react(ts, "octagonal_sign")

    said, stop = await lab.arrivals()

    assert stop.act is Act.STOP
    assert said.conversation[0] in [candidate for candidate in stop.conversation if candidate.matched_by == "thread"]


async def test_a_slash_command_may_contain_the_word_payload(lab: Lab) -> None:
    assert await lab.people.command("explain this payload=1 & more") == 200

    (message,) = lab.got
    assert (message.text, message.author.id) == ("explain this payload=1 & more", "U1")
    assert json.loads(lab.replies[-1]) == {"response_type": "in_channel"}


async def test_an_empty_slash_command_is_told_how_to_be_used(lab: Lab) -> None:
    assert await lab.people.command("") == 200

    assert "after /agent" in json.loads(lab.replies[-1])["text"]
    assert lab.got == []


async def test_replies_below_the_answer_to_a_slash_command_find_its_conversation(lab: Lab) -> None:
    await lab.people.command("hi")
    remote_id = await lab.adapter.send(lab.answer("hello"))
    lab.people.say("<@UBOT> and more", thread_ts=remote_id.rpartition(":")[2])

    assert (await lab.arrivals())[-1].conversation[0].value == remote_id


async def test_the_message_shortcut_brings_the_message_as_material(lab: Lab) -> None:
    ts = lab.people.say("the build is red", user="U2")
    assert await lab.people.ask_about(ts) == 200

    (message,) = lab.got
    assert (message.quoted, message.author.id, message.conversation[0].value) == (
        "the build is red",
        "U1",
        f"A1:T1:C1:{ts}",
    )


async def test_the_message_shortcut_brings_what_came_with_the_message_too(lab: Lab) -> None:
    file = lab.people.file("a.png", b"png", "image/png")
    ts = lab.people.say("see this", files=[file], attachments=[{"text": "The build failed"}])
    await lab.people.ask_about(ts)

    message = lab.got[-1]
    assert message.quoted == "see this\n\nThe build failed"
    assert [ref.name for ref in message.files] == ["a.png"]


async def test_a_handshake_is_answered_and_not_stored(lab: Lab) -> None:
    lab.deliveries.body(b'{"type":"url_verification","challenge":"abc"}')
    await lab.deliveries.pump()

    assert (lab.replies, lab.got) == ([b'{"challenge": "abc"}'], [])


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"app_rate_limited","team_id":"T1","minute_rate_limited":1}',
        b'{"type":"event_callback","event_id":"E","event":{"type":"something_new"}}',
        b'{"type":"something_new"}',
        urlencode({"payload": '{"type":"view_closed"}'}).encode(),
        urlencode({"payload": '{"type":"block_actions","user":{"id":"U1"},"actions":[{"value":"x"}]}'}).encode(),
        b"ssl_check=1",
    ],
)
async def test_what_is_unknown_is_acknowledged(lab: Lab, body: bytes) -> None:
    assert await lab.post(lab.deliveries.headers(body, JSON), body) == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b"payload=%7B",
        b"a=1",
        b'{"type":"event_callback"}',
        b"",
        b'{"type":"event_callback","event_id":"E","event":{"type":"message"}}',
        b"{" * 100_000,
    ],
)
async def test_signed_nonsense_is_malformed(lab: Lab, body: bytes) -> None:
    if body:
        with pytest.raises(Malformed):
            await lab.adapter.receive(lab.envelope(lab.deliveries.headers(body, JSON), body))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-slack-signature": "v0=00"},
        {"x-slack-request-timestamp": "soon"},
        {"x-slack-signature": "v0=é"},
        {"x-slack-request-timestamp": "1"},
    ],
)
async def test_what_is_not_signed_is_refused(lab: Lab, headers: dict[str, str]) -> None:
    body = b'{"type":"url_verification","challenge":"abc"}'
    good = lab.deliveries.headers(body, JSON) if headers else {}

    with pytest.raises(Unverified):
        await lab.adapter.receive(lab.envelope({**good, **headers}, body))


async def test_an_old_request_is_refused(lab: Lab) -> None:
    body = b'{"type":"url_verification","challenge":"abc"}'
    headers = lab.deliveries.headers(body, JSON)
    lab.clock.advance(301)

    with pytest.raises(Unverified):
        await lab.adapter.receive(lab.envelope(headers, body))


async def test_a_body_above_the_cap_is_too_large(lab: Lab) -> None:
    body = b" " * ((1 << 20) + 1)

    with pytest.raises(TooLarge):
        await lab.adapter.receive(lab.envelope(lab.deliveries.headers(body, JSON), body))


NAMES = ["type", "event", "user", "text", "ts", "channel", "subtype", "message", "files", "item", "blocks", "elements"]
NAMES += ["attachments", "bot_id", "authorizations", "previous_message", "actions", "event_id", "thread_ts", "edited"]


async def test_what_no_database_takes_is_marked_in_a_text(lab: Lab) -> None:
    lab.people.say("<@UBOT> half \ud83d, whole \U0001f600, none \0.")

    assert (await lab.arrivals())[0].text == "half \ufffd, whole \U0001f600, none \ufffd."


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event=JSONS,
    kind=st.sampled_from(["message", "app_mention", "reaction_added", "agent_session_stopped"]),
    subtype=st.sampled_from([None, "message_changed", "message_deleted", "file_share"]),
)
async def test_no_shape_of_event_escapes_as_anything_but_a_refusal(
    lab: Lab, event: object, kind: str, subtype: str | None
) -> None:
    inner = {**(event if isinstance(event, dict) else {"text": event}), "type": kind, "subtype": subtype}
    for body in (
        json.dumps({"type": "event_callback", "event_id": "E", "event": inner, "authorizations": event}).encode(),
        urlencode({"payload": json.dumps({"type": "block_actions", "actions": [inner], "user": event})}).encode(),
    ):
        headers = lab.deliveries.headers(body, FORM)
        try:
            await lab.adapter.receive(lab.envelope(headers, body))
        except ReceiveError:
            continue


@pytest.mark.parametrize("again", [0, 60, 300])
async def test_a_redelivery_after_any_time_is_the_same_message(lab: Lab, again: int) -> None:
    lab.people.say("<@UBOT> hi")
    lab.deliveries.again()
    for out in lab.deliveries.waiting[2:]:
        out.due += again
    await lab.deliveries.pump()
    lab.clock.advance(again)

    assert len(await lab.arrivals()) == 1


async def test_a_refused_first_delivery_is_taken_when_it_comes_again(lab: Lab) -> None:
    lab.refuse = 6
    lab.people.say("<@UBOT> hi")
    for seconds in (0, 60, 300):
        lab.clock.advance(seconds)
        await lab.deliveries.pump()

    assert len(lab.got) == 1
    assert lab.deliveries.lost == []


async def test_what_is_asked_for_in_a_channel_that_is_not_served_is_declined(lab: Lab) -> None:
    ts = lab.people.say("material")
    lab.deliveries.waiting.clear()
    unserving: tuple[dict[str, Any], ...] = ({"only_channels": {"C2"}}, {"channels": {"C1": {"allow": False}}})
    for options in unserving:
        lab.configured(**options)
        await lab.people.ask_about(ts)
        await lab.people.command("hello")

    assert lab.got == []


async def test_a_command_is_served_in_a_direct_message_whatever_is_listed(lab: Lab) -> None:
    lab.configured(only_channels={"C2"})
    await lab.people.command("hello", channel="D1")

    assert [message.text for message in lab.got] == ["hello"]


async def test_a_deleted_message_that_a_rule_took_up_is_told(lab: Lab) -> None:
    lab.configured(channels={"C1": {"engage": ["deploy"]}})
    lab.people.delete(lab.people.say("the deploy failed"))
    lab.people.delete(lab.people.say("lunch?"))

    said, gone = await lab.arrivals()

    assert (gone.act, gone.message_key) == (Act.DELETE, said.message_key)


async def test_a_thread_of_a_shared_channel_goes_on_after_a_shortcut_and_a_command(lab: Lab) -> None:
    lab.deliveries.shared = True
    root = lab.people.say("material")
    await lab.people.ask_about(root)
    await lab.people.command("hello")
    answer = await lab.adapter.send(lab.answer("hi"))
    shortcut = lab.got[-2]
    lab.people.say("<@UBOT> and now?", thread_ts=root)
    lab.people.say("<@UBOT> and here?", thread_ts=answer.rpartition(":")[2])

    *_, first, second = await lab.arrivals()

    assert shortcut.conversation[-1].value in {candidate.value for candidate in first.conversation}
    assert answer in {candidate.value for candidate in second.conversation}


async def test_an_organisation_at_the_other_end_of_a_shared_channel_is_not_ours(lab: Lab) -> None:
    grant = {"enterprise_id": None, "team_id": "T1", "user_id": "UBOT", "is_bot": True, "is_enterprise_install": False}
    said = {"type": "message", "text": "<@UBOT> hi", "ts": "1.2", "channel": "C1", "user": "U9", "user_team": "E9"}
    envelope = {
        "type": "event_callback",
        "team_id": "T9",
        "enterprise_id": "E9",
        "api_app_id": "A1",
        "event_id": "Ev1",
        "is_ext_shared_channel": True,
        "authorizations": [grant],
        "event": said,
    }

    (message,) = lab.adapter.ingress.payload(envelope).messages or ()

    assert message.declined == "external_user"
    assert (load(message.return_address).team, load(message.return_address).enterprise) == ("T1", "")


async def test_colleagues_of_another_workspace_of_the_organisation_are_heard_once(lab: Lab) -> None:
    said = {"type": "message", "text": "<@UBOT> hi", "ts": "1.2", "channel": "C1", "user": "U1", "user_team": "T2"}
    lab.deliveries.enterprise = "E1"
    lab.deliveries.event(said, team="T1")
    lab.deliveries.event({**said, "type": "app_mention"}, team="T2")

    (message,) = await lab.arrivals()

    assert (message.declined, message.message_key) == (None, "E1:C1:1.2")
    assert "another organisation" not in (await lab.adapter.enrich(message)).context
