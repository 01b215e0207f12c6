"""Agent Bridge: an agent in Slack, behind signed webhooks and behind an email address."""

from bridge.agent.backend import Backend
from bridge.agent.request import OutputFormat, User
from bridge.agent.server.brains import File

__all__ = ["Backend", "File", "OutputFormat", "User"]
