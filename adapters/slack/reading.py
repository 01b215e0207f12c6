"""Slack's message text becomes plain text: tokens resolved, our own mention dropped, entities undone last."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_TOKEN = re.compile(r"<([^<>\n]{1,3000})>")
_MENTION = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^<>]*)?>")
_GAP = re.compile(r"[ \t]{2,}")
_DEPTH = 12

Entities = Mapping[str, Any]


def plain(text: str, own: str = "") -> str:
    """What a person reads on the screen, without the mention of user `own`."""
    parts: list[str] = []
    at = 0
    dropped = False
    for match in _TOKEN.finditer(text):
        parts.append(_unescaped(text[at : match.start()]))
        at = match.end()
        token = match[1]
        if own and token.startswith("@") and token[1:].partition("|")[0] == own:
            dropped = True
        else:
            parts.append(_unescaped(_token(token)))
    parts.append(_unescaped(text[at:]))
    said = "".join(parts)
    return _GAP.sub(" ", said).strip() if dropped else said.strip()


def mentioned(text: str) -> frozenset[str]:
    """The ids of all users mentioned."""
    return frozenset(_MENTION.findall(text)) if "<@" in text else frozenset()


def _unescaped(text: str) -> str:
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _token(token: str) -> str:
    body, _, label = token.partition("|")
    match body[:1]:
        case "@":
            return "@" + (label or body[1:])
        case "#":
            return "#" + (label or body[1:])
        case "!":
            return _special(body[1:], label)
    if body.startswith(("mailto:", "tel:")):
        return label or body.partition(":")[2]
    if not label or label == body or body in {f"https://{label}", f"http://{label}", f"http://{label}/"}:
        return body
    return f"[{label}]({body})"


def _special(name: str, label: str) -> str:
    """`<!here>`, `<!subteam^S1|@group>`, `<!date^1392734382^{date}|Feb 18>`."""
    kind, _, rest = name.partition("^")
    if kind == "date":
        return label or rest
    if kind == "subteam":
        return "@" + (label.removeprefix("@") or rest)
    return "@" + (label.removeprefix("@") or kind)


def flat(event: Entities, own: str = "") -> str:
    """The text of a message: `text`, where that is empty its blocks, else its attachments."""
    text = event.get("text")
    said = plain(text, own) if isinstance(text, str) else ""
    if said:
        return said
    said = "\n".join(_of_blocks(event.get("blocks"), own)).strip()
    return said or attached(event, own)


def attached(event: Entities, own: str = "") -> str:
    """What a forwarded message or an attachment says."""
    parts: list[str] = []
    for item in _dicts(event.get("attachments")):
        head = " ".join(_strings(item, "author_name", "title"))
        body = plain("\n".join(_strings(item, "pretext", "text")), own) or "\n".join(
            _of_blocks(item.get("blocks"), own)
        )
        for inner in _dicts(item.get("message_blocks")):
            body = body or "\n".join(_of_blocks((inner.get("message") or {}).get("blocks"), own))
        body = body or plain(" ".join(_strings(item, "fallback")), own)
        parts.append("\n".join(filter(None, (head, body))))
    return "\n\n".join(filter(None, parts))


def _of_blocks(blocks: Any, own: str) -> Iterator[str]:
    for block in _dicts(blocks):
        line = "".join(_of_element(block, own, 0)).strip()
        if line:
            yield line


def _of_element(element: Entities, own: str, depth: int) -> Iterator[str]:
    """Text of a block or one of its elements, however nested; the depth is bounded against hostile input."""
    kind = str(element.get("type"))
    if kind in _LEAVES:
        yield _LEAVES[kind](element, own)
        return
    text = element.get("text")
    if isinstance(text, str):
        yield text if kind in _LITERAL else plain(text, own)
    elif isinstance(text, dict) and depth < _DEPTH:
        yield from _of_element(text, own, depth + 1)
    if depth < _DEPTH:
        inner = [*_dicts(element.get("elements")), *_dicts(element.get("fields"))]
        for child in inner:
            yield from _of_element(child, own, depth + 1)
            if kind == "rich_text_list" or child.get("type") in _LINES:
                yield "\n"


_LITERAL = frozenset({"text", "plain_text", "markdown"})
_LINES = frozenset({"rich_text_section", "rich_text_preformatted", "rich_text_quote", "mrkdwn", "plain_text"})
_LEAVES: Mapping[str, Callable[[Entities, str], str]] = {
    "user": lambda item, own: "" if item.get("user_id") == own else f"@{item.get('user_id', '')}",
    "channel": lambda item, _: f"#{item.get('channel_id', '')}",
    "usergroup": lambda item, _: f"@{item.get('usergroup_id', '')}",
    "broadcast": lambda item, _: f"@{item.get('range', '')}",
    "emoji": lambda item, _: f":{item.get('name', '')}:",
    "date": lambda item, _: str(item.get("fallback") or item.get("timestamp") or ""),
    "link": lambda item, _: _token("|".join(filter(None, (str(item.get("url", "")), str(item.get("text") or ""))))),
}


def _dicts(value: Any) -> list[Entities]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _strings(item: Entities, *names: str) -> Iterable[str]:
    return (value for name in names if isinstance(value := item.get(name), str) and value)
