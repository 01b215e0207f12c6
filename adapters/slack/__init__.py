"""Slack: mentions, direct messages, threads, files, buttons and live progress."""

from adapters.slack.adapter import Slack
from adapters.slack.settings import Settings
from adapters.slack.socket import ConnectedSlack, needs_to_run
from bridge.adapter import Kit

__all__ = ["BUSY", "Settings", "build"]

BUSY = "collect"
"""People write in several messages; what comes while the agent works is answered together."""


def build(settings: Settings, kit: Kit) -> Slack:
    """The adapter of one source. It calls nobody before there is something to do."""
    return ConnectedSlack(settings, kit) if needs_to_run(settings) else Slack(settings, kit)
