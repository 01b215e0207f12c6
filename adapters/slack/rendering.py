"""An outbound message as the arguments of chat.postMessage: blocks, fallback text, buttons, marker."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias
from uuid import NAMESPACE_URL, uuid5

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.slack.address import Address
from adapters.slack.interactions import Pressed
from adapters.slack.settings import Settings
from adapters.slack.writing import preview, safe
from bridge.model import OutboundMessage

log = structlog.get_logger()

Block: TypeAlias = Mapping[str, Any]

MARKER = "bridge_delivery"
MAX_MARKDOWN = 11_900
"""Slack takes 12,000 in all markdown blocks of a message together."""
WORDLESS = "_The agent has finished, without a word._"
_BUTTONS = 25
_LABEL = 75
_MAX_URL = 3000
_MAX_VALUE = 2000


class Button(BaseModel):
    """One button of a notice: `metadata["buttons"]` of the OutboundMessage is a list of these.

    With `url` it is a link. Otherwise pressing it brings an inbound message with the act `decide`,
    the metadata `decision_id` and `choice`, and the author who pressed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    url: str | None = None
    decision_id: str = ""
    choice: str = ""
    style: str | None = None
    """`primary` or `danger`."""
    users: tuple[str, ...] = Field(default=(), max_length=100)
    """Who may press it; empty: everybody in the conversation. More than 100 do not fit into a button."""


def arguments(message: OutboundMessage, address: Address, settings: Settings) -> dict[str, Any]:
    """Everything but the channel. Raises ValueError where it is longer than a message can be."""
    said = words(message)
    if address.hook:  # whoever sees a button can read what it carries
        address = replace(address, hook="")
    text = safe(said, settings.allow_mentions | {address.user})
    if len(text) > MAX_MARKDOWN:
        raise ValueError("longer than a message can be once it is escaped")
    blocks: list[Block] = [{"type": "markdown", "text": text}, *_buttons(message, address)]
    if settings.feedback and message.kind == "answer" and message.part == message.parts - 1:
        blocks.append(_feedback(message, address))
    return {
        "text": preview(said),
        "blocks": blocks,
        "metadata": marker(message),
        "unfurl_links": False,
        "unfurl_media": False,
    }


def words(message: OutboundMessage) -> str:
    """What the message says, with the addresses of files that are elsewhere; never blank, which Slack refuses."""
    linked = [f"[{ref.name}]({ref.url})" for ref in message.files if not ref.url.startswith("file:")]
    said = "\n\n".join(filter(None, (message.text, *linked)))
    return said if said.strip() else ", ".join(ref.name for ref in message.files) or WORDLESS


def marker(message: OutboundMessage) -> Block:
    """Anybody in the channel can read it: an opaque id and nothing else."""
    return {"event_type": MARKER, "event_payload": {"id": message.delivery_id}}


def view_marker(message: OutboundMessage) -> Block:
    """Of a view of a running turn: whoever goes on with the turn can tell it from an answer."""
    return {"event_type": MARKER, "event_payload": {"id": message.delivery_id, "view": message.turn_id}}


def beginning_marker(message: OutboundMessage) -> Block:
    """Of the beginning of an answer that follows as a file: whoever finds it knows that the file is owed, too."""
    return {"event_type": MARKER, "event_payload": {"id": message.delivery_id, "beginning": True}}


def is_beginning(found: Mapping[str, Any]) -> bool:
    """Whether a message read from Slack, which is ours, is such a beginning."""
    return bool(((found.get("metadata") or {}).get("event_payload") or {}).get("beginning"))


def client_msg_id(message: OutboundMessage) -> str:
    """Slack seems to drop a second post with the same one; undocumented, so nothing rests on it."""
    return str(uuid5(NAMESPACE_URL, message.delivery_id))


def has_marker(found: Mapping[str, Any], message: OutboundMessage) -> bool:
    """Whether a message read from Slack is this delivery."""
    metadata = found.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    return bool(metadata.get("event_type") == MARKER and payload.get("id") == message.delivery_id)


def stop_button(key: str, address: Address) -> Block:
    """For surfaces without Slack's own stop button."""
    pressed = Pressed(do="stop", key=key, address=replace(address, hook="").dump())
    return {"type": "actions", "elements": [_button("Stop", "bridge_stop", pressed.model_dump_json(), "danger")]}


def _buttons(message: OutboundMessage, address: Address) -> list[Block]:
    given = message.metadata.get("buttons") if message.kind == "notice" else None
    if not given:
        return []
    try:
        buttons = [Button.model_validate(button) for button in given][:_BUTTONS]
    except (ValidationError, TypeError) as error:
        log.warning("slack_buttons_left_out", delivery=message.delivery_id, error=str(error))
        return []
    elements = []
    for number, button in enumerate(buttons):
        if button.url is not None:
            if button.url.startswith(("https://", "http://")) and len(button.url) <= _MAX_URL:
                elements.append({**_button(button.label, f"bridge_link_{number}"), "url": button.url})
            continue
        pressed = Pressed(
            do="decide",
            key=message.conversation,
            id=button.decision_id,
            value=button.choice,
            users=button.users,
            address=address.dump(),
        )
        value = pressed.model_dump_json()
        if len(value) <= _MAX_VALUE:
            elements.append(_button(button.label, f"bridge_decide_{number}", value, button.style))
    # Slack refuses all of a message for one button it does not take; the text says the same without it.
    return [{"type": "actions", "elements": elements}] if elements else []


def _button(label: str, action_id: str, value: str | None = None, style: str | None = None) -> dict[str, Any]:
    button: dict[str, Any] = {
        "type": "button",
        "action_id": action_id,
        "text": {"type": "plain_text", "text": label[:_LABEL]},
    }
    if value is not None:
        button["value"] = value
    if style in {"primary", "danger"}:
        button["style"] = style
    return button


def _feedback(message: OutboundMessage, address: Address) -> Block:
    def side(label: str, value: str) -> Block:
        pressed = Pressed(
            do="rate", key=message.conversation, id=message.delivery_id, value=value, address=address.dump()
        )
        return {"text": {"type": "plain_text", "text": label}, "value": pressed.model_dump_json()}

    element = {
        "type": "feedback_buttons",
        "action_id": "bridge_feedback",
        "positive_button": side("Good answer", "1"),
        "negative_button": side("Bad answer", "-1"),
    }
    return {"type": "context_actions", "elements": [element]}
