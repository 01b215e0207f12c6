"""What people do in the workspace."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from adapters.slack.fake.delivery import Deliveries
from adapters.slack.fake.methods import change, file_object
from adapters.slack.fake.workspace import APP, BOT, TEAM, Message, Stored, Workspace

Order = Literal["message_first", "mention_first"]


class People:
    """Each act changes the workspace and queues the events that Slack would send."""

    def __init__(self, slack: Workspace, deliveries: Deliveries) -> None:
        self._slack = slack
        self._deliveries = deliveries
        self.order: Order = "message_first"
        """Slack sends a mention as two events, in either order."""

    def say(
        self,
        text: str,
        *,
        channel: str = "C1",
        user: str = "U1",
        thread_ts: str | None = None,
        files: Sequence[Stored] = (),
        **more: Any,
    ) -> str:
        """Say something; a mention of the bot in a channel is sent twice. Returns the ts."""
        fields: dict[str, Any] = {"user": user, "text": text, "client_msg_id": f"c{self._slack.number()}", **more}
        if files:
            fields |= {"subtype": "file_share", "files": [file_object(self._slack, file) for file in files]}
        message = self._slack.add(channel, fields, thread_ts=thread_ts)
        self._tell(channel, message)
        return str(message["ts"])

    def file(self, name: str, body: bytes, media_type: str) -> Stored:
        """Upload a file, to be said with something."""
        file = Stored(f"F{self._slack.number()}", name, body, media_type, shared=True)
        self._slack.files[file.id] = file
        return file

    def edit(self, ts: str, text: str, *, channel: str = "C1") -> None:
        """Change what was said."""
        message = self._slack.message(channel, ts)
        before = dict(message)
        message["text"] = text
        message["edited"] = {"user": message["user"], "ts": self._slack.new_ts()}
        change(self._slack, channel, before, message)

    def unfurl(self, ts: str, *, channel: str = "C1") -> None:
        """What Slack sends when a preview appears or it has found out the language: nothing that was said changed."""
        message = self._slack.message(channel, ts)
        change(self._slack, channel, message, {**message, "attachments": [{"title": "a preview"}]})

    def delete(self, ts: str, *, channel: str = "C1") -> None:
        """Take back what was said."""
        message = self._slack.messages.pop((channel, ts))
        self._slack.publish(
            {"type": "message", "subtype": "message_deleted", "channel": channel, "ts": self._slack.new_ts(),
             "deleted_ts": ts, "previous_message": message}
        )  # fmt: skip

    def react(self, ts: str, reaction: str, *, channel: str = "C1", user: str = "U1") -> None:
        """Put an emoji on a message."""
        item = {"type": "message", "channel": channel, "ts": ts}
        author = self._slack.message(channel, ts)["user"]
        self._slack.publish(
            {"type": "reaction_added", "user": user, "reaction": reaction, "item": item, "item_user": author,
             "event_ts": self._slack.new_ts()}
        )  # fmt: skip

    def stop(self, root: str, *, channel: str = "C1", user: str = "U1") -> None:
        """Slack's own stop button."""
        self._slack.publish(
            {"type": "agent_session_stopped", "channel": channel, "thread_ts": root, "user": user,
             "streaming_message_ts": [], "event_ts": self._slack.new_ts()}
        )  # fmt: skip

    async def press(self, message: Message, label: str, *, channel: str = "C1", user: str = "U1") -> int:
        """Press the button with this label."""
        action = next(action for action in _actions(message) if label in json.dumps(action["text"]))
        who = {"id": user, "team_id": TEAM, "name": self._slack.users[user]["name"]}
        return await self._deliveries.interaction(
            {"type": "block_actions", "api_app_id": APP, "team": {"id": TEAM}, "user": who,
             "container": {"channel_id": channel, "message_ts": message["ts"]}, "channel": {"id": channel},
             "message": message, "trigger_id": str(self._slack.number()), "actions": [action]}
        )  # fmt: skip

    async def ask_about(self, ts: str, *, channel: str = "C1", user: str = "U1") -> int:
        """The message shortcut of our manifest."""
        return await self._deliveries.interaction(
            {"type": "message_action", "callback_id": "ask_about", "api_app_id": APP, "team": {"id": TEAM},
             "user": {"id": user, "team_id": TEAM}, "channel": {"id": channel}, "action_ts": self._slack.new_ts(),
             "trigger_id": str(self._slack.number()), "message": self._slack.message(channel, ts)}
        )  # fmt: skip

    async def command(self, text: str, *, channel: str = "C1", user: str = "U1") -> int:
        """The slash command."""
        return await self._deliveries.command(
            {"command": "/agent", "text": text, "user_id": user, "user_name": "ada", "channel_id": channel,
             "team_id": TEAM, "api_app_id": APP, "trigger_id": str(self._slack.number()),
             "response_url": f"{self._slack.url}commands/1"}
        )  # fmt: skip

    def _tell(self, channel: str, message: Message) -> None:
        mention: Mapping[str, Any] | None = None
        if f"<@{BOT}>" in message["text"] and not channel.startswith("D"):
            shown = {name: value for name, value in message.items() if name != "subtype"}
            mention = {**shown, "type": "app_mention", "channel": channel, "event_ts": message["ts"]}
        if mention is not None and self.order == "mention_first":
            self._slack.publish(mention)
        self._slack.announce(channel, message)
        if mention is not None and self.order == "message_first":
            self._slack.publish(mention)


def buttons(message: Message) -> list[str]:
    """The labels of a message's buttons."""
    return [str(action["text"]["text"]) for action in _actions(message)]


def _actions(message: Message) -> list[dict[str, Any]]:
    """Every button of a message; each half of a feedback block is one."""
    found: list[dict[str, Any]] = []
    for block in message.get("blocks") or ():
        for element in block.get("elements") or ():
            if element["type"] == "button":
                found.append(element)
            elif element["type"] == "feedback_buttons":
                found += [element["positive_button"], element["negative_button"]]
    return found
