"""Slack: mentions, direct messages, threads, files, buttons and live progress."""

from adapters.slack.adapter import Slack
from adapters.slack.settings import Settings
from bridge.adapter import Kit

__all__ = ["BUSY", "Settings", "build"]

BUSY = "collect"
"""People write in several messages; what comes while the agent works is answered together."""


def build(settings: Settings, kit: Kit) -> Slack:
    """The adapter of one source. It calls nobody before there is something to do."""
    if settings.app_token is None and settings.client_id is None:
        return Slack(settings, kit)
    from adapters.slack.connected import ConnectedSlack  # noqa: PLC0415 - Bolt: 5 MB that a bot token alone never needs

    return ConnectedSlack(settings, kit)
