"""The Web API, method by method, as far as a bot uses it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from adapters.slack.fake.workspace import APP, BOT, BOT_ID, TEAM, ApiError, Grant, Message, Stored, Workspace

Answer: TypeAlias = dict[str, Any]

MAX_TEXT = 40_000
MAX_UPDATE_TEXT = 4_000
MAX_MARKDOWN = 12_000
MAX_BLOCKS = 50


@dataclass(frozen=True, slots=True)
class Call:
    """One call with its arguments, and what its token may do."""

    method: str
    given: Mapping[str, Any]
    grant: Grant
    encoding: str
    """`json`, `query` or `form`."""

    def text(self, name: str) -> str:
        """A required argument."""
        value = self.given.get(name)
        if value is None or value == "":
            raise ApiError("invalid_arguments", response_metadata={"messages": [f"missing required field: {name}"]})
        return str(value)


Method: TypeAlias = Callable[[Workspace, Call], Answer]


def _auth_test(_slack: Workspace, call: Call) -> Answer:
    return {"url": "https://acme.slack.com/", "team": "Acme", "user": "agent", "team_id": call.grant.team,
            "user_id": BOT, "bot_id": BOT_ID, "is_enterprise_install": False, "app_id": APP}  # fmt: skip


def checked_blocks(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Blocks within Slack's limits."""
    blocks = given.get("blocks") or []
    if len(blocks) > MAX_BLOCKS:
        raise ApiError("invalid_blocks")
    if sum(len(block.get("text", "")) for block in blocks if block.get("type") == "markdown") > MAX_MARKDOWN:
        raise ApiError("msg_blocks_too_long")
    if blocks and given.get("markdown_text"):
        raise ApiError("markdown_text_conflict")
    return list(blocks)


def _chat_post_message(slack: Workspace, call: Call) -> Answer:
    channel = call.text("channel")
    if channel not in slack.channels:
        raise ApiError("channel_not_found")
    if not slack.channels[channel].get("is_member", True):
        raise ApiError("not_in_channel")
    if slack.channels[channel].get("is_archived"):
        raise ApiError("is_archived")
    blocks, text = checked_blocks(call.given), str(call.given.get("text") or "")
    if not (blocks or text):
        raise ApiError("no_text")
    fields: dict[str, Any] = {"user": BOT, "bot_id": BOT_ID, "app_id": APP, "text": text[:MAX_TEXT]}
    fields |= {"blocks": blocks} if blocks else {}
    fields |= {"metadata": call.given["metadata"]} if call.given.get("metadata") else {}
    message = slack.add(channel, fields, thread_ts=call.given.get("thread_ts"))
    slack.announce(channel, message)
    if slack.unfurls and "http" in text and call.given.get("unfurl_links") is not False:
        change(slack, channel, message, dict(message))
    return {"channel": channel, "ts": message["ts"], "message": message}


def _chat_post_ephemeral(slack: Workspace, call: Call) -> Answer:
    ts = slack.new_ts()
    slack.ephemeral.append({**call.given, "message_ts": ts})
    return {"message_ts": ts, "to": call.text("user")}


def _chat_update(slack: Workspace, call: Call) -> Answer:
    channel, ts = call.text("channel"), call.text("ts")
    message = slack.message(channel, ts)
    if message.get("app_id") != APP:
        raise ApiError("cant_update_message")
    if slack.is_streaming(channel, ts):
        raise ApiError("streaming_state_conflict")
    if len(str(call.given.get("text") or "")) > MAX_UPDATE_TEXT:
        raise ApiError("msg_too_long")
    before = dict(message)
    message["text"] = str(call.given.get("text") or message["text"])
    message["blocks"] = checked_blocks(call.given)  # text without blocks removes the blocks
    if "metadata" in call.given:
        message["metadata"] = call.given["metadata"]
    change(slack, channel, before, message)
    return {"channel": channel, "ts": ts, "text": message["text"], "message": message}


def change(slack: Workspace, channel: str, before: Message, after: Message) -> None:
    """The event of a message that changed; Slack sends it for unfurls and language detection, too."""
    slack.publish(
        {"type": "message", "subtype": "message_changed", "hidden": True, "channel": channel, "ts": slack.new_ts(),
         "channel_type": "im" if channel.startswith("D") else "channel",
         "message": dict(after), "previous_message": dict(before)}
    )  # fmt: skip


def _chat_delete(slack: Workspace, call: Call) -> Answer:
    channel, ts = call.text("channel"), call.text("ts")
    message = slack.message(channel, ts)
    del slack.messages[channel, ts]
    slack.publish(
        {"type": "message", "subtype": "message_deleted", "hidden": True, "channel": channel, "ts": slack.new_ts(),
         "deleted_ts": ts, "previous_message": message}
    )  # fmt: skip
    return {"channel": channel, "ts": ts}


def _conversations_replies(slack: Workspace, call: Call) -> Answer:
    channel, root = call.text("channel"), call.text("ts")
    found = slack.thread(channel, root)
    if not found:
        raise ApiError("thread_not_found")
    return _page(call, found, root)


def _conversations_history(slack: Workspace, call: Call) -> Answer:
    channel = call.text("channel")
    top = [
        message
        for (where, ts), message in sorted(slack.messages.items(), reverse=True)
        if where == channel and message.get("thread_ts") in {None, ts}
    ]
    return _page(call, top, "")


