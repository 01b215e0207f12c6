"""Mail by LMTP and SMTP: the answer comes after the commit, one for each recipient."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.adapter import Connects
from bridge.errors import Malformed, StoreUnavailable
from bridge.model import Envelope, Received
from tests.adapters.email.mails import mail
from tests.adapters.email.rooms import open_email

TOKEN = "ABCDEFGH23456722abcdefgh23456722"


class Post:
    """Stores what arrives, or refuses where a test says so."""

    def __init__(self) -> None:
        self.stored: list[tuple[Received, Envelope]] = []
        self.refusals: dict[str, Exception] = {}

    async def accept(self, received: Received, envelope: Envelope) -> None:
        refusal = self.refusals.get(envelope.header("x-envelope-to") or "")
        if refusal is not None:
            raise refusal
        self.stored.append((received, envelope))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def listening(ingress: str, **settings: Any) -> AsyncIterator[tuple[Post, int, Any]]:
    post, port = Post(), free_port()
    async with open_email(ingress=ingress, listen=f"127.0.0.1:{port}", **settings) as (adapter, _):
        assert isinstance(adapter, Connects)
        running = asyncio.create_task(adapter.run(post.accept))
        try:
            yield post, port, adapter
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def talk(port: int, *lines: bytes, replies: int, last: int = 0) -> list[str]:
    """Say the lines one after the other, the last of which has `replies` answers; those, or the `last`."""
    for _ in range(200):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    await reader.readline()
    found: list[str] = []
    for line in lines:
        writer.write(line + b"\r\n")
        found.append(await _reply(reader))
    found += [await _reply(reader) for _ in range(replies - 1)]
    writer.close()
    await writer.wait_closed()
    return found[-(last or replies) :]


async def _reply(reader: asyncio.StreamReader) -> str:
    line = await asyncio.wait_for(reader.readline(), 10)
    while line[3:4] == b"-":
        line = await asyncio.wait_for(reader.readline(), 10)
    return line.decode().strip()


def conversation(hello: bytes, *recipients: str, raw: bytes = b"", sender: str = "jane@example.org") -> list[bytes]:
    rcpt = [f"RCPT TO:<{recipient}>".encode() for recipient in recipients]
    return [hello, f"MAIL FROM:<{sender}>".encode(), *rcpt, b"DATA", (raw or mail()) + b"\r\n."]


async def test_lmtp_answers_each_recipient() -> None:
    async with listening("lmtp", aliases=["b@example.com", "c@example.com"]) as (post, port, adapter):
        post.refusals = {"b@example.com": StoreUnavailable("no"), "c@example.com": Malformed("empty\r\n250 OK")}
        lines = conversation(b"LHLO mx", "agent@example.com", "b@example.com", "c@example.com")
        assert [reply[:3] for reply in await talk(port, *lines, replies=3)] == ["250", "451", "550"]
        ((received, envelope),) = post.stored
        assert received.messages is None
        (message,) = await adapter.read(envelope)
        assert message.text == "Hello agent"


async def test_smtp_answers_once_and_only_after_the_commit() -> None:
    async with listening("smtp") as (post, port, _):
        lines = conversation(b"EHLO mx", "agent@example.com")
        assert (await talk(port, *lines, replies=1))[0].startswith("250")
        assert len(post.stored) == 1
        post.refusals = {"agent@example.com": StoreUnavailable("no")}
        assert (await talk(port, *lines, replies=1))[0].startswith("451")


@pytest.mark.parametrize(("ingress", "hello"), [("lmtp", b"LHLO mx"), ("smtp", b"EHLO mx")])
async def test_mail_for_others_is_refused_before_it_is_sent(ingress: str, hello: bytes) -> None:
    ours = ["agent@example.com", "Agent+Token@EXAMPLE.com", "help@b\u00fccher.example", "agent", "HELP+token"]
    ours += [f"{before}{TOKEN}@Reply.example.com" for before in ("", "bounce-")]
    others = ["jane@example.org", "agent@example.com.example.org", "agent@evil-example.com", "agent@[127.0.0.1]"]
    others += ["jane@example.com", "agent@xn--bcher-kva.example", "agents@example.com", "jane", "+@example.com"]
    others += ["agent@reply.example.com", "x@reply.example.com", f"{TOKEN}@example.com"]
    names = {"aliases": ["help@xn--bcher-kva.example"], "reply_style": "catch_all", "reply_domain": "reply.example.com"}
    async with listening(ingress, **names) as (post, port, _):
        lines = [hello, b"MAIL FROM:<jane@example.org> SMTPUTF8"]
        lines += [f"RCPT TO:<{recipient}>".encode() for recipient in [*others, *ours]]
        replies = await talk(port, *lines, replies=1, last=len(lines) - 2)
        assert [reply[:9] for reply in replies] == ["550 5.1.1"] * len(others) + ["250 2.1.5"] * len(ours)
        assert not post.stored


async def test_whole_domains_are_taken_mail_for_where_a_mail_server_maps_addresses_to_us() -> None:
    async with listening("lmtp", recipients="domain", reply_domain="reply.example.com") as (_, port, _adapter):
        lines = [b"LHLO mx", b"MAIL FROM:<jane@example.org>"]
        named = ["jane@example.com", "x@reply.example.com", "jane", "jane@example.org"]
        lines += [f"RCPT TO:<{recipient}>".encode() for recipient in named]
        replies = await talk(port, *lines, replies=1, last=len(named))
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "550"]


@pytest.mark.parametrize("ingress", ["lmtp", "smtp"])
async def test_a_fault_of_ours_bounces_nobodys_mail(ingress: str) -> None:
    async with listening(ingress) as (post, port, _):
        post.refusals = {"agent@example.com": RuntimeError("nobody thought of this")}
        lines = conversation(b"LHLO mx" if ingress == "lmtp" else b"EHLO mx", "agent@example.com")
        assert (await talk(port, *lines, replies=1))[0].startswith("451")
        post.refusals = {}
        assert (await talk(port, *lines, replies=1))[0].startswith("250")


async def test_the_null_sender_is_handed_on() -> None:
    async with listening("lmtp") as (post, port, adapter):
        await talk(port, *conversation(b"LHLO mx", "agent@example.com", sender=""), replies=1)
        ((_, envelope),) = post.stored
        (message,) = await adapter.read(envelope)
    assert message.declined == "auto_reply"


async def test_eight_bits_arrive_as_they_were_sent() -> None:
    async with listening("lmtp") as (post, port, adapter):
        raw = mail("caf\u00e9 .")
        await talk(port, *conversation(b"LHLO mx", "agent@example.com", raw=raw), replies=1)
        ((_, envelope),) = post.stored
        (message,) = await adapter.read(envelope)
    assert message.text == "café ."


@pytest.mark.parametrize("ingress", ["lmtp", "smtp"])
async def test_no_line_is_too_long_for_a_mail_that_is_small_enough(ingress: str) -> None:
    async with listening(ingress) as (post, port, adapter):
        hello = b"LHLO mx" if ingress == "lmtp" else b"EHLO mx"
        lines = conversation(hello, "agent@example.com", raw=mail(f"begin{'x' * 70_000}end"))
        assert (await talk(port, *lines, replies=1))[0].startswith("250")
        ((_, envelope),) = post.stored
        (message,) = await adapter.read(envelope)
    assert message.text.startswith("beginx")
    assert message.text.endswith("xend")


async def test_the_port_is_free_again_after_the_end() -> None:
    async with listening("lmtp") as (_, port, _adapter):
        await talk(port, b"LHLO mx", replies=1)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
