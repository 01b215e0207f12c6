"""Signed webhooks: any system that signs, any shape of payload, answers by signed callback."""

from adapters.webhook.adapter import WebhookAdapter
from adapters.webhook.plan import plan_from_settings
from adapters.webhook.settings import Settings
from bridge.adapter import Kit
from bridge.model import Envelope
from bridge.signing import sign as signed

__all__ = ["Settings", "WebhookAdapter", "build", "sign"]


def build(settings: Settings, kit: Kit) -> WebhookAdapter:
    """The adapter of one source. Raises ConfigError with every problem and its path."""
    return WebhookAdapter(plan_from_settings(settings, source=kit.source, public_url=kit.public_url), kit)


def sign(settings: Settings, envelope: Envelope, *, source: str, public_url: str) -> Envelope:
    """The request as a true sender would send it. Raises ConfigError, or ValueError without a usable secret."""
    plan = plan_from_settings(settings, source=source, public_url=public_url)
    return signed(plan.scheme, plan.secrets, envelope, envelope.received_at)
