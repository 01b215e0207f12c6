"""CloudEvents 1.0 over HTTP: structured and batched as JSON, binary by `ce-` headers; structured on the way out.

Structured on the way out, because a Standard Webhooks signature covers the body and no `ce-` header.
"""

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.webhook.plain import json_value, utf8
from bridge.errors import Malformed
from bridge.model import Envelope, OutboundMessage
from bridge.storable import storable

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_BATCH = 100

_REQUIRED = ("id", "source", "type")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """Context attributes, apart from the data."""

    attributes: Mapping[str, Any]
    data: Any


def event_key(attributes: Mapping[str, Any]) -> str:
    """What CloudEvents says identifies an event: `source` and `id` together."""
    return f"{attributes['source']}#{attributes['id']}"


def events_in(media_type: str, content: Any) -> tuple[CloudEvent, ...]:
    """The events of a structured or batched body. Raises Malformed."""
    listed = content if media_type == BATCH else [content]
    if not isinstance(listed, list) or len(listed) > MAX_BATCH:
        raise Malformed(f"A batch of CloudEvents is a list of at most {MAX_BATCH}.")
    return tuple(_event(each) for each in listed)


def attributes_in_headers(envelope: Envelope) -> dict[str, str]:
    """The attributes of binary mode; empty where the request is no CloudEvent. Raises Malformed."""
    if envelope.header("ce-specversion") is None:
        return {}
    found = {name.removeprefix("ce-"): value for name, value in envelope.headers if name.startswith("ce-")}
    _check(found)
    return found


def structured(message: OutboundMessage, source: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """A callback as a CloudEvent: the delivery's id is the event's, too, so it stays the same over retries."""
    return {
        "specversion": "1.0",
        "id": message.delivery_id,
        "source": source,
        "type": f"agent-bridge.{document['type']}",
        "subject": message.conversation_id,
        "time": document["timestamp"],
        "datacontenttype": "application/json",
        "data": document["data"],
    }


def _event(content: Any) -> CloudEvent:
    if not isinstance(content, dict):
        raise Malformed("A CloudEvent is a JSON object.")
    attributes = {name: value for name, value in content.items() if name not in {"data", "data_base64"}}
    _check(attributes)
    if "data_base64" in content:
        return CloudEvent(attributes, _from_base64(content["data_base64"]))
    return CloudEvent(attributes, content.get("data"))


def _check(attributes: Mapping[str, Any]) -> None:
    if attributes.get("specversion") != "1.0":
        raise Malformed("Only CloudEvents of specversion 1.0 are read.")
    missing = [name for name in _REQUIRED if not isinstance(attributes.get(name), str) or not attributes[name]]
    if missing:
        raise Malformed(f"The CloudEvent lacks {', '.join(missing)}.")


def _from_base64(data: Any) -> Any:
    """Data in base64 is read as JSON where it is JSON, else as text."""
    try:
        raw = binascii.a2b_base64(data, strict_mode=True) if isinstance(data, str) else b""
    except ValueError:
        raise Malformed("data_base64 is not base64.") from None
    try:
        return json_value(raw)
    except Malformed:
        return storable(utf8(raw))
