"""The webhook adapter where files take their time to be stored: `adapter = "tests.end_to_end.slow_forms"`."""

from collections.abc import Sequence

from adapters.webhook import Settings, sign
from adapters.webhook.adapter import WebhookAdapter
from adapters.webhook.plan import plan_from_settings
from bridge.adapter import Kit
from bridge.model import Envelope, InboundMessage

__all__ = ["READING_SECONDS", "Settings", "build", "sign"]

READING_SECONDS = 15


class SlowForms(WebhookAdapter):
    async def read(self, envelope: Envelope) -> Sequence[InboundMessage]:
        await self._kit.clock.sleep(READING_SECONDS)
        return await super().read(envelope)


def build(settings: Settings, kit: Kit) -> SlowForms:
    return SlowForms(plan_from_settings(settings, source=kit.source, public_url=kit.public_url), kit)
