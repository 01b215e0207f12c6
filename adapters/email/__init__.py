"""An agent with an email address: threads right in every client, answers no machine, trusts no forged sender."""

from adapters.email.building import build
from adapters.email.relay import relay_mail, relay_signed
from adapters.email.settings import Settings

MAX_BODY = 25 * 1024 * 1024
"""What most mail servers take."""

__all__ = ["MAX_BODY", "Settings", "build", "relay_mail", "relay_signed"]
