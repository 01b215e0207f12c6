"""What is added to a message in the worker: people, the thread so far, files."""

import asyncio
from collections.abc import Callable

import pytest

from adapters.slack.fake import Fault
from bridge.errors import ConfigError, Permanent, Retryable
from bridge.model import InboundMessage
from tests.adapters.kits import DictFiles
from tests.adapters.slack.lab import Lab


async def enriched(lab: Lab) -> InboundMessage:
    return await lab.adapter.enrich(await admitted(lab))


async def admitted(lab: Lab) -> InboundMessage:
    return await lab.adapter.admit((await lab.arrivals())[-1])


async def test_the_author_is_named_and_asked_for_once(lab: Lab) -> None:
    lab.people.say("<@UBOT> hi, ask <@U2>")
    first = await enriched(lab)
    lab.people.say("<@UBOT> hi again")
    await enriched(lab)

    assert (first.author.name, first.author.email, first.author.timezone) == ("Ada", "ada@example.com", "Europe/London")
    assert first.text == "hi, ask @Grace"
    assert lab.slack.calls == {"users.info": 2, "auth.test": 1}


async def test_the_context_says_where(lab: Lab) -> None:
    ts = lab.people.say("<@UBOT> hi")
    message = await enriched(lab)

    assert message.context == f"Slack channel C1.\nPermalink: https://acme.slack.com/archives/C1/p{ts.replace('.', '')}"


async def test_a_failing_look_up_leaves_ids(lab: Lab) -> None:
    lab.configured(allow_guests=True, allow_external=True)
    lab.slack.faults.add("users.info", Fault("limit"), Fault("status"))
    lab.people.say("<@UBOT> ask <@U2>")
    message = await enriched(lab)

    assert (message.author.name, message.text) == (None, "ask @U2")


async def test_guests_are_heard_only_where_allowed(lab: Lab) -> None:
    lab.slack.users["U1"]["is_restricted"] = True
    lab.people.say("<@UBOT> hi")
    assert (await enriched(lab)).declined == "guest"

    lab.configured(allow_guests=True)
    assert (await enriched(lab)).declined is None


@pytest.mark.parametrize(
    ("fault", "after"),
    [(Fault("limit", after=7), 7), (Fault("status"), None), (Fault("error", error="missing_scope"), None)],
    ids=["limit", "status", "scope"],
)
async def test_who_may_be_a_guest_waits_until_slack_says_who_it_is(lab: Lab, fault: Fault, after: float | None) -> None:
    lab.slack.users["U1"]["is_restricted"] = True
    lab.slack.faults.add("users.info", fault)
    lab.people.say("<@UBOT> hi")

    with pytest.raises(Retryable, match="whether U1 is a guest") as failed:
        await admitted(lab)
    assert failed.value.after == after
    assert (await admitted(lab)).declined == "guest"


@pytest.mark.parametrize(
    ("home", "shared", "enterprise", "declined"),
    [
        ({"team_id": "T9"}, True, "", "external_user"),
        ({"team_id": "T9"}, False, "", "external_user"),  # a command does not tell that its channel is shared
        ({"team_id": "E9"}, True, "E1", "external_user"),
        ({"team_id": "T9", "enterprise_user": {"enterprise_id": "E9"}}, True, "E1", "external_user"),
        ({"team_id": "T2", "enterprise_user": {"enterprise_id": "E1"}}, True, "E1", None),
        ({"team_id": "T2"}, False, "E1", None),
        ({"team_id": "E1"}, True, "E1", None),
        ({"team_id": "T1"}, True, "", None),
        ({"team_id": None}, True, "", None),
    ],
)
async def test_an_event_need_not_tell_that_its_author_is_of_another_organisation(
    lab: Lab,
    home: dict[str, object],
    shared: bool,  # noqa: FBT001 - a table
    enterprise: str,
    declined: str | None,
) -> None:
    """A mention comes twice, and one of the copies may name no team of its author."""
    lab.deliveries.shared, lab.deliveries.enterprise = shared, enterprise
    lab.slack.users["U1"].update(home)
    lab.people.say("<@UBOT> hi")
    assert (await admitted(lab)).declined == declined

    lab.configured(allow_external=True)
    assert (await admitted(lab)).declined is None


async def put_off(lab: Lab, minutes: int) -> None:
    for _ in range(minutes):
        with pytest.raises(Retryable):
            await admitted(lab)
        lab.clock.advance(60)


async def test_one_of_whom_slack_alone_tells_nothing_is_given_up_after_ten_minutes(lab: Lab) -> None:
    lab.people.say("<@UBOT> hi")
    lab.slack.faults.add("users.info", *[Fault("status")] * 11)
    await put_off(lab, 10)
    assert lab.slack.calls["auth.test"] == 0

    with pytest.raises(Permanent, match="of U1 not"):
        await admitted(lab)


