"""The relay command's outcomes, as each mail server reads them."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from adapters.email.ingresses.raw import RawIngress
from adapters.email.relay import Mail, MailServer, Outcome, relay
from bridge.model import Envelope
from tests.adapters.email.mails import SECRET, mail
from tests.adapters.email.rooms import open_email
from tests.adapters.kits import FakeClock
from tests.signed_requests import NOW

MAIL = Mail(raw=mail(), mail_from="jane@example.org", recipients=["agent@example.com", "help@example.com"])


async def relayed(
    wire: Callable[[httpx2.Request], httpx2.Response], server: MailServer = "postfix", **changes: Any
) -> Outcome:
    values = {"url": "http://127.0.0.1:8080/in/helpdesk", "secret": SECRET} | changes
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(wire)) as http:
        return await relay(MAIL, server=server, http=http, now=NOW, **values)


def answering(status: int) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda _: httpx2.Response(status)


def refusing(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("connection refused", request=request)


@pytest.mark.parametrize("server", ["postfix", "exim", "qmail"])
async def test_a_stored_mail_is_done(server: MailServer) -> None:
    assert await relayed(answering(202), server) == Outcome(0, "2.0.0 stored")


@pytest.mark.parametrize(("server", "code"), [("postfix", 75), ("exim", 75), ("qmail", 111)])
@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "4.7.0"), (403, "4.7.0"), (400, "4.3.0"), (404, "4.3.0"), (413, "4.3.0"), (500, "4.3.0"), (503, "4.3.0")],
)
async def test_every_refusal_is_temporary(server: MailServer, code: int, status: int, said: str) -> None:
    outcome = await relayed(answering(status), server)
    assert outcome.code == code
    assert outcome.line.startswith(f"{said} ")


async def test_an_unreachable_bridge_is_temporary() -> None:
    assert (await relayed(refusing)).line.startswith("4.4.2 ")


@pytest.mark.parametrize("changes", [{"secret": "short"}, {"url": "nonsense"}, {"url": "http://[::1"}])
async def test_a_slip_in_the_configuration_is_temporary_too(changes: dict[str, Any]) -> None:
    assert (await relayed(refusing, **changes)).code == 75


async def test_what_it_posts_is_what_the_ingress_takes() -> None:
    seen: list[httpx2.Request] = []

    def wire(request: httpx2.Request) -> httpx2.Response:
        request.read()
        seen.append(request)
        return httpx2.Response(202)

    await relayed(wire)
    headers = tuple((name.decode().lower(), value.decode()) for name, value in seen[0].headers.raw)
    envelope = Envelope(
        source="helpdesk",
        method="POST",
        path="/in/helpdesk",
        query="",
        headers=headers,
        body=seen[0].content,
        received_at=NOW,
    )
    async with open_email() as (adapter, _):
        assert (await adapter.receive(envelope)).messages is None
        (message,) = await adapter.read(envelope)
    assert message.text == "Hello agent"


async def test_an_envelope_that_is_not_ascii_reaches_the_ingress() -> None:
    seen: list[httpx2.Request] = []

    def wire(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(202)

    given = Mail(raw=mail(), mail_from="j\u00e4ne@example.org", recipients=["a@example.com", "\u00e4@example.com"])
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(wire)) as http:
        url = "http://127.0.0.1:8080/in/helpdesk"
        assert (await relay(given, url=url, secret=SECRET, server="postfix", http=http, now=NOW)).code == 0
    envelope = Envelope(
        source="helpdesk",
        method="POST",
        path="/in/helpdesk",
        query=seen[0].url.query.decode(),
        headers=tuple((name.decode().lower(), value.decode()) for name, value in seen[0].headers.raw),
        body=seen[0].content,
        received_at=NOW,
    )
    ingress = RawIngress([SECRET], FakeClock())
    await ingress.verify(envelope)
    arrived = await ingress.open(envelope)
    assert (arrived.mail_from, arrived.recipients) == (given.mail_from, tuple(given.recipients))
