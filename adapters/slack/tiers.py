"""Slack's documented rate limits as data: the core's budgets, shared by all nodes, are made of it."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from adapters.slack.address import Address

Budget: TypeAlias = tuple[str, float, int]
"""A key, calls a minute, and how many of them may come at a time."""

TIER = {1: (1.0, 1), 2: (20.0, 20), 3: (50.0, 50), 4: (100.0, 100)}
"""docs.slack.dev, Rate limits: so many a minute by workspace and method, as a floor."""

METHODS = {
    "chat.startStream": 2,
    "chat.stopStream": 2,
    "chat.update": 3,
    "chat.delete": 3,
    "agents.sessions.setStatus": 3,
    "agents.sessions.rename": 3,
    "conversations.replies": 3,
    "conversations.history": 3,
    "conversations.info": 3,
    "chat.appendStream": 4,
    "chat.postEphemeral": 4,
    "users.info": 4,
    "files.info": 4,
    "files.getUploadURLExternal": 4,
    "files.completeUploadExternal": 4,
    "assistant.threads.setSuggestedPrompts": 4,
}

POST_PER_CHANNEL = (60.0, 5)
"""chat.postMessage: one a second in a channel, short bursts pass. No cap for a workspace is documented;
what a 429 teaches (Retry-After) is the only one."""


def budgets(method: str, address: Address, own: Mapping[str, tuple[float, int]]) -> Sequence[Budget]:
    """What a call counts against. `own` are the operator's figures by method."""
    if method == "chat.postMessage":
        rate, burst = own.get(method, POST_PER_CHANNEL)
        return ((f"{address.team}:{method}:{address.channel}", rate, burst),)
    if method not in METHODS and method not in own:
        return ()
    rate, burst = own.get(method) or TIER[METHODS[method]]
    return ((f"{address.team}:{method}", rate, burst),)