@pytest.mark.parametrize("fault", [Fault("status"), Fault("limit"), Fault("error", error="missing_scope")])
async def test_while_slack_tells_of_nobody_all_wait(lab: Lab, fault: Fault) -> None:
    lab.people.say("<@UBOT> hi")
    lab.slack.faults.add("users.info", *[fault] * 40)
    await put_off(lab, 20)


async def test_whom_slack_tells_of_in_between_is_waited_for_anew(lab: Lab) -> None:
    lab.people.say("<@UBOT> hi")
    lab.slack.faults.add("users.info", Fault("status"))
    await put_off(lab, 1)
    assert (await admitted(lab)).declined is None
    lab.clock.advance(3601)
    lab.slack.faults.add("users.info", Fault("status"))
    await put_off(lab, 1)


async def test_who_is_known_to_nobody_is_not_heard_where_guests_are_not(lab: Lab) -> None:
    lab.people.say("<@UBOT> hi", user="U404")
    assert (await admitted(lab)).declined == "unknown_author"

    lab.configured(allow_guests=True, allow_external=True)
    assert (await admitted(lab)).declined is None


async def test_a_bot_that_is_no_user_is_nobodys_guest(lab: Lab) -> None:
    lab.configured(allow_bots={"B9"})
    lab.people.say("<@UBOT> hi", user="", bot_id="B9", username="pager")

    assert (await admitted(lab)).declined is None
    assert lab.slack.calls["users.info"] == 0


async def test_many_who_wait_for_one_look_up_all_hear_that_it_failed(lab: Lab) -> None:
    lab.slack.faults.add("users.info", Fault("status"))
    lab.people.say("<@UBOT> hi")
    (message,) = await lab.arrivals()

    told = await asyncio.gather(*(lab.adapter.admit(message) for _ in range(3)), return_exceptions=True)

    assert [type(one) for one in told] == [Retryable] * 3
    assert lab.slack.calls["users.info"] == 1


@pytest.mark.parametrize(
    ("said", "declined"),
    [("we need help", None), ("lunch?", "not_engaged"), ("odd help", "not_engaged"), ("<@UBOT> lunch?", None)],
)
async def test_a_function_may_be_asked_whether_a_message_concerns_the_agent(
    lab: Lab, said: str, declined: str | None
) -> None:
    lab.configured(channels={"C1": {"ask": "tests.adapters.slack.rules:concerns_us"}})
    lab.people.say(said)
    (message,) = await lab.arrivals()

    assert (await lab.adapter.admit(message)).declined == declined


@pytest.mark.parametrize(
    "target", ["tests.adapters.slack.rules:missing", "nowhere:x", "tests.adapters.slack.rules:NUMBER"]
)
async def test_a_function_that_cannot_be_asked_is_a_mistake_of_the_configuration(lab: Lab, target: str) -> None:
    with pytest.raises(ConfigError, match="ask = "):
        lab.configured(channels={"C1": {"ask": target}})


async def test_a_first_mention_in_mid_thread_brings_what_was_said(lab: Lab) -> None:
    root = lab.people.say("the build is red")
    lab.people.say("since <@U1> merged", thread_ts=root, user="U2")
    lab.people.say("alert: 500s", thread_ts=root, user="", bot_id="B9", username="pager")
    lab.people.say("<@UBOT> why?", thread_ts=root)

    message = await enriched(lab)

    assert message.text == "why?"
    assert message.quoted == "Ada: the build is red\nGrace: since @Ada merged\npager: alert: 500s"


async def test_what_could_not_be_read_at_the_first_mention_comes_with_the_next(lab: Lab) -> None:
    root = lab.people.say("the build is red")
    lab.slack.faults.add("conversations.replies", Fault("limit"))
    for words in ("why?", "and now?"):
        lab.people.say(f"<@UBOT> {words}", thread_ts=root)
    first, second = [await lab.adapter.enrich(message) for message in await lab.arrivals()]

    assert first.quoted == ""
    assert second.quoted.startswith("Ada: the build is red")


async def test_a_later_mention_brings_what_was_said_since(lab: Lab) -> None:
    root = lab.people.say("<@UBOT> one")
    await lab.arrivals()
    await lab.adapter.send(lab.answer("answer one"))
    lab.people.say("<@U1> a word between us", thread_ts=root, user="U2")
    lab.people.say("<@UBOT> two", thread_ts=root)

    assert (await enriched(lab)).quoted == "Grace: @Ada a word between us"


async def test_fifteen_mentions_in_a_burst_read_the_thread_once(lab: Lab) -> None:
    root = lab.people.say("the build is red")
    for number in range(15):
        lab.people.say(f"<@UBOT> {number}", thread_ts=root)
    for message in await lab.arrivals():
        await lab.adapter.enrich(message)

    assert [message.text for message in lab.got] == [str(number) for number in range(15)]
    assert lab.slack.calls["conversations.replies"] == 1


