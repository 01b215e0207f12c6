"""Which token speaks for which workspace: one from the configuration, or one for each installation."""

import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.sdk import UNANSWERED, Sdk, failure_of
from adapters.slack.settings import Settings
from bridge.adapter import Vault
from bridge.clock import Clock
from bridge.errors import Permanent, Retryable

log = structlog.get_logger()

_FRESH = timedelta(minutes=5)
"""How long a token is used without looking again whether another node has rotated it."""
ROTATE_BEFORE = timedelta(hours=2)
_WORKSPACES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The app in a workspace, or in a whole organisation (then `team` is empty)."""

    app: str
    enterprise: str = ""
    team: str = ""
    name: str = ""
    bot_user_id: str = ""
    bot_token: str = ""
    scope: str = ""
    refresh_token: str = ""
    expires_at: float = 0.0
    """Seconds of the epoch; 0: never."""
    installed_at: float = 0.0

    @property
    def vault_name(self) -> str:
        return f"installation/{self.enterprise}/{self.team}"

    def dump(self) -> bytes:
        # Left out where it is not known: a node of the version before, still running beside this one, does not read it.
        kept = {name: value for name, value in asdict(self).items() if name != "installed_at" or value}
        return json.dumps(kept).encode()

    def __repr__(self) -> str:
        return f"Installation({self.vault_name})"


class Installations:
    """Reads and rotates installations. Kept in the vault, encrypted; what is held here is a cache."""

    def __init__(self, settings: Settings, vault: Vault, clock: Clock) -> None:
        self._settings = settings
        self._vault = vault
        self._clock = clock
        self.sdk = Sdk(settings.api_url)
        self._cache: dict[tuple[str, str], tuple[Installation, float]] = {}

    async def token(self, team: str, enterprise: str) -> str:
        """The bot token for a workspace. Raises Permanent where the app is not installed (any more)."""
        if self._settings.bot_token is not None:
            return self._settings.bot_token.get_secret_value()
        found = await self._find(team, enterprise)
        if found is None:
            raise Permanent(f"The app is not installed in workspace {team or enterprise}; open the install page.")
        if found.expires_at and found.expires_at <= self._now():
            found = await self.rotate(found)
        return found.bot_token

    async def renewed(self, team: str, enterprise: str, old: str) -> str | None:
        """After Slack refused `old`: what another node has stored meanwhile, else what the refresh token brings."""
        if self._settings.bot_token is not None:
            return None
        self._cache.pop((team, enterprise), None)
        found = await self._find(team, enterprise)
        if found is not None and found.bot_token == old:
            found = await self.rotate(found) if found.refresh_token else None
        return found.bot_token if found is not None else None

    @property
    def client(self) -> AsyncWebClient:
        """For calls without a token of a workspace."""
        return self.sdk.client

    async def save(self, new: Installation) -> None:
        """Store an installation in place of the one before."""
        while True:
            stored = await self._vault.get(new.vault_name)
            if await self._vault.put(new.vault_name, new.dump(), version=stored[1] if stored else None):
                self._cache.clear()
                return

    async def remove(self, team: str, enterprise: str, at: float = math.inf) -> None:
        """Uninstalled or revoked at that time, in whole seconds; what was installed since then stays."""
        self._cache.clear()
        for name in (f"installation/{enterprise}/{team}", f"installation//{team}"):
            stored = await self._vault.get(name)
            if stored and Installation(**json.loads(stored[0])).installed_at < at + 1:
                await self._vault.delete(name)

    async def expiring(self) -> list[Installation]:
        """Those whose token must be rotated soon."""
        names = await self._vault.names("installation/")
        stored = [await self._vault.get(name) for name in names]
        installed = [Installation(**json.loads(value[0])) for value in stored if value]
        soon = self._now() + ROTATE_BEFORE.total_seconds()
        return [one for one in installed if one.expires_at and one.expires_at <= soon]

    async def rotate(self, old: Installation) -> Installation:
        """Spend the refresh token, once: of two nodes that do it at a time one keeps what the other stored.

        Raises Retryable or Permanent.
        """
        stored = await self._vault.get(old.vault_name)
        if stored is None:
            raise Permanent(f"The app is no longer installed in {old.vault_name}.")
        current = Installation(**json.loads(stored[0]))
        if current.bot_token != old.bot_token:  # rotated by another node meanwhile
            return self._keep(current)
        try:
            answer = await self._refreshed(current.refresh_token)
        except Permanent:
            later = await self._vault.get(old.vault_name)
            if later is None or later[1] == stored[1]:
                raise
            return self._keep(Installation(**json.loads(later[0])))  # the other node was quicker
        lasts = answer.get("expires_in")
        new = replace(
            current,
            bot_token=answer["access_token"],
            refresh_token=answer.get("refresh_token") or "",
            expires_at=self._now() + float(lasts) if lasts else 0.0,  # without it the token stays
        )
        if not await self._vault.put(new.vault_name, new.dump(), version=stored[1]):
            later = await self._vault.get(old.vault_name)
            return self._keep(Installation(**json.loads(later[0]))) if later else new
        log.info("slack_token_rotated", installation=new.vault_name)
        return self._keep(new)

    async def _refreshed(self, refresh_token: str) -> dict[str, Any]:
        """What a refresh token brings, once: an `access_token` at least. Raises Retryable or Permanent."""
        secret = self._settings.client_secret
        try:
            answer = await self.client.oauth_v2_access(
                client_id=self._settings.client_id or "",
                client_secret=secret.get_secret_value() if secret else "",
                grant_type="refresh_token",
                refresh_token=refresh_token,
            )
        except SlackApiError as error:
            raise failure_of("oauth.v2.access", error) from None
        except UNANSWERED as error:
            raise Retryable(f"Slack cannot be reached for oauth.v2.access: {error!r}") from error
        if not isinstance(answer.data, dict) or not isinstance(answer.data.get("access_token"), str):
            raise Retryable("Slack's answer to oauth.v2.access holds no token")
        return answer.data

    async def close(self) -> None:
        """Close the connections."""
        await self.sdk.close()

    async def _find(self, team: str, enterprise: str) -> Installation | None:
        cached = self._cache.get((team, enterprise))
        if cached and self._now() - cached[1] < _FRESH.total_seconds():
            return cached[0]
        for name in (f"installation/{enterprise}/{team}", f"installation/{enterprise}/", f"installation//{team}"):
            stored = await self._vault.get(name)
            if stored:
                while len(self._cache) >= _WORKSPACES:
                    self._cache.pop(next(iter(self._cache)))
                return self._keep(Installation(**json.loads(stored[0])), (team, enterprise))
        return None

    def _keep(self, installation: Installation, asked: tuple[str, str] | None = None) -> Installation:
        if asked is None:
            self._cache.clear()  # an organisation's token is cached under each of its teams
        self._cache[asked or (installation.team, installation.enterprise)] = (installation, self._now())
        return installation

    def _now(self) -> float:
        return self._clock.now().timestamp()
