"""The manifest, the doctor and the configuration itself."""

import asyncio
import json
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from adapters.slack.commands import commands
from adapters.slack.doctor import examine
from adapters.slack.fake import Fault
from adapters.slack.fake.delivery import SECRET
from adapters.slack.fake.oauth import CLIENT_ID, CLIENT_SECRET
from adapters.slack.manifest import BOT_SCOPES, manifest
from adapters.slack.settings import Settings
from bridge.adapter import (
    Adapter,
    Admits,
    Budgets,
    Closes,
    Configured,
    Connects,
    Enriches,
    Finds,
    Revises,
    Serves,
    Shows,
    Withdraws,
)
from tests.adapters.kits import FakeClock
from tests.adapters.slack.lab import Lab

URL = "https://bridge.example.com/in/team"


def configured(**options: object) -> Settings:
    return Settings.model_validate({"signing_secret": SECRET, "bot_token": "xoxb-test", **options})


def test_the_adapter_has_every_ability(lab: Lab) -> None:
    for ability in (Adapter, Admits, Enriches, Finds, Revises, Withdraws, Shows, Serves, Budgets, Closes):
        assert isinstance(lab.adapter, ability)
    assert not isinstance(lab.adapter, Connects)


def test_a_plain_bot_token_loads_no_bolt() -> None:
    script = "import sys, adapters.slack, adapters.slack.adapter; sys.exit('slack_bolt' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_four_options_are_enough_and_secrets_do_not_show() -> None:
    table = tomllib.loads(
        """
        signing_secret = "s3cret"
        bot_token = "xoxb-s3cret"
        bot_user_id = "UBOT"
        api_url = "http://127.0.0.1:9001/api"
        """
    )
    settings = Settings.model_validate(table)

    assert settings.api_url == "http://127.0.0.1:9001/api/"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"bot_token": None}, "xoxb-"),
        ({"client_id": "1"}, "go together"),
        ({"channels": {"C1": {"engage": "("}}}, "regular expression"),
        ({"api_url": "slack.com"}, "https://slack.com/api/"),
        ({"botuser": "x"}, "Extra inputs"),
    ],
)
def test_a_wrong_option_is_explained(options: dict[str, object], advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        configured(**options)


def test_the_manifest_for_http_names_one_address_for_everything() -> None:
    made = manifest(configured(), URL)

    assert made["settings"]["event_subscriptions"]["request_url"] == URL
    assert made["settings"]["interactivity"] == {"is_enabled": True, "request_url": URL}
    assert made["features"]["slash_commands"][0]["url"] == URL
    assert "agent_session_stopped" in made["settings"]["event_subscriptions"]["bot_events"]
    assert "redirect_urls" not in made["oauth_config"]


def test_the_manifest_among_the_deployment_files_is_the_one_that_is_printed() -> None:
    kept = Path(__file__).parents[3] / "deploy" / "slack-manifest.json"

    assert json.loads(kept.read_text("utf-8")) == manifest(configured(), URL)


def test_the_manifest_stays_within_slacks_limits() -> None:
    """Those of slackapi/manifest-schema, schemas/manifest.schema.2.0.0.json."""
    made = manifest(configured(name="A rather long name " * 20, suggested_prompts=("x" * 200,)), URL, command="ask")
    features = made["features"]

    assert len(made["display_information"]["name"]) <= 35
    assert len(features["bot_user"]["display_name"]) <= 80
    assert len(features["shortcuts"][0]["name"]) <= 24
    assert len(features["agent_view"]["agent_description"]) <= 300
    assert len(features["agent_view"]["suggested_prompts"][0]["title"]) <= 75
    assert len(features["slash_commands"][0]["description"]) <= 2000
    assert features["slash_commands"][0]["command"] == "/ask"


def test_the_manifest_for_sockets_names_no_address() -> None:
    made = manifest(configured(app_token="xapp-1"), URL)

    assert made["settings"]["socket_mode_enabled"] is True
    assert URL not in json.dumps(made)


def test_the_manifest_for_many_workspaces_has_the_redirect() -> None:
    made = manifest(configured(client_id=CLIENT_ID, client_secret=CLIENT_SECRET), URL)

    assert made["oauth_config"]["redirect_urls"] == [f"{URL}/oauth_redirect"]
    assert made["settings"]["org_deploy_enabled"] is True


async def examined(lab: Lab, **options: object) -> str:
    settings = configured(api_url=f"{lab.slack.url}api/", **options)
    return "\n".join(f"{finding.verdict} {finding.what} {finding.do}" for finding in await examine(settings, lab.clock))


async def test_the_doctor_finds_a_good_app_good(lab: Lab) -> None:
    report = await examined(lab, app_token="xapp-test")

    assert "ok The bot is agent (UBOT) in Acme." in report
    assert "ok All scopes are granted." in report
    assert "ok The app is declared an agent." in report
    assert "ok Socket Mode is on." in report
    assert "ok The clock agrees with Slack's." in report
    assert lab.slack.messages == {}


@pytest.mark.parametrize("fault", [Fault("cut_before"), Fault("gzip"), Fault("html"), Fault("status", status=200)])
async def test_whatever_answers_in_slacks_place_is_a_finding(lab: Lab, fault: Fault) -> None:
    lab.slack.faults.add("auth.test", fault)
    assert (await examined(lab)).startswith("fail")


async def test_the_doctor_names_what_is_missing_and_where_to_click(lab: Lab) -> None:
    lab.slack.is_agent = False
    lab.slack.tokens["xoxb-test"].scopes = frozenset(BOT_SCOPES) - {"files:read"}
    lab.slack.tokens["xapp-test"].scopes = frozenset()
    report = await examined(lab, app_token="xapp-test", bot_user_id="U9")

    assert "warn Scopes are missing: files:read. OAuth & Permissions" in report
    assert "warn The app is not declared an agent" in report
    assert "fail bot_user_id is U9, but the token belongs to UBOT." in report
    assert "fail Slack refused apps.connections.open: missing_scope" in report


@pytest.mark.parametrize(("everybody", "verdict"), [(True, "warn"), (False, "fail")])
async def test_the_doctor_fails_where_nobody_can_be_told_from_a_guest(lab: Lab, everybody: bool, verdict: str) -> None:  # noqa: FBT001 - a table
    lab.slack.tokens["xoxb-test"].scopes = frozenset(BOT_SCOPES) - {"users:read"}
    report = await examined(lab, allow_guests=everybody, allow_external=everybody)

    assert f"{verdict} Scopes are missing: users:read." in report


async def test_the_doctor_sees_a_clock_that_is_off(lab: Lab) -> None:
    ours = FakeClock()
    ours.advance(400)
    findings = await examine(configured(api_url=f"{lab.slack.url}api/"), ours)

    assert "The clock is 400 seconds off Slack's." in [finding.what for finding in findings]


@pytest.mark.parametrize(("token", "advice"), [("xoxb-wrong", "invalid_auth"), ("xapp-test", "ok")])
async def test_the_doctor_sees_a_wrong_token(lab: Lab, token: str, advice: str) -> None:
    assert advice in await examined(lab, bot_token=token)


async def test_the_doctor_says_when_slack_cannot_be_reached(lab: Lab) -> None:
    lab.slack.url = "http://127.0.0.1:9/"

    assert "cannot be reached" in await examined(lab)


def doctored(lab: Lab, public_url: str, **options: object) -> Result:
    found = Configured(
        source="team", settings=configured(api_url=f"{lab.slack.url}api/", **options), public_url=public_url
    )
    return CliRunner().invoke(commands(lambda *_: found), ["doctor"])


@pytest.mark.parametrize(
    ("public_url", "app_token", "status"),
    [(URL, None, 0), ("http://bridge.example.com/in/team", None, 1), ("http://localhost/in/team", "xapp-test", 0)],
)
async def test_the_doctor_fails_where_slack_cannot_reach_the_bridge(
    lab: Lab, public_url: str, app_token: str | None, status: int
) -> None:
    lab.clock.advance((datetime.now(UTC) - lab.clock.now()).total_seconds())
    told = await asyncio.to_thread(doctored, lab, public_url, app_token=app_token)

    assert told.exit_code == status
    assert (f"fail  Slack cannot reach {public_url}." in told.output) == bool(status)
