"""Agent Bridge: an agent in Slack, behind signed webhooks and behind an email address."""

from bridge.agent.backend import Backend
from bridge.agent.request import OutputFormat, User

__all__ = ["Backend", "OutputFormat", "User"]
