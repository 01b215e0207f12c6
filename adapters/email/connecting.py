"""An email source with a connection of its own: it listens for mail, or watches a mailbox."""

from adapters.email.adapter import Email, Parts
from adapters.email.listener import Listener
from adapters.email.mailbox import Mailbox
from adapters.email.recipients import Recipients
from bridge.adapter import Accept


class ConnectedEmail(Email):
    """The adapter, and `run` beside it."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        settings, kit = parts.settings, parts.kit
        self._connection = (
            Mailbox(settings.imap_url, kit=kit, idle_seconds=settings.imap_idle, tokens=parts.tokens)
            if settings.ingress == "imap"
            else Listener(
                source=kit.source,
                lmtp=settings.ingress == "lmtp",
                address=settings.listen,
                recipients=Recipients(settings),
                max_bytes=kit.max_body,
                clock=kit.clock,
            )
        )

    async def run(self, accept: Accept) -> None:
        """Until cancelled. What is not stored stays where it came from."""
        await self._connection.run(accept)
