"""Many workspaces: installing, tokens that expire, and the end of it."""

import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from adapters.slack.fake import Fault
from adapters.slack.fake.faults import Kind
from adapters.slack.fake.oauth import CLIENT_ID, CLIENT_SECRET, TOKEN_SECONDS
from adapters.slack.installations import ROTATE_BEFORE, Installation
from adapters.slack.pages import Pages
from adapters.slack.settings import Settings
from bridge.errors import Permanent, Retryable
from tests.adapters.slack.lab import Lab

MANY = {"bot_token": None, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@pytest.fixture
async def browser(lab: Lab) -> AsyncIterator[httpx2.AsyncClient]:
    lab.configured(**MANY)
    app = Starlette(routes=list(lab.adapter.routes()))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://hooks.example.com") as browser:
        yield browser


async def installed(lab: Lab, browser: httpx2.AsyncClient, *, where: str = "") -> httpx2.Response:
    """Click Install, click Allow, come back."""
    off = await browser.get(f"/install?team={where}")
    async with httpx2.AsyncClient() as slack:
        back = await slack.get(off.headers["location"])
    return await browser.get(back.headers["location"].removeprefix(lab.kit.public_url))


async def test_after_an_install_the_workspace_is_answered_with_its_own_token(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    page = await installed(lab, browser)
    ts = lab.people.say("<@UBOT> hi")
    await lab.arrivals()

    await lab.adapter.send(lab.answer("hello"))

    assert (page.status_code, "Acme" in page.text) == (200, True)
    assert lab.slack.answers("C1", ts) == ["hello"]


async def test_nothing_about_an_installation_shows_its_tokens(lab: Lab, browser: httpx2.AsyncClient) -> None:
    page = await installed(lab, browser)

    assert "xox" not in page.text
    assert "xox" not in repr(await lab.adapter.installations.expiring())


async def test_a_workspace_without_the_app_is_given_up_with_advice(lab: Lab, browser: httpx2.AsyncClient) -> None:
    assert browser is not None
    lab.people.say("<@UBOT> hi")
    await lab.arrivals()

    with pytest.raises(Permanent, match="not installed in workspace T1"):
        await lab.adapter.send(lab.answer("hello"))


@pytest.mark.parametrize("query", ["", "?state=x&code=y", "?error=access_denied"])
async def test_a_return_without_our_state_is_refused(lab: Lab, browser: httpx2.AsyncClient, query: str) -> None:
    page = await browser.get(f"/oauth_redirect{query}")

    assert page.status_code == 400
    assert lab.slack.calls == {}


async def test_a_state_of_another_browser_is_refused(lab: Lab, browser: httpx2.AsyncClient) -> None:
    off = await browser.get("/install")
    async with httpx2.AsyncClient() as slack:
        back = await slack.get(off.headers["location"])
    browser.cookies.clear()

    page = await browser.get(back.headers["location"].removeprefix(lab.kit.public_url))

    assert page.status_code == 400


async def test_a_code_slack_does_not_know_is_told_without_details(lab: Lab, browser: httpx2.AsyncClient) -> None:
    lab.slack.faults.add("oauth.v2.access", Fault("error", error="invalid_code"))
    page = await installed(lab, browser)

    assert (page.status_code, "invalid_code" in page.text) == (502, False)


@pytest.mark.parametrize("method", ["oauth.v2.access", "auth.test"])
@pytest.mark.parametrize("kind", ["cut_after", "error", "html", "limit", "status"])
async def test_whatever_goes_wrong_with_slack_there_is_a_page_and_nothing_is_kept(
    lab: Lab, browser: httpx2.AsyncClient, method: str, kind: Kind
) -> None:
    lab.slack.faults.add(method, Fault(kind, error="internal_error", after=1, status=200))
    page = await installed(lab, browser)

    assert (page.status_code, "Start again" in page.text) == (502, True)
    assert await lab.kit.vault.names() == []
    assert "Installed" in (await installed(lab, browser)).text


def test_without_another_address_people_are_sent_to_slack(lab: Lab) -> None:
    pages = Pages(
        Settings.model_validate({**MANY, "signing_secret": "s3cret-of-the-app"}), lab.kit, lab.adapter.installations
    )

    assert pages.settings.authorization_url == "https://slack.com/oauth/v2/authorize"


async def test_the_cookie_is_for_this_source_and_for_encrypted_ways_only(browser: httpx2.AsyncClient) -> None:
    cookie = (await browser.get("/install")).headers["set-cookie"]

    assert cookie.startswith("bridge-slack-team=")
    assert {"HttpOnly", "SameSite=lax", "Secure"} <= set(cookie.split("; "))


@pytest.mark.parametrize("team", ["T1%0d%0aSet-Cookie:%20a=b", "T1%26scope=admin", "%e2%9c%93"])
async def test_a_workspace_in_the_address_of_the_install_page_is_an_id_or_nothing(
    browser: httpx2.AsyncClient, team: str
) -> None:
    off = await browser.get(f"/install?team={team}")

    assert off.status_code == 302
    assert off.headers["location"].endswith("/oauth_redirect")


@pytest.mark.parametrize(
    "event", [{"type": "app_uninstalled"}, {"type": "tokens_revoked", "tokens": {"bot": ["UBOT"]}}]
)
async def test_an_uninstalled_app_has_no_token_any_more(
    lab: Lab, browser: httpx2.AsyncClient, event: dict[str, object]
) -> None:
    await installed(lab, browser)
    lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    await lab.adapter.send(lab.answer("hello"))
    lab.slack.publish(event)
    await lab.arrivals()

    with pytest.raises(Permanent, match="not installed"):
        await lab.adapter.send(lab.answer("hello"))


async def test_a_late_word_of_an_uninstallation_does_not_end_the_next_installation(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    await installed(lab, browser)
    lab.slack.publish({"type": "app_uninstalled"})
    lab.clock.advance(300)
    await installed(lab, browser)
    lab.people.say("<@UBOT> hi")
    await lab.arrivals()

    assert await lab.adapter.send(lab.answer("hello"))


async def test_a_revoked_personal_token_changes_nothing(lab: Lab, browser: httpx2.AsyncClient) -> None:
    await installed(lab, browser)
    lab.people.say("<@UBOT> hi")
    lab.slack.publish({"type": "tokens_revoked", "tokens": {"oauth": ["U1"]}})
    await lab.arrivals()

    assert await lab.adapter.send(lab.answer("hello"))


async def test_a_token_that_expired_over_night_is_rotated_before_the_answer(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    await installed(lab, browser)
    ts = lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    lab.clock.advance(TOKEN_SECONDS + 1)

    await lab.adapter.send(lab.answer("hello"))

    assert lab.slack.answers("C1", ts) == ["hello"]


async def test_a_token_that_slack_ended_before_its_time_is_renewed(lab: Lab, browser: httpx2.AsyncClient) -> None:
    await installed(lab, browser)
    ts = lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    for grant in lab.slack.tokens.values():
        grant.expires_at = lab.slack.now()

    await lab.adapter.send(lab.answer("hello"))

    assert lab.slack.answers("C1", ts) == ["hello"]


async def test_a_token_that_another_node_has_renewed_is_read_again(lab: Lab, browser: httpx2.AsyncClient) -> None:
    await installed(lab, browser)
    first = lab.adapter
    ts = lab.people.say("<@UBOT> hi")
    await lab.arrivals()
    await first.send(lab.answer("one"))
    second = lab.configured(**MANY).installations
    await second.rotate(await _stored(lab))
    for grant in list(lab.slack.tokens.values())[:-1]:
        grant.expires_at = lab.slack.now()

    await first.send(lab.answer("two"))

    assert lab.slack.answers("C1", ts) == ["one", "two"]
    assert lab.slack.calls["oauth.v2.access"] == 2


async def _stored(lab: Lab) -> Installation:
    value = await lab.kit.vault.get("installation//T1")
    assert value is not None
    return Installation(**json.loads(value[0]))


async def test_tokens_are_rotated_before_they_expire(lab: Lab, browser: httpx2.AsyncClient) -> None:
    await installed(lab, browser)
    assert await lab.adapter.installations.expiring() == []

    lab.clock.advance(TOKEN_SECONDS - ROTATE_BEFORE.total_seconds())
    (due,) = await lab.adapter.installations.expiring()
    await lab.adapter.installations.rotate(due)

    assert await lab.adapter.installations.expiring() == []


@pytest.mark.parametrize(
    "fault",
    [Fault("html"), Fault("gzip"), Fault("status"), Fault("status", status=200), Fault("cut_before"), Fault("limit")],
)
async def test_a_rotation_that_brings_nothing_is_made_again(
    lab: Lab, browser: httpx2.AsyncClient, fault: Fault
) -> None:
    await installed(lab, browser)
    lab.clock.advance(TOKEN_SECONDS)
    (due,) = await lab.adapter.installations.expiring()
    lab.slack.faults.add("oauth.v2.access", fault)

    with pytest.raises(Retryable):
        await lab.adapter.installations.rotate(due)

    await lab.adapter.installations.rotate(due)
    assert await lab.adapter.installations.expiring() == []


async def test_of_two_nodes_that_rotate_both_go_on_with_the_same_token(lab: Lab, browser: httpx2.AsyncClient) -> None:
    await installed(lab, browser)
    one, two = lab.adapter.installations, lab.configured(**MANY).installations
    lab.clock.advance(TOKEN_SECONDS + 1)

    assert await one.token("T1", "") == await two.token("T1", "")
    assert lab.slack.calls["oauth.v2.access"] == 2


async def test_a_refresh_token_that_another_node_has_just_spent_is_no_failure(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    await installed(lab, browser)
    one, two = lab.adapter.installations, lab.configured(**MANY).installations
    lab.clock.advance(TOKEN_SECONDS)
    (old,) = await one.expiring()
    await one.rotate(old)

    assert (await two.rotate(old)).bot_token == await one.token("T1", "")


async def test_an_organisation_installs_once_and_each_of_its_workspaces_is_answered(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    page = await installed(lab, browser, where="E1")
    lab.deliveries.enterprise = "E1"
    asked = []
    for team in ("T1", "T2"):
        ts = lab.people.say("hi")
        asked.append(ts)
        event = {"type": "app_mention", "user": "U1", "text": "<@UBOT> hi", "ts": ts, "channel": "C1"}
        lab.deliveries.event(event, team=team)
    first, second = await lab.arrivals()

    await lab.adapter.send(lab.answer("one", first))
    await lab.adapter.send(lab.answer("two", second))

    assert "Acme Group" in page.text
    assert await lab.kit.vault.names("installation/") == ["installation/E1/"]
    assert [lab.slack.answers("C1", ts) for ts in asked] == [["one"], ["two"]]
    assert first.conversation[0].value.startswith("A1:E1:C1:")


async def test_a_workspaces_own_install_goes_before_that_of_its_organisation(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    await installed(lab, browser, where="E1")
    of_the_workspace = Installation(app="A1", enterprise="E1", team="T1", bot_token="xoxb-own")
    await lab.adapter.installations.save(of_the_workspace)

    assert await lab.adapter.installations.token("T1", "E1") == "xoxb-own"
    assert await lab.adapter.installations.token("T2", "E1") != "xoxb-own"


async def test_the_token_of_an_organisation_is_renewed_for_all_its_workspaces(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    await installed(lab, browser, where="E1")
    installations = lab.adapter.installations
    before = await installations.token("T1", "E1")
    lab.clock.advance(TOKEN_SECONDS + 1)

    after = {await installations.token(team, "E1") for team in ("T1", "T2")}

    assert len(after) == 1
    assert before not in after


async def test_an_organisation_that_uninstalls_is_left_in_all_its_workspaces(
    lab: Lab, browser: httpx2.AsyncClient
) -> None:
    await installed(lab, browser, where="E1")
    lab.deliveries.enterprise = "E1"
    lab.deliveries.event({"type": "app_uninstalled"}, team="T1")
    await lab.arrivals()

    for team in ("T1", "T2"):
        with pytest.raises(Permanent, match="not installed"):
            await lab.adapter.installations.token(team, "E1")
