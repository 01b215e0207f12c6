"""The app was uninstalled or its token revoked."""

import json
import math
from collections.abc import Iterator


def revoked(body: bytes) -> Iterator[tuple[str, str, float]]:
    """The teams and enterprises whose installation is gone, and since when; none for a person's own token.

    Slack repeats for hours what nobody took, and by then the app may be installed again.
    """
    try:
        payload = json.loads(body)
        event, team = payload["event"], str(payload.get("team_id") or "")
        bots = (event.get("tokens") or {}).get("bot")
        if event["type"] not in {"app_uninstalled", "tokens_revoked"} or (
            event["type"] == "tokens_revoked" and not bots
        ):
            return
        enterprise = str(payload.get("enterprise_id") or "")
        at = float(payload.get("event_time") or math.inf)
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    yield team, enterprise, at
    if enterprise and not team:
        return
    grants = payload.get("authorizations") or ()
    if enterprise and any(isinstance(grant, dict) and grant.get("is_enterprise_install") for grant in grants):
        yield "", enterprise, at
