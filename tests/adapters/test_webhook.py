"""The default body of a webhook in each of its types, and which message a request is."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from adapters.webhook import Settings, WebhookAdapter, build
from bridge.adapter import Handshakes, Kit, Reads, Scheduled
from bridge.errors import Malformed, ReceiveError, TooLarge, Unsupported, Unverified
from bridge.model import Candidate, Envelope, InboundMessage, Received
from tests.adapters.contract import is_whole, with_header
from tests.adapters.kits import DictFiles, open_kit
from tests.signed_requests import DEFAULT_SECRET, NOW, ROWS, SIGNING, VERIFYING, envelope, signed

FORM = "application/x-www-form-urlencoded"
CALLBACK = "https://orders.example.com/agent-replies"


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with open_kit(max_body=100_000) as made:
        yield made


def adapter(kit: Kit, **settings: Any) -> WebhookAdapter:
    return build(Settings.model_validate({"secrets": [SIGNING["standard"]], **settings}), kit)


def bearer(body: bytes, *headers: tuple[str, str], content_type: str = "application/json", query: str = "") -> Envelope:
    made = envelope(body, ("authorization", "Bearer correct horse battery staple"), *headers, content_type=content_type)
    return replace(made, query=query)


async def received(kit: Kit, request: Envelope, **settings: Any) -> Received:
    given = {"scheme": "bearer", "secrets": ["correct horse battery staple"], **settings}
    return await adapter(kit, **given).receive(request)


async def said(kit: Kit, body: object, **settings: Any) -> InboundMessage:
    return one(await received(kit, bearer(json.dumps(body).encode()), **settings))


def one(result: Received) -> InboundMessage:
    assert result.messages is not None
    (message,) = result.messages
    assert is_whole(message)
    return message


def test_it_reads_later_knows_its_methods_and_its_schedule(kit: Kit) -> None:
    made = adapter(kit)
    assert isinstance(made, Reads)
    assert isinstance(made, Handshakes)
    assert isinstance(made, Scheduled)
    assert made.methods == {"POST"}
    assert sum(made.schedule) == timedelta(days=3, hours=3, minutes=35, seconds=5).total_seconds()


async def test_every_field_of_the_default_body_arrives(kit: Kit) -> None:
    message = await said(
        kit,
        {
            "text": "hello",
            "conversation": "order-7",
            "files": ["https://example.com/a%20b.pdf?x=1", {"url": "http://example.com/c", "name": "c.txt"}],
            "user": {"id": 5, "email": "ada@example.com", "first_name": "Ada", "timezone": "Europe/London"},
            "title": "Order 7",
            "instructions_override": "Be brief.",
            "additional_context": "A customer of ours.",
            "expected_output": "a sentence",
            "output_format": "json",
            "output_schema": {"type": "object"},
            "think_mode": "harder",
            "disable_attachment_injection": True,
            "agent_version": "3",
            "metadata": {"order": 7},
            "unknown": "left alone",
        },
    )
    assert (message.text, message.conversation) == ("hello", (Candidate(value="order-7", matched_by="conversation"),))
    assert [(ref.url, ref.name) for ref in message.files] == [
        ("https://example.com/a%20b.pdf?x=1", "a b.pdf"),
        ("http://example.com/c", "c.txt"),
    ]
    assert (message.author.id, message.author.email, message.author.first_name) == ("5", "ada@example.com", "Ada")
    assert message.author.trust == "unverified"
    assert message.options.output_schema == {"type": "object"}
    assert message.options.disable_attachment_injection is True
    assert (message.options.think_mode, message.options.agent_version) == ("harder", "3")
    assert message.metadata == {"order": 7}


async def test_a_form_says_the_same(kit: Kit) -> None:
    body = (
        b"prompt=hello+world&conversation=order-7&user_id=5&user_email=ada%40example.com&title=&"
        b"disable_attachment_injection=true&metadata=%7B%22order%22%3A7%7D&files=https%3A%2F%2Fa.example%2Fx&"
        b"files=https%3A%2F%2Fa.example%2Fy"
    )
    message = one(await received(kit, bearer(body, content_type=FORM + "; charset=utf-8")))
    assert (message.text, message.author.id, message.author.email) == ("hello world", "5", "ada@example.com")
    assert message.options.title is None
    assert message.options.disable_attachment_injection is True
    assert message.metadata == {"order": 7}
    assert [ref.name for ref in message.files] == ["x", "y"]


async def test_a_byte_order_mark_before_json_is_passed_over(kit: Kit) -> None:
    assert one(await received(kit, bearer(b'\xef\xbb\xbf{"text":"hello"}'))).text == "hello"


async def test_plain_text_is_the_text(kit: Kit) -> None:
    message = one(await received(kit, bearer("grüße".encode(), content_type="text/plain")))
    assert message.text == "grüße"


MULTIPART = (
    b'--cut\r\nContent-Disposition: form-data; name="text"\r\n\r\nread this\r\n'
    b'--cut\r\nContent-Disposition: form-data; name="conversation"\r\n\r\norder-7\r\n'
    b'--cut\r\nContent-Disposition: form-data; name="x"; filename="..\\..\\etc/r\xc3\xa9sum\xc3\xa9.pdf"\r\n'
    b"Content-Type: application/pdf\r\n\r\n%PDF \x00\r\n--cutting\r\n--cut--\r\n"
)


async def test_a_form_with_files_is_acknowledged_first_and_read_later(kit: Kit) -> None:
    request = bearer(MULTIPART, ("idempotency-key", "k1"), content_type="multipart/form-data; boundary=cut")
    first = await received(kit, request)
    assert (first.messages, first.delivery_key) == (None, "k1")
    reader = adapter(kit, scheme="bearer", secrets=["correct horse battery staple"])
    stored = with_header(request, "authorization")  # credentials are dropped before an arrival is stored
    (message,) = await reader.read(stored)
    assert (message,) == tuple(await reader.read(stored))
    assert (message.text, message.message_key, message.conversation[0].value) == ("read this", "k1", "order-7")
    (ref,) = message.files
    assert (ref.name, ref.media_type) == ("résumé.pdf", "application/pdf")
    assert isinstance(kit.files, DictFiles)
    assert kit.files.contents[ref.url] == b"%PDF \x00\r\n--cutting"


async def test_a_form_of_fields_alone_is_read_at_once(kit: Kit) -> None:
    body = b'--cut\r\nContent-Disposition: form-data; name="text"\r\n\r\nhello\r\n--cut--'
    message = one(await received(kit, bearer(body, content_type='multipart/form-data; boundary="cut"')))
    assert message.text == "hello"


async def test_a_broken_form_with_files_is_kept_for_a_person(kit: Kit) -> None:
    request = bearer(MULTIPART[:-20], content_type="multipart/form-data; boundary=cut")
    (message,) = await adapter(kit, scheme="bearer", secrets=["correct horse battery staple"]).read(request)
    assert message.parked is not None
    assert "cut short" in message.parked


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b'{"text":NaN}', "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"text":' + b"1" * 5000 + b"}", "application/json"),
        (b"\xff=1", FORM),
        (b"a=%ff", FORM),
        (b"&".join([b"a=1"] * 1001), FORM),
        (b"metadata=%7B", FORM),
        (b"--cut", "multipart/form-data; boundary=cut"),
        (b"--cut\r\n\r\n\r\n--cut--", "multipart/form-data; boundary=cut"),
        (b"x", "multipart/form-data"),
    ],
)
async def test_what_cannot_be_read_is_malformed(kit: Kit, body: bytes, content_type: str) -> None:
    with pytest.raises(Malformed):
        await received(kit, bearer(body, content_type=content_type))


@pytest.mark.parametrize(
    ("body", "content_type"), [(b"{", "application/json"), (b"\x89PNG", "image/png"), (b"\xff=1", FORM)]
)
async def test_what_cannot_be_read_is_kept_where_that_is_wanted(kit: Kit, body: bytes, content_type: str) -> None:
    found = [await received(kit, bearer(body, content_type=content_type), malformed="park") for _ in range(2)]
    assert one(found[0]).parked
    assert one(found[0]).message_key == one(found[1]).message_key
    forged = replace(bearer(body, content_type=content_type), headers=(("content-type", content_type),))
    with pytest.raises(Unverified):
        await received(kit, forged, malformed="park")


async def test_other_types_and_encodings_are_unsupported(kit: Kit) -> None:
    with pytest.raises(Unsupported):
        await received(kit, bearer(b"<x/>", content_type="application/xml"))
    with pytest.raises(Unsupported):
        await received(kit, bearer(b"{}", ("content-encoding", "gzip")))
    with pytest.raises(TooLarge):
        await received(kit, bearer(b" " * 100_001))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "neither text nor a file"),
        ({"text": " "}, "neither text nor a file"),
        ({"command": "explode"}, "command is none of stop, mute, unmute, reset"),
        ({"decision": {"choice": "approve"}}, "decision lacks a decision_id"),
        ([], "no JSON object"),
        ("text", "no JSON object"),
        ({"text": ["a"]}, "text: "),
        ({"text": "x", "user": {"email": []}}, "user.email: "),
        ({"text": "x", "files": ["file:fil_1"]}, "only http and https"),
        ({"text": "x", "files": ["http://["]}, "cannot be read"),
        ({"text": "x", "files": {"x": {"filepath": "/etc/passwd"}}}, "files: "),
        ({"text": "x", "conversation": "k" * 513}, "conversation: longer"),
        ({"text": "x", "user_id": "k" * 256}, "user: an id or email longer"),
        ({"text": "x", "user": {"email": "k" * 256}}, "user: an id or email longer"),
        ({"text": "x", "metadata": {"a": "b" * 65_536}}, "metadata: longer"),
    ],
)
async def test_authentic_but_unusable_is_parked_with_the_reason(kit: Kit, body: object, reason: str) -> None:
    message = await said(kit, body)
    assert message.parked is not None
    assert reason in message.parked


async def test_json_that_is_declared_as_a_form_is_parked_with_what_to_mend(kit: Kit) -> None:
    message = one(await received(kit, bearer(b'{"text": "hello"}', content_type=FORM)))
    assert message.parked is not None
    assert "send Content-Type: application/json" in message.parked


async def test_numbers_beyond_json_and_bottomless_nesting_are_parked(kit: Kit) -> None:
    infinite = one(await received(kit, bearer(b'{"text":"x","metadata":{"a":1e999}}')))
    assert infinite.parked == "metadata: a number is too large"
    deep = one(await received(kit, bearer(b'{"text":"x","metadata":{"a":' + b"[" * 200 + b"]" * 200 + b"}}")))
    assert deep.parked is not None
    assert "nested" in deep.parked


async def test_what_no_database_takes_is_replaced(kit: Kit) -> None:
    message = one(await received(kit, bearer(b'{"text":"a\\u0000b\\ud800c\\ud83d\\ude00","metadata":{"\\u0000":1}}')))
    assert message.text == "a\ufffdb\ufffdc\U0001f600"
    assert list(message.metadata) == ["\ufffd"]


async def test_a_returned_conversation_id_and_a_task_id_must_be_known(kit: Kit) -> None:
    message = await said(kit, {"text": "x", "conversation": "cnv_1"})
    assert message.conversation == (
        Candidate(value="cnv_1", matched_by="conversation_id", kind="conversation_id", must_exist=True),
    )
    message = await said(kit, {"text": "x", "task_id": "t1", "conversation": "c"})
    task, key = message.conversation
    assert (task.kind, task.value, task.must_exist) == ("task_id", "t1", True)
    assert key == Candidate(value="c", matched_by="conversation")
    message = await said(kit, {"text": "x", "task_id": "t1"}, allow_foreign_task_id=True)
    assert not message.conversation[0].must_exist


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"conversation_id": "cnv_1"}, ("conversation_id", "cnv_1", True)),
        ({"conversation_id": "cnv_1", "conversation": "order-7"}, ("conversation_id", "cnv_1", True)),
        ({"conversation_id": "order-7"}, ("key", "order-7", False)),
        ({"conversation_id": "theirs", "conversation": "order-7"}, ("key", "order-7", False)),
    ],
)
async def test_a_conversation_id_that_is_handed_back_under_its_name_leads_there(
    kit: Kit, names: dict[str, str], found: tuple[str, str, bool]
) -> None:
    (candidate,) = (await said(kit, {"text": "x", **names})).conversation
    assert (candidate.kind, candidate.value, candidate.must_exist) == found


async def test_without_a_conversation_the_message_is_its_own(kit: Kit) -> None:
    message = await said(kit, {"prompt": "hello"})
    assert message.conversation == (Candidate(value=message.message_key, matched_by="message"),)


async def test_the_name_of_a_secret_is_who_spoke_where_nobody_else_is_named(kit: Kit) -> None:
    secrets = [{"value": "correct horse battery staple", "name": "orders"}]
    assert (await said(kit, {"text": "x"}, secrets=secrets)).author.id == "orders"
    assert (await said(kit, {"text": "x"})).author.id == "acme"


async def test_an_answer_is_owed_only_where_it_can_go(kit: Kit) -> None:
    assert (await said(kit, {"text": "x"})).return_address == ""
    secret = {"callback_secrets": [SIGNING["standard"]]}
    assert json.loads((await said(kit, {"text": "x"}, callback=CALLBACK, **secret)).return_address) == {
        "to": "callback"
    }


ALLOWED = {
    "callback": CALLBACK,
    "callback_allow": ["https://*.example.com/hooks/", "https://one.test:8443", "https://two.test:443"],
    "callback_secrets": [SIGNING["standard"]],
}


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example.com/hooks/1?x=2", "https://a.example.com:443/hooks/1", "https://one.test:8443/any",
        "https://one.test:8443", "https://one.test:8443?x=2", "https://two.test/any", "https://two.test",
    ],
)  # fmt: skip
async def test_a_payload_may_name_a_callback_inside_the_allow_list(kit: Kit, url: str) -> None:
    assert json.loads((await said(kit, {"text": "x", "callback": url}, **ALLOWED)).return_address) == {"url": url}


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hooks/1", "https://aexample.com/hooks/1", "https://a.example.com.evil.test/hooks/1",
        "https://a.example.com/other", "https://a.example.com/hooks/../other", "https://a.example.com/hooks/%2E%2e/x",
        "http://a.example.com/hooks/1", "https://a.example.com:444/hooks/1", "https://u:p@a.example.com/hooks/1",
        "https://evil.test\\@a.example.com/hooks/1", "https://evil.test/ .example.com/hooks/1", "file:///etc/passwd",
        "https://one.test/any", "https://one.test:443/any", "https://two.test:80/",
        "https://one.test:99999999/", "http://[", "", "\u20ac", "https://a.example.com\n/hooks/1",
    ],
)  # fmt: skip
async def test_any_other_callback_is_as_if_it_had_not_been_given(kit: Kit, url: str) -> None:
    message = await said(kit, {"text": "x", "callback": url}, **ALLOWED)
    assert json.loads(message.return_address) == {"to": "callback"}
    assert message.parked is None


async def test_an_idempotency_key_is_the_message_with_and_without_quotes(kit: Kit) -> None:
    for written in ("8e03978e", '"8e03978e"', ' "8e03978e" '):
        result = await received(kit, bearer(b'{"text":"x"}', ("idempotency-key", written)))
        assert (result.delivery_key, one(result).message_key) == ("8e03978e", "8e03978e")


@pytest.mark.parametrize("keys", [[""], ['""'], ["a", "b"], ["x" * 256], ["a\tb"], ["\xfc"]])
async def test_an_idempotency_key_that_is_none_is_malformed(kit: Kit, keys: list[str]) -> None:
    with pytest.raises(Malformed):
        await received(kit, bearer(b'{"text":"x"}', *[("idempotency-key", key) for key in keys]))


async def test_without_any_id_the_same_body_is_the_same_message(kit: Kit) -> None:
    first = await received(kit, bearer(b'{"text":"x"}'))
    assert first == await received(kit, bearer(b'{"text":"x"}'))
    assert first.delivery_key != (await received(kit, bearer(b'{"text":"y"}'))).delivery_key
    assert first.delivery_key != (await received(kit, bearer(b'{"text":"x"}', query="a=1"))).delivery_key


@pytest.mark.parametrize("preset", ROWS)
async def test_a_request_that_is_made_again_is_the_same_message_although_it_is_signed_anew(
    kit: Kit, preset: str
) -> None:
    """A sender that heard no answer tries again, and signs with the time of that try."""
    ids = [("webhook-id", "msg_1"), ("svix-id", "msg_1"), ("linear-delivery", "d")]  # Linear's body tells the time, too
    body = b'{"text":"x","prompt":"x","id":"m","event_id":"m","signature":{"token":"m"}}'
    keys = []
    for seconds in (0, 60):
        at = NOW + timedelta(seconds=seconds)
        made = adapter(kit, scheme=preset, secrets=[VERIFYING.get(preset, DEFAULT_SECRET)], challenge_token="t")
        keys.append((await made.receive(signed(preset, envelope(body, *ids, at=at), at))).delivery_key)
    assert keys[0] == keys[1]


async def test_who_signs_each_try_anew_may_still_say_the_same_under_another_key(kit: Kit) -> None:
    secrets = {"scheme": "zoom", "secrets": [DEFAULT_SECRET]}
    keys = set()
    for at, key in ((NOW, "k1"), (NOW + timedelta(seconds=60), "k2")):
        request = signed("zoom", envelope(b'{"text":"yes"}', ("idempotency-key", key), at=at), at)
        keys.add(one(await received(kit, request, **secrets)).message_key)
    assert len(keys) == 2


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=cut"])
async def test_what_no_signature_covers_makes_no_other_message_of_a_request(kit: Kit, content_type: str) -> None:
    """Whoever replays a captured request can change its query and what its body is declared as."""
    for body in (b'{"text":"the filename"}', MULTIPART):
        secrets = {"scheme": "github", "secrets": [DEFAULT_SECRET], "map": {"text": "x"}, "malformed": "park"}
        request = signed("github", envelope(body))
        replayed = replace(with_header(request, "content-type", content_type), query="again=1")
        keys = {(await received(kit, each, **secrets)).delivery_key for each in (request, replayed)}
        assert len(keys) == 1


async def test_a_file_of_a_form_above_what_the_bridge_takes_is_told_of(kit: Kit) -> None:
    assert isinstance(kit.files, DictFiles)
    kit.files.max_bytes = 0
    request = bearer(MULTIPART, content_type="multipart/form-data; boundary=cut")
    (message,) = await adapter(kit, scheme="bearer", secrets=[DEFAULT_SECRET]).read(request)
    assert (message.files, message.parked) == ((), None)
    assert "left out: it is too large" in message.context


async def test_a_sender_that_never_repeats_itself_may_say_the_same_twice(kit: Kit) -> None:
    keys = []
    for seconds in (0, 0, 1):
        request = replace(bearer(b'{"text":"yes"}'), received_at=NOW + timedelta(seconds=seconds))
        keys.append((await received(kit, request, identity=["arrival"])).delivery_key)
    assert keys[0] == keys[1] != keys[2]
    named = await received(kit, bearer(b'{"text":"yes"}', ("idempotency-key", "k")), identity=["arrival"])
    assert named.delivery_key == "k"


async def test_a_replay_with_another_delivery_id_is_the_same_message(kit: Kit) -> None:
    made = signed("github", envelope(b'{"text":"x"}', ("x-github-delivery", "d-1")))
    options = {"scheme": "github", "secrets": ["correct horse battery staple"]}
    first = await adapter(kit, **options).receive(made)
    replayed = await adapter(kit, **options).receive(with_header(made, "x-github-delivery", "d-2"))
    assert (first.delivery_key, replayed.delivery_key) == ("d-1", "d-2")
    assert one(first).message_key == one(replayed).message_key


async def test_an_id_that_is_signed_or_configured_is_the_message(kit: Kit) -> None:
    made = signed("standard", envelope(b'{"text":"x"}', ("webhook-id", "msg_9"), ("idempotency-key", "ignored")))
    result = await adapter(kit).receive(made)
    assert (result.delivery_key, one(result).message_key) == ("msg_9", "msg_9")
    made = signed("stripe", envelope(b'{"text":"x","id":"evt_1"}'))
    options: dict[str, Any] = {"secrets": ["correct horse battery staple"]}
    assert one(await adapter(kit, scheme="stripe", **options).receive(made)).message_key == "evt_1"
    made = signed("github", envelope(b'{"text":"x"}', ("x-acme", "a" * 300)))
    result = await adapter(kit, scheme="github", identity=["header:x-acme"], **options).receive(made)
    assert one(result).message_key.startswith("sha256:")
    assert one(result).message_key == result.delivery_key


async def test_a_sender_that_knows_only_200_gets_200(kit: Kit) -> None:
    result = await received(kit, bearer(b'{"text":"x"}'), ack_status=200)
    assert result.reply is not None
    assert (result.reply.status, result.reply.body) == (200, b"")
    assert one(result).text == "x"


@pytest.mark.parametrize("preset", ROWS)
async def test_every_preset_receives_what_it_verifies_and_nothing_else(kit: Kit, preset: str) -> None:
    token = {"challenge_token": "verify-me"} if preset == "meta" else {}
    made = adapter(kit, scheme=preset, secrets=[VERIFYING.get(preset, "correct horse battery staple")], **token)
    request = signed(preset, envelope(b'{"text":"hello","prompt":"hello"}'))
    assert one(await made.receive(request)).text == "hello"
    stripped = replace(request, headers=(("content-type", "application/json"),), body=b'{"text":"hello"}', query="")
    with pytest.raises(Unverified):
        await made.receive(stripped)


CHARACTERS = st.text(alphabet=st.characters(max_codepoint=255), max_size=40)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ROWS), st.data())
async def test_no_preset_answers_a_mutated_request_with_anything_but_a_refusal(
    preset: str, data: st.DataObject
) -> None:
    token = {"challenge_token": "verify-me"} if preset == "meta" else {}
    request = signed(preset)
    name, value = data.draw(st.sampled_from(request.headers))
    changed = with_header(request, name, *data.draw(st.lists(CHARACTERS | st.just(value), max_size=2)))
    changed = replace(changed, body=data.draw(st.just(request.body) | st.binary(max_size=40)))
    async with open_kit() as kit:
        made = adapter(kit, scheme=preset, secrets=[VERIFYING.get(preset, "correct horse battery staple")], **token)
        try:
            await made.receive(changed)
        except ReceiveError as error:
            event(f"{preset} {error.status}")
            if error.status not in {400, 401, 415}:
                raise


@pytest.mark.parametrize("oracle", [Webhook, SvixWebhook])
async def test_what_the_stock_libraries_sign_is_received(kit: Kit, oracle: Any) -> None:
    body = '{"text":"grüße"}'
    signature = oracle(SIGNING["standard"]).sign("msg_1", NOW, body)
    stamp = str(int(NOW.timestamp()))
    prefix = "svix" if oracle is SvixWebhook else "webhook"
    headers = {f"{prefix}-id": "msg_1", f"{prefix}-timestamp": stamp, f"{prefix}-signature": signature}
    scheme = "svix" if oracle is SvixWebhook else "standard"
    result = await adapter(kit, scheme=scheme).receive(envelope(body.encode(), *headers.items()))
    assert one(result).text == "grüße"


@pytest.mark.parametrize(("oracle", "scheme"), [(Webhook, "standard"), (SvixWebhook, "svix")])
def test_what_is_signed_here_the_stock_libraries_accept(oracle: Any, scheme: str) -> None:
    request = signed(scheme, now=datetime.now(UTC))
    oracle(SIGNING["standard"]).verify(request.body, dict(request.headers))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["text", "prompt", "conversation", "task_id", "files", "user", "user_id", "metadata", "callback"]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(
    st.dictionaries(NAMES, JSON, max_size=6).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
), st.sampled_from(["application/json", FORM, "text/plain", "multipart/form-data; boundary=cut", "\xff", "a/b; ;=",
                    "application/cloudevents+json", "application/cloudevents-batch+json"]))  # fmt: skip
async def test_no_authentic_body_causes_anything_but_a_whole_message_or_a_refusal(
    body: bytes, content_type: str
) -> None:
    async with open_kit() as kit:
        try:
            result = await received(kit, bearer(body, content_type=content_type), **ALLOWED)
        except ReceiveError:
            return
        for message in result.messages or ():
            assert is_whole(message)
            json.dumps(message.metadata, allow_nan=False).encode()
            for value in (message.message_key, message.author.id, message.conversation[0].value):
                assert "\0" not in value
                value.encode()
