"""Installing the app: the page that grants, the codes, the tokens that expire."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from adapters.slack.fake.workspace import APP, BOT, ApiError, Grant, Workspace

CLIENT_ID, CLIENT_SECRET = "1.2", "client-secret-of-the-tests"
TOKEN_SECONDS = 43_200


def granted(slack: Workspace, query: Mapping[str, str], *, team: str, rotates: bool = True) -> str:
    """Where the browser goes when the person has clicked Allow; an id that begins with E is a whole organisation's."""
    code = f"code-{slack.number()}"
    expires_at = slack.now() + TOKEN_SECONDS if rotates else None
    slack.codes[code] = Grant(team=team, scopes=frozenset(query["scope"].split(",")), expires_at=expires_at)
    return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"


def access(slack: Workspace, authorization: str, form: Mapping[str, str]) -> dict[str, Any]:
    """oauth.v2.access: id and secret as HTTP Basic, the rest as a form. A code and a refresh token work once."""
    expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    if authorization != f"Basic {expected}":
        raise ApiError("bad_client_secret")
    if form.get("grant_type") == "refresh_token":
        grant = slack.refreshes.pop(form.get("refresh_token", ""), None)
        if grant is None:
            raise ApiError("invalid_refresh_token")
        grant = replace(grant, expires_at=slack.now() + TOKEN_SECONDS)
    else:
        grant = slack.codes.pop(form.get("code", ""), None)
        if grant is None:
            raise ApiError("invalid_code")
    return _tokens(slack, grant)


def _tokens(slack: Workspace, grant: Grant) -> dict[str, Any]:
    token = f"xoxb-{slack.number()}"
    slack.tokens[token] = grant
    answer: dict[str, Any] = {
        "access_token": token,
        "token_type": "bot",
        "scope": ",".join(sorted(grant.scopes)),
        "bot_user_id": BOT,
        "app_id": APP,
        **_installed_in(grant.team),
    }
    if grant.expires_at is not None:
        refresh = f"xoxe-{slack.number()}"
        slack.refreshes[refresh] = grant
        answer |= {"refresh_token": refresh, "expires_in": TOKEN_SECONDS}
    return answer


def _installed_in(team: str) -> dict[str, Any]:
    if team.startswith("E"):
        return {"team": None, "enterprise": {"id": team, "name": "Acme Group"}, "is_enterprise_install": True}
    return {"team": {"id": team, "name": "Acme"}, "enterprise": None, "is_enterprise_install": False}
