"""Signed webhooks: any system that signs, any shape of payload, answers by signed callback."""

from adapters.webhook.adapter import WebhookAdapter
from adapters.webhook.plan import plan_from_settings
from adapters.webhook.settings import Settings
from bridge.adapter import Kit

__all__ = ["Settings", "WebhookAdapter", "build"]


def build(settings: Settings, kit: Kit) -> WebhookAdapter:
    """The adapter of one source. Raises ConfigError with every problem and its path."""
    return WebhookAdapter(plan_from_settings(settings, source=kit.source, public_url=kit.public_url), kit)
