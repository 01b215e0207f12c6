"""The body of a verified request, read once, by its declared type and by nothing else.

Guessing a type, or merging what two parsers found, is how gateways were broken into (CVE-2026-21858).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.webhook.cloudevents import BATCH, STRUCTURED, CloudEvent, attributes_in_headers, events_in
from adapters.webhook.multipart import Upload, parts_of_form
from adapters.webhook.plain import form_fields, form_pairs, json_value, utf8
from bridge.errors import Unsupported
from bridge.model import Envelope
from bridge.storable import storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a request, or one event of a batch, said; where it came from stands beside it, never mixed in."""

    content: Any
    envelope: Envelope
    uploads: tuple[Upload, ...] = ()
    event: Mapping[str, Any] = field(default_factory=dict)
    """CloudEvents context attributes; empty for every other request."""
    is_signed_event: bool = False
    """Whether those attributes stood in the body, where a signature covers them."""


def media_type(envelope: Envelope) -> str:
    """The declared type without its parameters, in lower case; JSON where none is declared."""
    declared = envelope.header("content-type") or "application/json"
    return declared.partition(";")[0].strip().lower()


def documents_in(envelope: Envelope, declared: str | None = None) -> tuple[Document, ...]:
    """The request, read: one document, or one per event of a batch. Raises Malformed or Unsupported."""
    declared = declared or media_type(envelope)
    if declared in {STRUCTURED, BATCH}:
        return tuple(_from_event(envelope, event) for event in events_in(declared, json_value(envelope.body)))
    event = attributes_in_headers(envelope)
    content, uploads = _content(declared, envelope)
    return (Document(content=content, envelope=envelope, uploads=uploads, event=event),)


def _from_event(envelope: Envelope, event: CloudEvent) -> Document:
    content = {"text": event.data} if isinstance(event.data, str) else event.data
    return Document(content=content, envelope=envelope, event=event.attributes, is_signed_event=True)


def _from_form(pairs: list[tuple[str, str]]) -> Any:
    """A form's fields, or the JSON in its only field `payload`: GitHub's default, and Slack's interactive posts."""
    if len(pairs) == 1 and pairs[0][0] == "payload":
        return json_value(pairs[0][1].encode())
    return form_fields(pairs)


def _content(declared: str, envelope: Envelope) -> tuple[Any, tuple[Upload, ...]]:
    if declared == "application/json" or declared.endswith("+json"):
        return json_value(envelope.body), ()
    if declared == "application/x-www-form-urlencoded":
        return _from_form(form_pairs(envelope.body)), ()
    if declared == "multipart/form-data":
        pairs, uploads = parts_of_form(envelope)
        return form_fields(pairs), uploads
    if declared == "text/plain":
        return {"text": storable(utf8(envelope.body))}, ()
    raise Unsupported("This type is not read here. Send application/json, a form, multipart/form-data or text/plain.")
