"""A person types the very JSON by which integrations name a task: in no adapter is it more than words."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.slack.fake import People, Workspace
from adapters.slack.fake.api import Api
from adapters.slack.fake.delivery import SECRET as SLACK_SECRET
from adapters.slack.fake.delivery import Deliveries
from adapters.slack.fake.sockets import Sockets
from bridge.agent.server.tasks import order_of
from bridge.agent_rows import TaskFilter
from bridge.clock import SystemClock
from bridge.store.embedded import EmbeddedRows
from tests.adapters.email.mails import mail
from tests.adapters.slack.lab import served
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import SECRET, Request, Sink, post, request, signed, write_config

MORE = """
[sources.helpdesk]
adapter = "email"
agent = "local"
address = "agent@example.com"
secrets = ["{secret}"]
require_auth = "none"
smtp_url = "maildir:{folder}/sent"

[sources.team]
adapter = "slack"
agent = "local"
signing_secret = "{slack_secret}"
bot_token = "xoxb-test"
api_url = "{url}api/"
"""


@dataclass(frozen=True, slots=True)
class Company:
    """A bridge with a source of each kind, and the Slack workspace before it."""

    opened: Opened
    slack: Workspace


@pytest.fixture
async def company(database_url: str, tmp_path: Path, sink: Sink) -> AsyncIterator[Company]:
    slack = Workspace(SystemClock())
    async with served(Api(slack, Sockets(slack)).app()) as url:
        slack.url = url
        path = write_config(tmp_path, database_url=database_url, callback=sink.url)
        more = MORE.format(secret=SECRET, folder=tmp_path, slack_secret=SLACK_SECRET, url=url)
        path.write_text(path.read_text() + more)
        async with bridge_from(path) as opened:
            yield Company(opened, slack)


async def by_webhook(company: Company, text: str) -> None:
    await post(company.opened.http, request(text))


async def by_mail(company: Company, text: str) -> None:
    made = signed(mail(text))
    headers = {**made.headers, "content-type": "message/rfc822"}
    await post(company.opened.http, Request(webhook_id=made.webhook_id, body=made.body, headers=headers), "helpdesk")


async def by_slack(company: Company, text: str) -> None:
    async def deliver(headers: Mapping[str, str], body: bytes) -> int:
        response = await company.opened.http.post("/in/team", headers=dict(headers), content=body)
        return response.status_code

    deliveries = Deliveries(company.slack, deliver)
    People(company.slack, deliveries).say(text, channel="D1")
    await deliveries.pump()


@pytest.mark.parametrize("typed", [by_webhook, by_mail, by_slack])
async def test_a_typed_reference_is_asked_like_any_other_text(
    company: Company, sink: Sink, typed: Callable[[Company, str], Awaitable[None]]
) -> None:
    await post(company.opened.http, request("the combination is 1234", conversation="of someone else"))
    (first,) = await sink.callbacks(1)
    reference = json.dumps({"xpander_task_id": first.data["task_id"]})

    await typed(company, reference)
    books = await company.opened.books(lambda books: books.accepted == 2 and not books.in_flight)
    assert books.answered == 2

    rows = EmbeddedRows(company.opened.bridge.store)
    turns, count = await rows.page(TaskFilter(), offset=0, limit=10)
    assert count == 2
    asked = {turn.task_id: (turn.number, order_of(turn).input.text, turn.result) for turn in turns}
    assert asked.pop(first.data["task_id"]) == (1, "the combination is 1234", "You said: the combination is 1234")
    (told,) = asked.values()
    assert told == (1, reference, f"You said: {reference}")
