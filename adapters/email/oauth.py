"""Logs in at mailboxes that take no password any more: Google's and Microsoft's, by XOAUTH2."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import httpx2
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from adapters.email.senders.outgoing import post
from bridge.adapter import Kit
from bridge.errors import Permanent, Retryable

_EARLY = timedelta(minutes=2)
"""A token is not used so shortly before its end: the mail server's clock is another one."""
_MICROSOFT = "https://outlook.office365.com"
_SCOPES = {
    "google": "",
    "microsoft": f"{_MICROSOFT}/IMAP.AccessAsUser.All {_MICROSOFT}/SMTP.Send offline_access",
}


class OAuth(BaseModel):
    """How access tokens are had: by a person's refresh token, or, at Microsoft, as the application itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    provider: Literal["google", "microsoft"]
    client_id: str = Field(min_length=1, examples=["${MAIL_CLIENT_ID}"])
    client_secret: SecretStr = SecretStr("")
    refresh_token: SecretStr = SecretStr("")
    tenant: str = Field(default="common", pattern=r"^[\w.-]+$")
    """Microsoft's directory; `common` will not do for the application itself."""
    token_url: str = ""
    """Where tokens are had, if not at the provider's usual place."""

    @model_validator(mode="after")
    def _complete(self) -> "OAuth":
        if self.refresh_token.get_secret_value():
            return self
        if self.provider == "google":
            raise ValueError('provider "google" needs refresh_token = "${MAIL_REFRESH_TOKEN}"')
        if not self.client_secret.get_secret_value() or self.tenant == "common":
            raise ValueError('without refresh_token, provider "microsoft" needs client_secret and tenant')
        return self

    @property
    def url(self) -> str:
        """Where tokens are had."""
        usual = {
            "google": "https://oauth2.googleapis.com/token",
            "microsoft": f"https://login.microsoftonline.com/{self.tenant}/oauth2/v2.0/token",
        }
        return self.token_url or usual[self.provider]

    def form(self, refresh_token: str) -> dict[str, str]:
        """What is asked there."""
        asked = {"client_id": self.client_id, "client_secret": self.client_secret.get_secret_value()}
        if refresh_token:
            asked |= {"grant_type": "refresh_token", "refresh_token": refresh_token, "scope": _SCOPES[self.provider]}
        else:
            asked |= {"grant_type": "client_credentials", "scope": f"{_MICROSOFT}/.default"}
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True, slots=True)
class _Held:
    """What the last answer brought. A provider may replace the refresh token with each."""

    access_token: str = field(repr=False)
    until: float
    refresh_token: str = field(repr=False)


class AccessTokens:
    """The access token of one mailbox, shared by all nodes through the vault, renewed before it ends."""

    def __init__(self, oauth: OAuth, kit: Kit) -> None:
        self._oauth = oauth
        self._kit = kit
        given = oauth.refresh_token.get_secret_value()
        # Who authorizes anew and writes another token into the configuration is not held to the old one.
        self._name = f"oauth/{hashlib.sha256(f'{oauth.url} {oauth.client_id} {given}'.encode()).hexdigest()[:32]}"

    async def current(self) -> str:
        """A token that is good for a while. Raises Retryable where none can be had."""
        stored = await self._kit.vault.get(self._name)
        held = _Held(**json.loads(stored[0])) if stored else None
        now = self._kit.clock.now()
        if held is not None and now.timestamp() < held.until:
            return held.access_token
        new = await self._renewed(held, now)
        value = json.dumps({name: getattr(new, name) for name in ("access_token", "until", "refresh_token")}).encode()
        # Where another node was faster, its token is kept, and ours is as good.
        await self._kit.vault.put(self._name, value, version=stored[1] if stored else None)
        return new.access_token

    async def refuse(self, token: str) -> None:
        """The mail server did not take this one: the next is a new one."""
        stored = await self._kit.vault.get(self._name)
        held = _Held(**json.loads(stored[0])) if stored else None
        if stored is None or held is None or held.access_token != token:
            return
        value = json.dumps({"access_token": "", "until": 0, "refresh_token": held.refresh_token}).encode()
        await self._kit.vault.put(self._name, value, version=stored[1])

    async def _renewed(self, held: _Held | None, now: datetime) -> _Held:
        refresh_token = (held.refresh_token if held else "") or self._oauth.refresh_token.get_secret_value()
        request = self._kit.http.build_request("POST", self._oauth.url, data=self._oauth.form(refresh_token))
        name = self._oauth.provider.capitalize()
        try:
            answer = _document(await post(self._kit.http, request, name))
        except Permanent as error:
            raise Retryable(f"No access to the mailbox: {error}. Authorize it anew; its mail waits.") from error
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not token:
            raise Retryable(f"{name} gave no access token.")
        lasts = timedelta(seconds=float(seconds) if isinstance(seconds, (int, float)) else 3600.0)
        newer = answer.get("refresh_token")
        return _Held(
            access_token=token,
            until=(now + lasts - _EARLY).timestamp(),
            refresh_token=newer if isinstance(newer, str) else refresh_token,
        )


def _document(answer: httpx2.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
