"""Round trips through a real Postfix, a real Dovecot and swaks: new mail, answer, reply, one conversation.

Run by `make test-mail`, as root, because mail servers change users.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.email import build
from adapters.email.adapter import Email
from adapters.email.connecting import ConnectedEmail
from bridge.clock import SystemClock
from bridge.errors import ReceiveError
from bridge.model import Envelope, Received
from bridge.store.database import Store
from bridge.store.ingest import Known
from tests.adapters.email.mails import SECRET
from tests.adapters.email.rooms import Room, parsed, settings
from tests.adapters.email.servers import Servers, open_servers
from tests.adapters.kits import open_kit

pytestmark = [
    pytest.mark.skipif(os.environ.get("MAIL_SERVERS") != "1", reason="run by `make test-mail`"),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
INDEX = "AQHbOeXx5kq2Zk1pQ0y1m3o4p5q6r7s8t9u0"
REPLIES = ["token, lower-cased", "references only", "thread index only"]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with open_servers(SECRET) as running:
        yield running


class Desk(Room):
    """A room whose mails arrive by themselves; the last message is kept with what it became."""

    def __init__(self, adapter: Email, store: Store) -> None:
        super().__init__(adapter, store)
        self.known: list[Known] = []

    async def accept(self, received: Received, envelope: Envelope) -> None:
        known = await self.take(envelope, received)
        self.known.append(known)
        if known.admission == "admitted":
            (message,) = await self.adapter.read(envelope)
            await self.answer(known, message)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.05)  # other processes are at work; nothing tells us when they are done
    raise TimeoutError


@asynccontextmanager
async def at_desk(servers: Servers, store: Store, ingress: str, domain: str) -> AsyncIterator[Desk]:
    """The bridge's side: an adapter that gets mail by `ingress` and sends by the real Postfix."""
    ports = servers.ports
    own = settings(
        address=f"agent@{domain}",
        ingress=ingress,
        smtp_url=f"smtp://127.0.0.1:{ports.smtp}",
        listen=f"127.0.0.1:{ports.lmtp}",
        imap_url=f"imap://agent:secret@127.0.0.1:{ports.imap}/INBOX",
        imap_idle=15,  # Dovecot loses a notice now and then where much else runs: then the next look finds the mail
    )
    async with open_kit("helpdesk", max_body=25 << 20) as kit:
        adapter = build(own, replace(kit, clock=SystemClock()))
        assert isinstance(adapter, Email)
        desk = Desk(adapter, store)
        running = asyncio.create_task(
            adapter.run(desk.accept) if isinstance(adapter, ConnectedEmail) else serve(desk, ports.http)
        )
        try:
            yield desk
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def serve(desk: Desk, port: int) -> None:
    """The raw ingress over HTTP, for the relay command in Postfix's pipe."""

    async def take(request: Request) -> Response:
        envelope = Envelope(
            source="helpdesk",
            method="POST",
            path=request.url.path,
            query="",
            headers=tuple((name.decode(), value.decode("latin-1")) for name, value in request.headers.raw),
            body=await request.body(),
            received_at=SystemClock().now(),
        )
        try:
            await desk.accept(await desk.adapter.receive(envelope), envelope)
        except ReceiveError as error:
            return Response(str(error), status_code=error.status)
        return Response(status_code=202)

    app = Starlette(routes=[Route("/in/pipe", take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]  # the test runner keeps its own
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving


def new_id() -> str:
    return f"<{os.urandom(6).hex()}@example.org>"


def latest(servers: Servers) -> EmailMessage:
    found = parsed(servers.mails()[-1])
    assert isinstance(found, EmailMessage)
    return found


def reply_headers(answer: EmailMessage, how: str) -> tuple[str, dict[str, str]]:
    """Where a client sends its reply, and what of the thread it keeps."""
    own = str(answer["From"].addresses[0].addr_spec)
    if how == "token, lower-cased":
        return str(answer["Reply-To"].addresses[0].addr_spec).lower(), {}
    if how == "references only":
        ids = " ".join([*re.findall(r"<[^>]+>", str(answer["References"])), str(answer["Message-ID"])])
        return own, {"References": ids, "In_Reply_To": str(answer["Message-ID"])}
    return own, {"Thread_Index": str(answer["Thread-Index"])}


@pytest.mark.parametrize("how", REPLIES)
@pytest.mark.parametrize(
    ("ingress", "domain"),
    [
        ("lmtp", "lmtp.example.com"),
        ("raw", "pipe.example.com"),
        ("imap", "imap.example.com"),
        ("lmtp", "rewrite.example.com"),
    ],
    ids=["lmtp", "pipe", "imap-idle", "relay-replaces-our-id"],
)
async def test_mail_answer_and_reply_are_one_conversation(
    servers: Servers, store: Store, ingress: str, domain: str, how: str
) -> None:
    servers.empty_agents_mailbox()
    async with at_desk(servers, store, ingress, domain) as desk:
        before = len(servers.mails())
        servers.send(f"agent@{domain}", "Can you help?", Thread_Index=INDEX, Message_ID=new_id())
        await until(lambda: len(servers.mails()) == before + 1)
        answer = latest(servers)
        assert ("0100-replaced" in str(answer["Message-ID"])) is (domain == "rewrite.example.com")
        to, headers = reply_headers(answer, how)
        servers.send(to, "Thanks, one more thing.", Message_ID=new_id(), **headers)
        await until(lambda: len(servers.mails()) == before + 2)
    first, second = desk.known[-2:]
    assert first.admission == second.admission == "admitted"
    assert first.conversation_id == second.conversation_id


async def test_a_real_bounce_comes_back_to_the_source_and_is_not_answered(servers: Servers, store: Store) -> None:
    async with at_desk(servers, store, "lmtp", "lmtp.example.com") as desk:
        servers.send("agent@lmtp.example.com", "hello", From="jane@gone.example.org", Message_ID=new_id())
        await until(lambda: len(desk.known) > 1)  # the mail, and Postfix's report that nobody takes the answer
        assert [known.admission for known in desk.known] == ["admitted", "declined:bounce"]
        servers.send("agent@lmtp.example.com", "hello", Message_ID=new_id())
        await until(lambda: len(desk.known) > 2)
        assert desk.known[-1].admission == "admitted"


async def test_while_the_bridge_cannot_store_postfix_keeps_the_mail(servers: Servers, store: Store) -> None:
    servers.send("agent@lmtp.example.com", "kept", Message_ID="<kept@example.org>")
    log = Path(servers.home / "mail.log")
    await until(lambda: "status=deferred" in log.read_text())
    async with at_desk(servers, store, "lmtp", "lmtp.example.com") as desk:
        await until(lambda: desk.known)
        assert desk.known[0].admission == "admitted"
