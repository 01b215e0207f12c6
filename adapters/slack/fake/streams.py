"""chat.startStream and its kin, with the rules that hurt: five minutes, recipients, deltas, open cards."""

from collections.abc import Mapping
from typing import Any

from adapters.slack.fake.methods import MAX_BLOCKS, MAX_MARKDOWN, Answer, Call, Method, checked_blocks
from adapters.slack.fake.workspace import APP, BOT, BOT_ID, ApiError, Stream, Workspace


def _start_stream(slack: Workspace, call: Call) -> Answer:
    channel = call.text("channel")
    if not channel.startswith("D"):
        for name in ("recipient_user_id", "recipient_team_id"):
            if not call.given.get(name):
                raise ApiError(f"missing_{name}")
    fields = {"user": BOT, "bot_id": BOT_ID, "app_id": APP, "text": ""}
    message = slack.add(channel, fields, thread_ts=call.given.get("thread_ts"))
    slack.streams[channel, message["ts"]] = Stream(began=slack.now())
    _write(slack, channel, message["ts"], call.given)
    return {"channel": channel, "ts": message["ts"]}


def _append_stream(slack: Workspace, call: Call) -> Answer:
    channel, ts = call.text("channel"), call.text("ts")
    _live(slack, channel, ts)
    _write(slack, channel, ts, call.given)
    return {"channel": channel, "ts": ts}


def _stop_stream(slack: Workspace, call: Call) -> Answer:
    channel, ts = call.text("channel"), call.text("ts")
    stream = _live(slack, channel, ts)
    _write(slack, channel, ts, call.given)
    message = slack.message(channel, ts)
    stream.open = False
    for card in stream.cards.values():  # Slack paints what is open then as failed
        card["status"] = "complete" if card["status"] == "complete" else "error"
    message["blocks"] = [{"type": "markdown", "text": stream.text}] if stream.text else []
    message["blocks"] += [{"type": "task_card", **card} for card in stream.cards.values()]
    message["blocks"] += checked_blocks(call.given)
    if call.given.get("metadata"):
        message["metadata"] = call.given["metadata"]
    slack.announce(channel, message)
    return {"channel": channel, "ts": ts, "message": message}


def _live(slack: Workspace, channel: str, ts: str) -> Stream:
    slack.message(channel, ts)
    if not slack.is_streaming(channel, ts):
        raise ApiError("message_not_in_streaming_state")
    return slack.streams[channel, ts]


def _write(slack: Workspace, channel: str, ts: str, given: Mapping[str, Any]) -> None:
    stream, text = slack.streams[channel, ts], str(given.get("markdown_text") or "")
    for chunk in given.get("chunks") or ():
        if chunk["type"] == "markdown_text":
            text += chunk["text"]
        elif chunk["type"] == "task_update":
            stream.cards[chunk["id"]] = {name: chunk[name] for name in ("id", "title", "status")}
    if len(stream.text) + len(text) > MAX_MARKDOWN:
        raise ApiError("msg_too_long")
    if len(stream.cards) >= MAX_BLOCKS:
        raise ApiError("msg_blocks_too_long")
    stream.text += text
    slack.message(channel, ts)["text"] = stream.text


STREAM_METHODS: dict[str, tuple[Method, str | None]] = {
    "chat.startStream": (_start_stream, "chat:write"),
    "chat.appendStream": (_append_stream, "chat:write"),
    "chat.stopStream": (_stop_stream, "chat:write"),
}
