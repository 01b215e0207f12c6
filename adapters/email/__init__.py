"""An agent with an email address: threads right in every client, answers no machine, trusts no forged sender."""

from adapters.email.building import build
from adapters.email.settings import Settings

__all__ = ["Settings", "build"]
