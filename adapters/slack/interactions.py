"""Buttons, shortcuts and slash commands become inbound messages."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.slack.address import Address, load
from adapters.slack.events import Payload, files_in
from adapters.slack.reading import attached, flat, plain
from adapters.slack.settings import Settings
from adapters.slack.vocabulary import COMMANDS
from bridge.errors import Permanent
from bridge.model import Act, Author, Candidate, InboundMessage, Received, Reply

ASK_ABOUT = "ask_about"
"""Callback id of the message shortcut in our manifest."""
OK = Reply(status=200)
STOP_IN_THREAD = "Say `stop` in the conversation itself, mentioning me, or use the stop button there."


class Pressed(BaseModel):
    """What one of our buttons carries in its `value`: at most 2,000 characters, read only after the signature."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    do: Literal["stop", "rate", "decide"]
    key: str
    """The conversation."""
    id: str = ""
    """The delivery that is rated, or the decision."""
    value: str = ""
    users: tuple[str, ...] = ()
    """Who may press it; empty: everybody who sees it."""
    address: str = ""
    """Where the conversation is answered."""


def interaction(settings: Settings, payload: Payload, digest: str) -> Received:
    """A form field `payload`. What is not ours is acknowledged and dropped. Raises KeyError on a wrong shape."""
    kind = payload["type"]
    key = f"{payload.get('api_app_id') or _app(payload)}:{digest}"
    if kind == "block_actions":
        messages = tuple(filter(None, (_pressed(payload, action, digest, settings) for action in payload["actions"])))
        return Received(delivery_key=key, messages=messages, reply=OK)
    if kind == "message_action" and payload.get("callback_id") == ASK_ABOUT:
        return Received(delivery_key=key, messages=(_asked_about(payload, settings),), reply=OK)
    if kind == "block_suggestion":
        return Received(reply=Reply(body=b'{"options":[]}'))
    return Received(reply=OK)


def _app(payload: Payload) -> str:
    return str((payload.get("message") or {}).get("app_id") or "")


def _pressed(payload: Payload, action: Payload, digest: str, settings: Settings) -> InboundMessage | None:
    user = payload["user"]
    team = (payload.get("team") or {}).get("id") or user.get("team_id") or ""
    try:
        pressed = Pressed.model_validate_json(action.get("value") or "")
        address = load(pressed.address)
    except (ValidationError, Permanent):
        return None  # a link button, or another app's block
    act = {"stop": Act.STOP, "rate": Act.RATE, "decide": Act.DECIDE}[pressed.do]
    metadata: Mapping[str, Any] = {}
    if act is Act.RATE:
        metadata = {"delivery_id": pressed.id, "value": pressed.value}
    elif act is Act.DECIDE:
        metadata = {"decision_id": pressed.id, "choice": pressed.value}
    where = replace(address, user=user["id"], user_team=team, ephemeral=act is Act.DECIDE)
    return InboundMessage(
        message_key=f"{address.team}:{address.channel}:{pressed.do}:{pressed.id}:{digest[:16]}",
        # What we posted is known by its own id, also where the conversation began at another source.
        conversation=tuple(
            Candidate(value=key, matched_by="button") for key in (pressed.key, *_posted(payload, address))
        ),
        return_address=where.dump(),
        author=Author(id=user["id"], trust="verified", name=user.get("name"), attributes={"team": team}),
        act=act,
        metadata=metadata,
        declined=_refusal(pressed, address, user, settings),
    )


def _refusal(pressed: Pressed, address: Address, user: Payload, settings: Settings) -> str | None:
    """Why it does nothing: whose words are not heard decides nothing either."""
    if pressed.users and user["id"] not in pressed.users:
        return "not_allowed"
    home = user.get("team_id")
    abroad = home and home not in {address.team, address.enterprise}
    if abroad and (address.tenant == "shared" or not address.enterprise) and not settings.allow_external:
        return "external_user"
    return None


def _posted(payload: Payload, address: Address) -> tuple[str, ...]:
    ts = (payload.get("container") or {}).get("message_ts")
    return (address.key(str(ts)),) if ts else ()


def _asked_about(payload: Payload, settings: Settings) -> InboundMessage:
    """The message shortcut: the message is material, the question is what the agent makes of it."""
    about, channel = payload["message"], payload["channel"]["id"]
    team = (payload.get("team") or {}).get("id") or payload["user"]["team_id"]
    enterprise = (payload.get("enterprise") or {}).get("id") or ""
    root = about.get("thread_ts") or about["ts"]
    address = Address(
        app=payload.get("api_app_id") or "",
        tenant=enterprise or team,
        team=team,
        enterprise=enterprise,
        channel=channel,
        root=root,
        user=payload["user"]["id"],
        user_team=payload["user"].get("team_id") or team,
    )
    rule = settings.channels.get(channel)
    return InboundMessage(
        message_key=f"{team}:{channel}:shortcut:{payload.get('action_ts') or payload['trigger_id']}",
        conversation=(Candidate(value=address.key(root), matched_by="thread"),),
        return_address=address.dump(),
        author=Author(id=address.user, trust="verified", attributes={"team": address.user_team}),
        addressed="mention",
        text="What about this message?",
        quoted="\n\n".join(filter(None, (flat(about), attached(about) if about.get("text") else ""))),
        files=files_in(about),
        agent=rule.agent if rule else None,
        declined=None if settings.serves(channel) else "channel_not_served",
    )


def slash(settings: Settings, form: Mapping[str, str], digest: str) -> Received:
    """A slash command starts a conversation below the answer: Slack runs none inside a thread."""
    text, channel, user, team = form.get("text", ""), form["channel_id"], form["user_id"], form["team_id"]
    said = plain(text)
    act = COMMANDS.get(said.lower(), Act.SAY)
    person = channel.startswith("D") and settings.dm == "person"
    if not said or (act is not Act.SAY and not person):
        hint = STOP_IN_THREAD if said else f"Write what you want after {form['command']}."
        return Received(reply=_shown(hint, "ephemeral"))
    enterprise = form.get("enterprise_id", "")
    address = Address(
        app=form.get("api_app_id", ""),
        tenant=enterprise or team,
        team=team,
        enterprise=enterprise,
        channel=channel,
        user=user,
        user_team=team,
        hook="" if person else form.get("response_url", ""),
    )
    own = f"slash:{form.get('trigger_id') or digest[:16]}"
    rule = settings.channels.get(channel)
    message = InboundMessage(
        message_key=f"{team}:{channel}:{own}",
        conversation=(Candidate(value=address.key("dm" if person else own), matched_by="command"),),
        return_address=address.dump(),
        author=Author(id=user, trust="verified", name=form.get("user_name"), attributes={"team": team}),
        text=said,
        act=act,
        agent=rule.agent if rule else None,
        declined=None if settings.serves(channel) else "channel_not_served",
    )
    # in_channel without a text shows the command as its author's message.
    reply = Reply(body=b'{"response_type":"in_channel"}')
    return Received(delivery_key=f"{address.app}:{digest}", messages=(message,), reply=reply)


def _shown(text: str, response_type: str) -> Reply:
    return Reply(body=json.dumps({"response_type": response_type, "text": text}).encode())
