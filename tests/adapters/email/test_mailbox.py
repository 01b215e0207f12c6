"""A watched mailbox: every mail once, in order, whatever breaks in between; and logins by access token."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

import httpx2
import pytest

from adapters.email import Settings, build
from adapters.email.connecting import ConnectedEmail
from adapters.email.oauth import AccessTokens, OAuth
from bridge.errors import Retryable, StoreUnavailable
from bridge.model import Envelope, Received
from tests.adapters.email.imap_server import Box, open_box
from tests.adapters.email.mails import mail
from tests.adapters.email.rooms import settings
from tests.adapters.kits import DictVault, FakeClock, Wire, nobody_answers, open_kit


@dataclass
class Desk:
    """Stores what comes, as long as it can."""

    stored: list[bytes] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    fails_at: bytes = b"\0"

    async def accept(self, received: Received, envelope: Envelope) -> None:
        if self.fails_at in envelope.body:
            raise StoreUnavailable("the disk is full")
        if received.delivery_key not in self.keys:
            self.keys.append(received.delivery_key)
            self.stored.append(envelope.body)
            self.envelopes.append(envelope)


@asynccontextmanager
async def watching(
    box: Box, desk: Desk, *, vault: DictVault | None = None, wire: Wire = nobody_answers, **changes: object
) -> AsyncIterator[asyncio.Task[None]]:
    values = {
        "address": "agent@example.com",
        "ingress": "imap",
        "imap_url": f"imap://agent:secret@127.0.0.1:{box.port}/INBOX",
        "smtp_url": "maildir:unused",
        "imap_idle": 1,
    }
    async with open_kit("helpdesk", wire=wire) as kit:
        adapter = build(Settings.model_validate(values | changes), replace(kit, vault=vault or kit.vault))
        assert isinstance(adapter, ConnectedEmail)
        running = asyncio.create_task(adapter.run(desk.accept))
        try:
            yield running
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, Retryable, StoreUnavailable):
                await running


async def until(desk: Desk, count: int) -> None:
    async with asyncio.timeout(30):
        while len(desk.stored) < count:  # noqa: ASYNC110 - the other side is a thread
            await asyncio.sleep(0.01)


@pytest.fixture
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


async def test_mails_are_taken_in_order_and_each_once(box: Box) -> None:
    desk, vault = Desk(), DictVault()
    for number in range(3):
        box.put(mail(f"mail {number}"))
    async with watching(box, desk, vault=vault):
        await until(desk, 3)
        box.put(mail("mail 3"))
        await until(desk, 4)
    async with watching(box, desk, vault=vault):  # a new process, the same cursor
        box.put(mail("mail 4"))
        await until(desk, 5)
    assert [raw.split()[-1] for raw in desk.stored] == [b"0", b"1", b"2", b"3", b"4"]
    assert box.fetched == [1, 2, 3, 4, 5]


async def test_what_was_not_stored_is_taken_again(box: Box) -> None:
    desk, vault = Desk(fails_at=b"second"), DictVault()
    box.put(mail("first"))
    box.put(mail("second"))
    async with watching(box, desk, vault=vault) as running:
        with pytest.raises(StoreUnavailable):
            await running
    desk.fails_at = b"\0"
    async with watching(box, desk, vault=vault):
        await until(desk, 2)
    assert [raw.split()[-1] for raw in desk.stored] == [b"first", b"second"]


async def test_a_mailbox_that_was_made_anew_is_read_from_its_start(box: Box) -> None:
    desk, vault = Desk(), DictVault()
    box.put(mail("old"))
    async with watching(box, desk, vault=vault):
        await until(desk, 1)
    box.validity, box.mails, box.next_uid = 8, {}, 1
    box.put(mail("new"))
    async with watching(box, desk, vault=vault):
        await until(desk, 2)
    assert desk.stored[1].endswith(b"new")


async def test_a_mail_that_is_too_large_is_kept_for_a_person_and_stops_nothing(box: Box) -> None:
    desk = Desk()
    box.put(mail("x" * (1 << 20)))
    box.put(mail("small"))
    async with watching(box, desk):
        await until(desk, 2)
    async with open_kit("helpdesk") as kit:
        adapter = build(settings(ingress="imap", imap_url="imap://a:b@127.0.0.1"), kit)
        assert isinstance(adapter, ConnectedEmail)
        large, small = [(await adapter.read(envelope))[0] for envelope in desk.envelopes]
    assert (large.parked, small.parked) == ("malformed", None)
    assert "too large" in large.text


async def test_a_mail_that_the_server_does_not_give_out_is_noted_for_a_person_and_stops_nothing(box: Box) -> None:
    desk = Desk()
    for text in ("first", "second", "third"):
        box.put(mail(text))
    box.refused = {1: 2, 2: 1000, 3: 1}
    async with open_kit("helpdesk") as kit:
        url = f"imap://agent:secret@127.0.0.1:{box.port}/INBOX"
        adapter = build(settings(ingress="imap", imap_url=url, imap_idle=1), kit)
        assert isinstance(adapter, ConnectedEmail)
        for _ in range(2 + 4 + 1):  # twice it passes, once it lasts, once it passes
            with pytest.raises(Retryable, match="RFC-822"):
                await adapter.run(desk.accept)
        running = asyncio.create_task(adapter.run(desk.accept))
        await until(desk, 3)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        first, second, third = [(await adapter.read(envelope))[0] for envelope in desk.envelopes]
    assert (first.text, second.parked, third.text) == ("first", "malformed", "third")
    assert "RFC-822" in second.text


GOOGLE = {"provider": "google", "client_id": "id", "client_secret": "hush", "refresh_token": "refresh-1"}


@dataclass
class TokenServer:
    """Gives access tokens as Google and Microsoft do, and a new refresh token with each."""

    asked: list[dict[str, str]] = field(default_factory=list)
    status: int = 200

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append({name: values[0] for name, values in parse_qs(request.content.decode()).items()})
        number = len(self.asked)
        if self.status != 200:
            return httpx2.Response(self.status, json={"error": "invalid_grant"})
        given = {"access_token": f"access-{number}", "expires_in": 3600, "refresh_token": f"refresh-{number + 1}"}
        return httpx2.Response(200, json=given)


async def test_a_mailbox_opens_for_an_access_token(box: Box) -> None:
    box.tokens = ("access-1",)
    box.put(mail("hello"))
    desk, tokens = Desk(), TokenServer()
    url = f"imap://agent%40example.com@127.0.0.1:{box.port}/INBOX"
    async with watching(box, desk, wire=tokens, oauth=GOOGLE, imap_url=url):
        await until(desk, 1)
    assert box.seen == ["access-1"]


async def test_a_token_that_is_refused_is_replaced_at_the_next_try(box: Box) -> None:
    box.tokens = ("access-2",)
    box.put(mail("hello"))
    desk, tokens, vault = Desk(), TokenServer(), DictVault()
    url = f"imap://agent%40example.com@127.0.0.1:{box.port}/INBOX"
    async with watching(box, desk, vault=vault, wire=tokens, oauth=GOOGLE, imap_url=url) as running:
        with pytest.raises(Retryable):
            await running
    async with watching(box, desk, vault=vault, wire=tokens, oauth=GOOGLE, imap_url=url):
        await until(desk, 1)
    assert box.seen == ["access-1", "access-2"]
    assert [each["refresh_token"] for each in tokens.asked] == ["refresh-1", "refresh-2"]


async def test_a_token_serves_until_shortly_before_its_end() -> None:
    clock, server = FakeClock(), TokenServer()
    async with open_kit("helpdesk", wire=server, clock=clock) as kit:
        tokens = AccessTokens(OAuth.model_validate(GOOGLE), kit)
        assert [await tokens.current(), await tokens.current()] == ["access-1", "access-1"]
        clock.advance(3600 - 119)
        assert await tokens.current() == "access-2"


async def test_microsoft_gives_tokens_to_the_application_itself() -> None:
    server = TokenServer()
    own = {"provider": "microsoft", "client_id": "id", "client_secret": "hush", "tenant": "contoso.example"}
    async with open_kit("helpdesk", wire=server) as kit:
        oauth = OAuth.model_validate(own)
        assert await AccessTokens(oauth, kit).current() == "access-1"
    assert oauth.url == "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    assert server.asked[0]["grant_type"] == "client_credentials"
    assert server.asked[0]["scope"] == "https://outlook.office365.com/.default"


@pytest.mark.parametrize("status", [400, 401, 503])
async def test_mail_waits_while_no_token_can_be_had(status: int) -> None:
    async with open_kit("helpdesk", wire=TokenServer(status=status)) as kit:
        with pytest.raises(Retryable) as told:
            await AccessTokens(OAuth.model_validate(GOOGLE), kit).current()
    assert "hush" not in str(told.value)
    assert "refresh-1" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"provider": "google", "client_id": "id"}, "refresh_token"),
        ({"provider": "microsoft", "client_id": "id", "client_secret": "x"}, "tenant"),
        ({"provider": "yahoo", "client_id": "id"}, "provider"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OAuth.model_validate(changes)
