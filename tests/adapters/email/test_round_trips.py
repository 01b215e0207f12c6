"""The whole bridge between mail servers: LMTP in, SMTP out, by whatever of the thread a client keeps; one answer each.

The same with a real Postfix, Dovecot and swaks is `make test-mail`.
"""

import asyncio
import re
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

from bridge.app import Bridge, running
from bridge.store import reader
from bridge.store.ledger import ledger
from bridge.world import load_settings
from tests.adapters.email.mails import mail
from tests.adapters.email.rooms import parsed
from tests.adapters.email.sinks import Sink, open_sink
from tests.adapters.email.test_listener import free_port
from tests.adapters.email.test_whole_bridge import PATIENCE_SECONDS, write_config

INDEX = "AQHbOeXx5kq2Zk1pQ0y1m3o4p5q6r7s8t9u0"
REPLACED = "<0100018f-replaced@eu-west-1.amazonses.com>"


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await true():  # noqa: ASYNC110 - other threads and rows do not tell when they change
            await asyncio.sleep(0.02)


@dataclass
class Post:
    """The mail servers on both sides of a bridge."""

    bridge: Bridge
    sink: Sink
    port: int

    async def is_listening(self) -> bool:
        """Whether the bridge takes mail already."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def hand_over(self, raw: bytes, recipient: str = "agent@example.com") -> None:
        """By LMTP, as a mail server does; it knows afterwards that the mail is stored."""
        await asyncio.to_thread(self._hand_over, raw, recipient)

    def _hand_over(self, raw: bytes, recipient: str) -> None:
        with smtplib.LMTP("127.0.0.1", self.port, local_hostname="mx.example.org") as server:
            assert server.sendmail("jane@example.org", recipient, raw) == {}

    async def answers(self, count: int) -> list[EmailMessage]:
        """As they went out, as soon as there are so many."""

        async def arrived() -> bool:
            return len(self.sink.mails) >= count

        await until(arrived)
        found = [parsed(each.content or b"") for each in self.sink.mails]  # type: ignore[arg-type]  # bytes, as asked for
        return [each for each in found if isinstance(each, EmailMessage)]

    async def settled(self) -> tuple[int, int]:
        """Accepted and answered, once nothing is in flight."""

        async def still() -> bool:
            return not (await self.bridge.store.read(ledger)).in_flight

        await until(still)
        books = await self.bridge.store.read(ledger)
        return books.accepted, books.answered


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    port = free_port()
    config = write_config(tmp_path)
    async with open_sink() as sink:
        text = config.read_text().replace(f"maildir:{tmp_path}/out", f"smtp://127.0.0.1:{sink.port}")
        config.write_text(f'{text}ingress = "lmtp"\nlisten = "127.0.0.1:{port}"\n')
        async with running(load_settings(config, {})) as bridge:
            post = Post(bridge, sink, port)
            await until(post.is_listening)
            yield post


def reply_to(answer: EmailMessage, how: str) -> tuple[str, dict[str, str]]:
    """Where a client sends the reply, and what of the thread it keeps."""
    references = re.findall(r"<[^>]+>", str(answer["References"]))
    own, token = "agent@example.com", str(answer["Reply-To"].addresses[0].addr_spec)
    ways: dict[str, tuple[str, dict[str, str]]] = {
        "the token": (token, {}),
        "the token, lower-cased": (token.lower(), {}),
        "the token, upper-cased": (token.upper(), {}),
        "references only": (own, {"References": " ".join([*references, str(answer["Message-ID"])])}),
        "our id replaced by the relay": (
            own,
            {"References": " ".join([*references, REPLACED]), "In_Reply_To": REPLACED},
        ),
        "thread index only": (own, {"Thread_Index": str(answer["Thread-Index"])}),
    }
    return ways[how]


@pytest.mark.parametrize(
    "how",
    [
        "the token",
        "the token, lower-cased",
        "the token, upper-cased",
        "references only",
        "our id replaced by the relay",
        "thread index only",
    ],
)
async def test_mail_answer_and_reply_are_one_task(post: Post, how: str) -> None:
    await post.hand_over(mail("My name is Jane.", Thread_Index=INDEX))
    (first,) = await post.answers(1)
    to, headers = reply_to(first, how)
    await post.hand_over(mail("What is my name?", To=to, Message_ID="<second@example.org>", **headers), to)
    second = (await post.answers(2))[1]
    assert "Jane" in second.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # it has one
    assert str(second["In-Reply-To"]) == "<second@example.org>"
    (conversation,) = await post.bridge.store.read(reader.conversation_list)
    assert conversation.turns == 2
    assert conversation.task_id


async def test_a_mail_without_an_id_that_comes_twice_is_answered_once(post: Post) -> None:
    raw = mail(Message_ID=None)
    await post.hand_over(raw)
    await post.hand_over(b"Received: from b by c; Sun, 22 Nov 2026 12:00:09 +0000\r\n" + raw)
    await post.answers(1)
    assert await post.settled() == (1, 1)
    assert len(post.sink.mails) == 1


async def test_one_mail_to_two_of_our_addresses_is_answered_once(post: Post) -> None:
    raw = mail(To="agent@example.com, agent+sales@example.com")
    await asyncio.gather(*(post.hand_over(raw, to) for to in ("agent@example.com", "agent+sales@example.com")))
    await post.answers(1)
    assert await post.settled() == (1, 1)
    assert len(post.sink.mails) == 1


async def test_an_answer_lost_after_data_is_sent_again_with_the_same_id(post: Post) -> None:
    post.sink.hang_up = True
    await post.hand_over(mail())
    await post.answers(1)
    post.sink.hang_up = False
    first, second = await post.answers(2)
    assert await post.settled() == (1, 1)
    assert str(first["Message-ID"]) == str(second["Message-ID"])
    assert len(post.sink.mails) == 2


MACHINES = {
    "out of office": mail("I am away.", Auto_Submitted="auto-replied", Message_ID="<1@example.org>"),
    "a subject alone": mail("Bin weg.", Subject="Automatische Antwort: Re: Frage", Message_ID="<2@example.org>"),
    "a bounce": mail("550 no such user", From="MAILER-DAEMON@example.org", Message_ID="<3@example.org>"),
    "a list": mail(List_Id="<list.example.org>", Message_ID="<4@example.org>"),
    "our own": mail(From="Agent <agent@example.com>", Message_ID="<5@example.org>"),
    "a newsletter": mail(Precedence="bulk", From="no-reply@example.org", Message_ID="<6@example.org>"),
}


async def test_no_machine_starts_a_turn(post: Post) -> None:
    for raw in MACHINES.values():
        await post.hand_over(raw)
    assert await post.settled() == (len(MACHINES), 0)
    assert (await post.bridge.store.read(ledger)).declined == len(MACHINES)
    assert all(found.turns == 0 for found in await post.bridge.store.read(reader.conversation_list))
    assert not post.sink.mails
