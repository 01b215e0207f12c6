"""Mail, answer, reply: the same conversation, by whatever of the thread survived the way."""

import re
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from adapters.email.memory import Memory
from bridge.store.database import Store
from tests.adapters.email.mails import mail, posted
from tests.adapters.email.rooms import Room, open_email, parsed

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
INDEX = "AQHbOeXx5kq2Zk1pQ0y1m3o4p5q6r7s8t9u0"


@pytest.fixture
async def room(store: Store, tmp_path: Path) -> AsyncIterator[Room]:
    async with open_email(smtp_url=f"maildir:{tmp_path}/out") as (adapter, _):
        yield Room(adapter, store)


def sent(tmp_path: Path) -> EmailMessage:
    (path, *_) = sorted((tmp_path / "out").iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found = parsed(path.read_bytes())
    assert isinstance(found, EmailMessage)
    return found


def token_address(answer: EmailMessage) -> str:
    return str(answer["Reply-To"].addresses[0].addr_spec)


async def test_a_reply_to_the_token_address_comes_back(room: Room, tmp_path: Path) -> None:
    first, _ = await room.exchange(mail())
    reply = mail(To=token_address(sent(tmp_path)), Message_ID="<second@example.org>")
    known = await room.take(posted(reply))
    assert known.conversation_id == first.conversation_id
    assert await room.matched_by(known) == "reply_token"


async def test_the_token_survives_a_client_that_changes_its_case(room: Room, tmp_path: Path) -> None:
    first, _ = await room.exchange(mail())
    address = token_address(sent(tmp_path))
    for number, changed in enumerate([address.upper(), address.title(), address.lower()]):
        known = await room.take(posted(mail(To=changed, Message_ID=f"<{number}@example.org>")))
        assert known.conversation_id == first.conversation_id


@pytest.mark.parametrize("field", ["Delivered-To", "X-Original-To", "X-Forwarded-To", "Envelope-To", "Cc"])
async def test_the_token_is_found_wherever_a_server_left_it(room: Room, tmp_path: Path, field: str) -> None:
    first, _ = await room.exchange(mail())
    reply = mail(Message_ID="<second@example.org>", **{field.replace("-", "_"): token_address(sent(tmp_path))})
    assert (await room.take(posted(reply))).conversation_id == first.conversation_id


async def test_the_envelope_recipient_counts_too(room: Room, tmp_path: Path) -> None:
    first, _ = await room.exchange(mail())
    envelope = posted(mail(Message_ID="<2@example.org>"), headers={"x-envelope-to": token_address(sent(tmp_path))})
    assert (await room.take(envelope)).conversation_id == first.conversation_id


async def test_references_alone_suffice(room: Room) -> None:
    first, answer_id = await room.exchange(mail())
    known = await room.take(posted(mail(References=f"<x@y.z> {answer_id}", Message_ID="<second@example.org>")))
    assert known.conversation_id == first.conversation_id
    assert await room.matched_by(known) == "references"


async def test_comma_joined_references_are_read(room: Room) -> None:
    first, answer_id = await room.exchange(mail())
    known = await room.take(posted(mail(References=f"<x@y.z>,{answer_id}", Message_ID="<second@example.org>")))
    assert known.conversation_id == first.conversation_id


async def test_a_second_mail_that_answers_the_first_joins_it(room: Room) -> None:
    first = await room.take(posted(mail()))
    known = await room.take(posted(mail(In_Reply_To="<first@example.org>", Message_ID="<second@example.org>")))
    assert known.conversation_id == first.conversation_id


async def test_a_relay_that_replaces_our_message_id_does_not_break_the_thread(room: Room, tmp_path: Path) -> None:
    first, answer_id = await room.exchange(mail())
    seen_by_client = [*re.findall(r"<[^>]+>", str(sent(tmp_path)["References"])), "<0100018@eu-west-1.amazonses.com>"]
    assert answer_id not in seen_by_client
    reply = mail(References=" ".join(seen_by_client), Message_ID="<second@example.org>", Subject="Re: A question")
    known = await room.take(posted(reply))
    assert known.conversation_id == first.conversation_id


async def test_the_token_in_references_suffices_alone(room: Room, tmp_path: Path) -> None:
    first, _ = await room.exchange(mail())
    last = re.findall(r"<[^>]+>", str(sent(tmp_path)["References"]))[-1]
    known = await room.take(posted(mail(References=last, Message_ID="<second@example.org>")))
    assert known.conversation_id == first.conversation_id
    assert await room.matched_by(known) == "reference_token"


async def test_outlooks_thread_index_suffices_alone(room: Room) -> None:
    first, _ = await room.exchange(mail(Thread_Index=INDEX))
    longer = INDEX[:-4] + "t9u0ABCDEFGH"
    known = await room.take(posted(mail(Thread_Index=longer, Message_ID="<second@example.org>")))
    assert known.conversation_id == first.conversation_id
    assert await room.matched_by(known) == "thread_index"


async def test_our_answer_carries_the_thread_index_on(room: Room, tmp_path: Path) -> None:
    await room.exchange(mail(Thread_Index=INDEX, Thread_Topic="A question"))
    assert str(sent(tmp_path)["Thread-Index"]).startswith(INDEX[:29])


async def test_a_stranger_with_the_token_starts_a_conversation_of_his_own(room: Room, tmp_path: Path) -> None:
    first, answer_id = await room.exchange(mail())
    passed = "mx.example.com; dmarc=pass header.from=evil.example"
    stolen = mail(
        From="mallory@evil.example",
        Authentication_Results=passed,
        To=token_address(sent(tmp_path)),
        References=f"<first@example.org> {answer_id}",
        Message_ID="<first@example.org>",
        Thread_Index=INDEX,
    )
    known = await room.take(posted(stolen))
    assert known.admission == "admitted"
    assert known.conversation_id != first.conversation_id


async def test_the_subject_alone_joins_nothing(room: Room) -> None:
    first = await room.take(posted(mail()))
    known = await room.take(posted(mail(Subject="Re: A question", Message_ID="<second@example.org>")))
    assert known.conversation_id != first.conversation_id


async def test_a_changed_subject_stays_in_its_thread(room: Room) -> None:
    first, answer_id = await room.exchange(mail())
    reply = mail(Subject="Something else now", References=answer_id, Message_ID="<second@example.org>")
    assert (await room.take(posted(reply))).conversation_id == first.conversation_id


async def test_a_bare_forward_starts_a_new_conversation(room: Room) -> None:
    first, answer_id = await room.exchange(mail())
    body = (
        "---------- Forwarded message ---------\nFrom: Bob <bob@b.c>\nDate: today\nSubject: x\n\n> Please handle this."
    )
    forward = mail(body, Subject="Fwd: A question", References=answer_id, Message_ID="<second@example.org>")
    assert (await room.take(posted(forward))).conversation_id != first.conversation_id


FORWARDED = "\n\n---------- Forwarded message ---------\nFrom: Bob <bob@b.c>\nDate: today\nSubject: x\n\nThe old text."
QUOTED = "\n\nOn Sun, 22 Nov 2026 at 12:00, Agent <agent@example.com> wrote:\n> The old text."


async def test_a_forward_with_a_note_starts_a_new_conversation_too(room: Room) -> None:
    first, answer_id = await room.exchange(mail())
    note = mail(
        "Please handle this." + FORWARDED, Subject="WG: A question", References=answer_id, Message_ID="<2@example.org>"
    )
    assert (await room.take(posted(note))).conversation_id != first.conversation_id


@pytest.mark.parametrize("subject", ["Re: Fwd: A question", "VS: A question", "I: A question"])
async def test_a_reply_is_no_forward_whatever_its_subject_began_with(room: Room, subject: str) -> None:
    first, answer_id = await room.exchange(mail(Subject="Fwd: A question"))
    reply = mail("Thanks." + QUOTED, Subject=subject, References=answer_id, Message_ID="<2@example.org>")
    assert (await room.take(posted(reply))).conversation_id == first.conversation_id


async def test_what_is_sent_to_a_reply_address_is_a_reply(room: Room, tmp_path: Path) -> None:
    first, _ = await room.exchange(mail())
    reply = mail(
        "See below." + QUOTED, Subject="Fwd: x", To=token_address(sent(tmp_path)), Message_ID="<2@example.org>"
    )
    assert (await room.take(posted(reply))).conversation_id == first.conversation_id


async def test_a_revoked_token_leads_nowhere(store: Store, tmp_path: Path) -> None:
    async with open_email(smtp_url=f"maildir:{tmp_path}/out") as (adapter, kit):
        room = Room(adapter, store)
        first, _ = await room.exchange(mail())
        address = token_address(sent(tmp_path))
        await Memory(kit.vault).forget(address.partition("+")[2].partition("@")[0])
        known = await room.take(posted(mail(To=address, Message_ID="<second@example.org>")))
        assert known.conversation_id != first.conversation_id


async def test_a_second_delivery_of_a_mail_is_the_same_message(room: Room) -> None:
    first = await room.take(posted(mail()))
    trace = b"Received: from a by b; Sun, 22 Nov 2026 12:00:09 +0000\r\n"
    assert (await room.take(posted(trace + mail()))).message_id == first.message_id


async def test_one_mail_to_two_of_our_addresses_is_one_message(room: Room) -> None:
    first = await room.take(posted(mail(To="agent@example.com, help@example.com"), query="to=agent@example.com"))
    second = await room.take(posted(mail(To="agent@example.com, help@example.com"), query="to=help@example.com"))
    assert first.message_id == second.message_id


async def test_without_a_message_id_the_content_tells_copies_apart(room: Room) -> None:
    one = await room.take(posted(mail("one", Message_ID=None)))
    again = await room.take(posted(b"Received: by mx\r\n" + mail("one", Message_ID=None)))
    other = await room.take(posted(mail("two", Message_ID=None)))
    assert one.message_id == again.message_id != other.message_id


async def test_a_forged_copy_does_not_take_the_place_of_the_genuine_mail(room: Room) -> None:
    forged = await room.take(posted(mail("pay mallory", Authentication_Results=None)))
    genuine = await room.take(posted(mail()))
    assert forged.admission == "parked:unauthenticated"
    assert genuine.admission == "admitted"
    assert forged.message_id != genuine.message_id


async def test_a_reply_to_ones_own_later_mail_joins_too_although_it_names_nothing_else(room: Room) -> None:
    first, answer_id = await room.exchange(mail())
    await room.take(posted(mail(References=answer_id, Message_ID="<second@example.org>")))
    third = await room.take(posted(mail(In_Reply_To="<second@example.org>", Message_ID="<third@example.org>")))
    fourth = await room.take(posted(mail(In_Reply_To="<third@example.org>", Message_ID="<fourth@example.org>")))
    assert third.conversation_id == fourth.conversation_id == first.conversation_id


async def test_a_stranger_who_answers_a_later_mail_joins_nothing(room: Room) -> None:
    first, answer_id = await room.exchange(mail())
    await room.take(posted(mail(References=answer_id, Message_ID="<second@example.org>")))
    passed = "mx.example.com; dmarc=pass header.from=evil.example"
    stranger = mail(
        From="mallory@evil.example",
        Authentication_Results=passed,
        In_Reply_To="<second@example.org>",
        Message_ID="<third@evil.example>",
    )
    assert (await room.take(posted(stranger))).conversation_id != first.conversation_id
