"""The install pages: send a person to Slack, take back what Slack granted."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from html import escape

import structlog
from slack_sdk.oauth import AuthorizeUrlGenerator
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from adapters.slack.installations import Installations, from_answer
from adapters.slack.manifest import BOT_SCOPES
from adapters.slack.settings import Settings
from bridge.adapter import Kit
from bridge.errors import Permanent, Retryable

log = structlog.get_logger()

_COOKIE = "bridge_slack_install"
_PURPOSE = "slack-install"
_MINUTES = 10
_AUTHORIZE = "https://slack.com/oauth/v2/authorize"


class Pages:
    """`install` and `oauth_redirect`. The state is signed, ten minutes old at most and bound to the browser."""

    def __init__(self, settings: Settings, kit: Kit, installations: Installations) -> None:
        self._settings = settings
        self._kit = kit
        self._installations = installations

    def routes(self) -> Sequence[Route]:
        """Below the source's own path."""
        return (
            Route("/install", self.install, methods=["GET"]),
            Route("/oauth_redirect", self.oauth_redirect, methods=["GET"]),
        )

    async def install(self, request: Request) -> Response:
        """Off to Slack. `team` in the query preselects a workspace."""
        nonce = secrets.token_urlsafe(24)
        state = self._kit.tokens.dump(nonce, purpose=_PURPOSE)
        url = AuthorizeUrlGenerator(
            client_id=self._settings.client_id or "",
            redirect_uri=self._redirect_uri,
            scopes=BOT_SCOPES,
            authorization_url=self._authorize_url,
        ).generate(state, request.query_params.get("team"))
        answer = RedirectResponse(url, status_code=302)
        secure = self._kit.public_url.startswith("https://")
        answer.set_cookie(_COOKIE, nonce, max_age=_MINUTES * 60, httponly=True, samesite="lax", secure=secure)
        return answer

    async def oauth_redirect(self, request: Request) -> Response:
        """Back from Slack."""
        given = request.query_params
        if "error" in given:
            return _page(400, "Not installed", f"Slack said: {given['error']}.")
        nonce = self._kit.tokens.load(given.get("state", ""), purpose=_PURPOSE, max_age=timedelta(minutes=_MINUTES))
        if nonce is None or not secrets.compare_digest(nonce, request.cookies.get(_COOKIE, "")):
            return _page(400, "Not installed", "This page was opened too late or in another browser. Start again.")
        try:
            answer = await self._installations.access(code=given.get("code", ""), redirect_uri=self._redirect_uri)
            installation = from_answer(answer, self._kit.clock.now().timestamp())
            await self._installations.save(installation)
        except (Retryable, Permanent, KeyError) as error:
            log.warning("slack_install_failed", error=str(error))
            return _page(502, "Not installed", "Slack did not hand over a bot token. Start again.")
        log.info("slack_installed", installation=installation.vault_name)
        answer_page = _page(200, "Installed", f"The app is now in {installation.name}. You may close this page.")
        answer_page.delete_cookie(_COOKIE)
        return answer_page

    @property
    def _redirect_uri(self) -> str:
        return f"{self._kit.public_url}/oauth_redirect"

    @property
    def _authorize_url(self) -> str:
        """Slack's page; below another api_url (a proxy, a playground) the one that stands beside it."""
        api = self._settings.api_url
        return _AUTHORIZE if api.startswith("https://slack.com/") else api.removesuffix("api/") + "oauth/v2/authorize"


def _page(status: int, title: str, text: str) -> HTMLResponse:
    body = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{escape(text)}</p>"
    return HTMLResponse(body, status_code=status)