async def test_history_is_bounded_and_the_newest_is_kept(lab: Lab) -> None:
    lab.configured(history_chars=60)
    root = lab.people.say("x" * 50)
    lab.people.say("y" * 50, thread_ts=root)
    lab.people.say("<@UBOT> why?", thread_ts=root)

    assert (await enriched(lab)).quoted == "[what was said before is left out]\nAda: " + "y" * 50


@pytest.mark.parametrize(
    "gaps",
    [lambda _: 60.0, lambda n: 86_400.0 if n == 5 else 1.0, lambda n: 3600.0 if n < 1200 else 0.01],
    ids=["even", "long ago", "a burst at the end"],
)
async def test_of_a_very_long_thread_the_end_is_read(lab: Lab, gaps: Callable[[int], float]) -> None:
    root = lab.people.say("the build is red")
    for number in range(1500):
        lab.clock.advance(gaps(number))
        lab.slack.add("C1", {"user": "U2", "text": f"number {number}"}, thread_ts=root)
    lab.people.say("<@UBOT> why?", thread_ts=root)

    quoted = (await enriched(lab)).quoted

    assert quoted.splitlines() == [f"Grace: number {number}" for number in range(1450, 1500)]
    assert lab.slack.calls["conversations.replies"] <= 14


async def test_of_a_very_long_thread_only_what_was_said_since_the_bot_spoke_is_read(lab: Lab) -> None:
    root = lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    for number in range(1500):
        lab.clock.advance(60)
        lab.slack.add("C1", {"user": "U2", "text": f"number {number}"}, thread_ts=root)
        if number == 1497:
            await lab.adapter.send(lab.answer("hello"))
    lab.people.say("<@UBOT> why?", thread_ts=root)

    assert (await enriched(lab)).quoted.splitlines() == ["Grace: number 1498", "Grace: number 1499"]


async def test_saying_nothing_asks_the_agent_what_it_can_do_and_offers_prompts(lab: Lab) -> None:
    lab.configured(suggested_prompts=("Summarise this channel",))
    lab.people.say("<@UBOT>")

    message = await enriched(lab)

    assert message.text == "Hello! What can you do?"
    assert lab.slack.prompts[0]["prompts"] == [{"title": "Summarise this channel", "message": "Summarise this channel"}]


async def test_a_file_is_fetched_with_the_token_and_stored(lab: Lab) -> None:
    file = lab.people.file("a.png", b"png", "image/png")
    lab.people.say("<@UBOT> look", files=[file])

    (ref,) = (await enriched(lab)).files

    assert (await lab.kit.files.load(ref), ref.name, ref.media_type) == (b"png", "a.png", "image/png")


async def test_a_login_page_is_no_file(lab: Lab) -> None:
    lab.slack.tokens["xoxb-test"].scopes -= {"files:read"}
    file = lab.people.file("a.png", b"png", "image/png")
    lab.people.say("<@UBOT> look", files=[file])

    message = await enriched(lab)

    assert message.files == ()
    assert "lacks the scope files:read" in message.context


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://evil.example/a.png", "evil.example"),
        ("https://slack.com.evil.example/a.png", "evil.example"),
        ("http://files.slack.com/a.png", "files.slack.com"),
        ("https://user@[::1/a.png", "not stored at Slack"),
    ],
)
async def test_the_token_goes_to_slack_only(lab: Lab, url: str, why: str) -> None:
    item = {"id": "F9", "name": "a.png", "url_private": url}
    lab.people.say("look", channel="D1", subtype="file_share")
    lab.slack.publish(
        {
            **lab.slack.thread("D1", max(ts for _, ts in lab.slack.messages))[0],
            "channel": "D1",
            "ts": "9.9",
            "files": [item],
        }
    )

    message = await enriched(lab)

    assert message.files == ()
    assert why in message.context


async def test_a_file_above_the_cap_stays_at_slack(lab: Lab) -> None:
    lab.configured(max_file=2)
    file = lab.people.file("a.png", b"png", "image/png")
    lab.people.say("<@UBOT> look", files=[file])

    assert "larger than 2 bytes" in (await enriched(lab)).context


async def test_a_file_above_what_the_bridge_takes_is_told_of(lab: Lab) -> None:
    assert isinstance(lab.kit.files, DictFiles)
    lab.kit.files.max_bytes = 2
    file = lab.people.file("a.png", b"png", "image/png")
    lab.people.say("<@UBOT> look", files=[file])

    message = await enriched(lab)
    assert (message.text, message.files) == ("look", ())
    assert "Not attached: a.png is larger than the bridge takes." in message.context


async def test_a_file_of_another_organisation_is_asked_for_first(lab: Lab) -> None:
    file = lab.people.file("a.png", b"png", "image/png")
    item = {"id": file.id, "name": "a.png", "file_access": "check_file_info"}
    lab.slack.publish({"type": "message", "user": "U1", "text": "x", "ts": "9.9", "channel": "D1", "files": [item]})

    assert [ref.size for ref in (await enriched(lab)).files] == [3]