def _page(call: Call, found: list[Message], root: str) -> Answer:
    """`oldest` and `latest` are exclusive; the root stands on every page; metadata only on request."""
    if call.encoding == "json":
        raise ApiError("invalid_arguments")
    oldest, latest = str(call.given.get("oldest") or "0"), str(call.given.get("latest") or "9")
    start, limit = int(call.given.get("cursor") or 0), int(call.given.get("limit") or 100)
    within = [message for message in found if message["ts"] == root or oldest < message["ts"] < latest]
    wanted = str(call.given.get("include_all_metadata")) in {"1", "true", "True"}
    shown = [
        {name: value for name, value in message.items() if wanted or name != "metadata"}
        for message in within[start : start + limit]
    ]
    more = start + limit < len(within)
    cursor = {"response_metadata": {"next_cursor": str(start + limit)}} if more else {}
    return {"messages": shown, "has_more": more, **cursor}


def _conversations_info(slack: Workspace, call: Call) -> Answer:
    channel = slack.channels.get(call.text("channel"))
    if channel is None:
        raise ApiError("channel_not_found")
    return {"channel": channel}


def _users_info(slack: Workspace, call: Call) -> Answer:
    user = slack.users.get(call.text("user"))
    if user is None:
        raise ApiError("user_not_found")
    return {"user": user}


def _set_session_status(slack: Workspace, call: Call) -> Answer:
    if not slack.is_agent:
        raise ApiError("not_authorized")
    where = call.text("channel_id"), call.text("thread_ts")
    slack.statuses[where] = call.text("status")
    if call.given.get("title"):
        slack.titles[where] = call.text("title")
    return {"status": call.given["status"]}


def _rename_session(slack: Workspace, call: Call) -> Answer:
    if not slack.is_agent:
        raise ApiError("not_authorized")
    return _set_title(slack, call)


def _set_title(slack: Workspace, call: Call) -> Answer:
    slack.titles[call.text("channel_id"), call.text("thread_ts")] = call.text("title")
    return {"title": call.given["title"]}


def _set_thread_status(slack: Workspace, call: Call) -> Answer:
    slack.statuses[call.text("channel_id"), call.text("thread_ts")] = str(call.given.get("status") or "")
    return {}


def _set_suggested_prompts(slack: Workspace, call: Call) -> Answer:
    slack.prompts.append(call.given)
    return {}


def _get_upload_url(slack: Workspace, call: Call) -> Answer:
    file = Stored(f"F{slack.number()}", call.text("filename"))
    slack.files[file.id] = file
    return {"upload_url": f"{slack.url}upload/v1/{file.id}", "file_id": file.id}


def _complete_upload(slack: Workspace, call: Call) -> Answer:
    files = [slack.files[item["id"]] for item in call.given["files"]]
    if any(not file.body for file in files):
        raise ApiError("file_not_found")
    for file in files:
        file.shared = True
    channel = call.given.get("channel_id")
    if channel:
        shown = [file_object(slack, file) for file in files]
        fields = {"user": BOT, "bot_id": BOT_ID, "app_id": APP, "text": "", "subtype": "file_share", "files": shown}
        slack.announce(channel, slack.add(channel, fields, thread_ts=call.given.get("thread_ts")))
    return {"files": [{"id": file.id, "title": file.name} for file in files]}


def file_object(slack: Workspace, file: Stored) -> dict[str, Any]:
    """A file as messages show it."""
    url = f"{slack.url}files-pri/{TEAM}-{file.id}/{file.name}"
    return {"id": file.id, "name": file.name, "mimetype": file.media_type, "size": len(file.body), "mode": "hosted",
            "url_private": url, "url_private_download": url}  # fmt: skip


def _files_info(slack: Workspace, call: Call) -> Answer:
    file = slack.files.get(call.text("file"))
    if file is None:
        raise ApiError("file_not_found")
    return {"file": file_object(slack, file)}


def _connections_open(slack: Workspace, _call: Call) -> Answer:
    return {"url": slack.url.replace("http", "ws", 1) + f"socket?ticket={slack.number()}"}


METHODS: dict[str, tuple[Method, str | None]] = {
    "auth.test": (_auth_test, None),
    "chat.postMessage": (_chat_post_message, "chat:write"),
    "chat.postEphemeral": (_chat_post_ephemeral, "chat:write"),
    "chat.update": (_chat_update, "chat:write"),
    "chat.delete": (_chat_delete, "chat:write"),
    "conversations.replies": (_conversations_replies, "channels:history"),
    "conversations.history": (_conversations_history, "channels:history"),
    "conversations.info": (_conversations_info, "channels:read"),
    "users.info": (_users_info, "users:read"),
    "agents.sessions.setStatus": (_set_session_status, "chat:write"),
    "agents.sessions.rename": (_rename_session, "chat:write"),
    "assistant.threads.setTitle": (_set_title, "assistant:write"),
    "assistant.threads.setStatus": (_set_thread_status, "chat:write"),
    "assistant.threads.setSuggestedPrompts": (_set_suggested_prompts, "assistant:write"),
    "files.getUploadURLExternal": (_get_upload_url, "files:write"),
    "files.completeUploadExternal": (_complete_upload, "files:write"),
    "files.info": (_files_info, "files:read"),
    "apps.connections.open": (_connections_open, "connections:write"),
}
"""What it does, and the scope it needs."""
