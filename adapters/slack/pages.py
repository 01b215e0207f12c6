"""The install pages: Bolt's OAuth flow, over our own vault, signed state and connection pool."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from html import escape
from typing import Any, TypeAlias

import structlog
from slack_bolt import BoltResponse
from slack_bolt.adapter.starlette.async_handler import to_async_bolt_request, to_starlette_response
from slack_bolt.error import BoltError
from slack_bolt.oauth.async_callback_options import AsyncCallbackOptions, AsyncFailureArgs, AsyncSuccessArgs
from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_bolt.oauth.async_oauth_settings import AsyncOAuthSettings
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.oauth.installation_store import Installation as Granted
from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore
from slack_sdk.oauth.state_store.async_state_store import AsyncOAuthStateStore
from slack_sdk.web.async_client import AsyncWebClient
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.slack.installations import Installation, Installations
from adapters.slack.manifest import BOT_SCOPES
from adapters.slack.sdk import UNANSWERED
from adapters.slack.settings import Settings
from bridge.adapter import Kit

log = structlog.get_logger()

Page: TypeAlias = Callable[[AsyncBoltRequest], Awaitable[BoltResponse]]

_PURPOSE = "slack-install"
_AGE = timedelta(minutes=10)


def from_granted(granted: Granted, now: float) -> Installation:
    """Of what Bolt made of an answer to oauth.v2.access."""
    org = bool(granted.is_enterprise_install)
    # Both are times of the machine's clock, and only the one less the other is what Slack said.
    lasts = granted.bot_token_expires_at - granted.installed_at if granted.bot_token_expires_at else None
    return Installation(
        app=granted.app_id or "",
        enterprise=granted.enterprise_id or "",
        team="" if org else granted.team_id or "",
        name=(granted.enterprise_name if org else granted.team_name) or "",
        bot_user_id=granted.bot_user_id or "",
        bot_token=granted.bot_token or "",
        scope=",".join(granted.bot_scopes or ()),
        refresh_token=granted.bot_refresh_token or "",
        expires_at=now + lasts if lasts else 0.0,
        installed_at=now,
    )


class Memory(AsyncInstallationStore, AsyncOAuthStateStore):
    """What Bolt's flow must remember: what was granted, in the vault, and a state, in nothing but its own signature."""

    def __init__(self, kit: Kit, installations: Installations) -> None:
        self._kit = kit
        self._installations = installations

    async def async_save(self, installation: Granted) -> None:
        """Raises BoltError where no bot was granted."""
        if not installation.bot_token:
            raise BoltError("Slack granted no bot token")
        new = from_granted(installation, self._kit.clock.now().timestamp())
        await self._installations.save(new)
        log.info("slack_installed", installation=new.vault_name)

    async def async_issue(self, *_: Any, **__: Any) -> str:
        """A state. Bolt binds it to the browser by a cookie."""
        return self._kit.tokens.dump(secrets.token_urlsafe(24), purpose=_PURPOSE)

    async def async_consume(self, state: str) -> bool:
        """Whether it is ours and young; Slack's code, which comes with it, works only once."""
        return self._kit.tokens.load(state, purpose=_PURPOSE, max_age=_AGE) is not None


class Pages(AsyncOAuthFlow):
    """`install` and `oauth_redirect`. Whatever a browser sends and however Slack fails, somebody sees a page."""

    def __init__(self, settings: Settings, kit: Kit, installations: Installations) -> None:
        memory, secret = Memory(kit, installations), settings.client_secret
        options = AsyncOAuthSettings(
            client_id=settings.client_id,
            client_secret=secret.get_secret_value() if secret else None,
            scopes=BOT_SCOPES,
            user_scopes=(),
            redirect_uri=f"{kit.public_url}/oauth_redirect",
            install_page_rendering_enabled=False,
            callback_options=AsyncCallbackOptions(_installed, _refused),
            authorization_url=settings.api_url.removesuffix("api/") + "oauth/v2/authorize",  # also of a playground
            installation_store=memory,
            state_store=memory,
            state_cookie_name=f"bridge-slack-{kit.source}",  # it goes to all of our paths
            state_expiration_seconds=int(_AGE.total_seconds()),
        )
        super().__init__(settings=options)
        self._installations = installations

    def routes(self) -> Sequence[Route]:
        """Below the source's own path. Bolt's routing would have to know the whole path, behind any proxy."""
        pages = {"/install": self.handle_installation, "/oauth_redirect": self.handle_callback}
        return [Route(path, partial(self._served, page), methods=["GET"]) for path, page in pages.items()]

    async def _served(self, page: Page, request: Request) -> Response:
        answer = to_starlette_response(await page(to_async_bolt_request(request, b"")))
        # Bolt's cookies say Secure always, and not every browser keeps those over plain HTTP.
        if not str(self.redirect_uri).startswith("https://"):
            answer.raw_headers = [(name, value.replace(b"; Secure", b"")) for name, value in answer.raw_headers]
        return answer

    @property
    def client(self) -> AsyncWebClient:
        """Of our pool: Bolt's own opens a connection for each call."""
        return self._installations.client

    async def build_authorize_url(self, state: str, request: AsyncBoltRequest) -> str:
        """Bolt puts `team` into a header as it came: a line end in it were a 500."""
        team = request.query.get("team", [""])[0]
        known = team if team.isascii() and team.isalnum() else None
        return self.settings.authorize_url_generator.generate(state, known)

    async def run_installation(self, code: str) -> Granted | None:
        """None, too, where Slack could not be asked; Bolt lets that through."""
        try:
            return await super().run_installation(code)
        except UNANSWERED as error:
            log.warning("slack_install_failed", error=repr(error))
            return None


async def _installed(given: AsyncSuccessArgs) -> BoltResponse:
    new = given.installation
    where = new.enterprise_name if new.is_enterprise_install else new.team_name
    return _page(given, 200, "Installed", f"The app is now in {where}. You may close this page.")


async def _refused(given: AsyncFailureArgs) -> BoltResponse:
    if given.reason in {"invalid_browser", "invalid_state"}:
        return _page(given, 400, "Not installed", "This page was opened too late or in another browser. Start again.")
    if "error" in given.request.query:
        return _page(given, 400, "Not installed", f"Slack said: {given.reason}.")
    return _page(given, 502, "Not installed", "Slack did not hand over a bot token. Start again.")


def _page(given: AsyncSuccessArgs | AsyncFailureArgs, status: int, title: str, text: str) -> BoltResponse:
    body = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{escape(text)}</p>"
    cookie = given.settings.state_utils.build_set_cookie_for_deletion()
    headers: dict[str, str | Sequence[str]] = {"Content-Type": "text/html; charset=utf-8", "Set-Cookie": cookie}
    return BoltResponse(status=status, body=body, headers=headers)
