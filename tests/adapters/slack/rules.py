"""What a channel may ask about messages that nobody addressed to the bot."""

from bridge.model import InboundMessage


async def concerns_us(message: InboundMessage) -> bool:
    """As if the agent had been asked."""
    if "odd" in message.text:
        raise RuntimeError("cannot say")
    return "help" in message.text


NUMBER = 1
