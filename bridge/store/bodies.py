"""How messages lie in their rows: JSON, with what is queried beside it in columns of its own."""

from dataclasses import replace

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from bridge.model import FileRef, InboundMessage, OutboundMessage
from bridge.storable import LONGEST_NAME, storable_name, storable_value

_INBOUND = TypeAdapter(InboundMessage)
_OUTBOUND = TypeAdapter(OutboundMessage)
_FILES = TypeAdapter(tuple[FileRef, ...])


def dump_inbound(message: InboundMessage) -> str:
    """Everything but the text, which has a column of its own."""
    return _INBOUND.dump_json(message, exclude={"text"}, exclude_defaults=True).decode()


def load_inbound(body: str, text: str) -> InboundMessage:
    """The message as it was stored."""
    message = _INBOUND.validate_json(body)
    object.__setattr__(message, "text", text)  # nobody else has it yet, and `replace` takes as long as reading it did
    return message


def dump_outbound(message: OutboundMessage) -> str:
    """The whole message, to be sent exactly so at every try."""
    return _OUTBOUND.dump_json(message, exclude_defaults=True).decode()


def load_outbound(body: str) -> OutboundMessage:
    """The message as it was frozen."""
    return _OUTBOUND.validate_json(body)


def dump_files(files: tuple[FileRef, ...]) -> str:
    """What came with an answer."""
    return _FILES.dump_json(files, exclude_defaults=True).decode()


def load_files(files: str | None) -> tuple[FileRef, ...]:
    """The same again; none where nothing is stored."""
    return _FILES.validate_json(files) if files else ()


def storable_message(message: InboundMessage) -> InboundMessage:
    """The same where databases take it, as nearly always; else with marks in its words, and digests for names.

    Raises ValueError where it could be stored and never read again: an adapter's mistake, told while its platform
    still has the message.
    """
    return _with_short_names(_in_storable_words(message))


def _in_storable_words(message: InboundMessage) -> InboundMessage:
    try:
        written = _INBOUND.dump_json(message, warnings="error")
    except PydanticSerializationError:  # half a surrogate pair, or something of another type
        written = b"\\u0000"
    if b"\\u0000" not in written:
        _INBOUND.validate_json(written)
        return message
    marked = _INBOUND.validate_python(storable_value(_INBOUND.dump_python(message, warnings=False)))
    return _INBOUND.validate_json(_INBOUND.dump_json(marked))


def _with_short_names(message: InboundMessage) -> InboundMessage:
    """What strangers call themselves, their messages and their conversations may be of any length."""
    names = (message.message_key, message.author.id, *(candidate.value for candidate in message.conversation))
    if max(map(len, names)) <= LONGEST_NAME:
        return message
    return replace(
        message,
        message_key=storable_name(message.message_key),
        author=replace(message.author, id=storable_name(message.author.id)),
        conversation=tuple(replace(one, value=storable_name(one.value)) for one in message.conversation),
    )
