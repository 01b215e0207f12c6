"""How messages lie in their rows: JSON, with what is queried beside it in columns of its own."""

from dataclasses import replace

from pydantic import TypeAdapter

from bridge.model import InboundMessage, OutboundMessage

_INBOUND = TypeAdapter(InboundMessage)
_OUTBOUND = TypeAdapter(OutboundMessage)


def dump_inbound(message: InboundMessage) -> str:
    """Everything but the text, which has a column of its own."""
    return _INBOUND.dump_json(message, exclude={"text"}, exclude_defaults=True).decode()


def load_inbound(body: str, text: str) -> InboundMessage:
    """The message as it was stored."""
    return replace(_INBOUND.validate_json(body), text=text)


def dump_outbound(message: OutboundMessage) -> str:
    """The whole message, to be sent exactly so at every try."""
    return _OUTBOUND.dump_json(message, exclude_defaults=True).decode()


def load_outbound(body: str) -> OutboundMessage:
    """The message as it was frozen."""
    return _OUTBOUND.validate_json(body)
