"""The app was uninstalled or its token revoked."""

import json
from collections.abc import Iterator


def revoked(body: bytes) -> Iterator[tuple[str, str]]:
    """The (team, enterprise) pairs whose installation is gone; none where it was only a person's own token."""
    try:
        payload = json.loads(body)
        event, team = payload["event"], str(payload.get("team_id") or "")
        bots = (event.get("tokens") or {}).get("bot")
        if event["type"] not in {"app_uninstalled", "tokens_revoked"} or (
            event["type"] == "tokens_revoked" and not bots
        ):
            return
        enterprise = str(payload.get("enterprise_id") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    yield team, enterprise
    if enterprise and not team:
        return
    grants = payload.get("authorizations") or ()
    if enterprise and any(isinstance(grant, dict) and grant.get("is_enterprise_install") for grant in grants):
        yield "", enterprise
