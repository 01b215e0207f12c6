"""An agent's Markdown becomes what Slack shows, and pings nobody it may not ping."""

import re
from collections.abc import Callable, Collection, Iterable
from urllib.parse import urlsplit

_CODE = re.compile(
    r"^[ >]*(?P<fence>`{3,}|~{3,})[^\n]*\n(?:.*\n)*?(?:[ >]*(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?P<ticks>`{1,3})(?!`)[^`\n]{1,1000}(?P=ticks)(?!`)",
    re.MULTILINE,
)
_LIVE_IN_CODE = re.compile(r"<(?=[!@#]|[a-z]{2,10}:[^<>|\s]*\|)")
_ANGLE = re.compile(r"<(?:([^<>\n]{1,3000})>)?")
_ESCAPED_ANGLE = re.compile(r"(?<!\\)((?:\\\\){0,50})\\<")
"""Markdown's own way to write one; the entity must not stand behind its backslash, or people read `&lt;`."""
_PERSON = re.compile(r"@([UW][A-Z0-9]+)(?:\|[^|]*)?")
_GROUP = re.compile(r"!subteam\^(S[A-Z0-9]+)(?:\|[^|]*)?")
_CHANNEL = re.compile(r"#C[A-Z0-9]+(?:\|[^|]*)?")
_BROADCAST = re.compile(r"!(here|channel|everyone)(?:\|[^|]*)?")
_WEB = re.compile(r"(https?://[^\s|]+)(?:\|(.*))?", re.DOTALL)
_LINK = re.compile(
    r"\[(?P<label>(?:[^\[\]\n]|\[[^\[\]\n]{0,300}\]){0,1000})\]"
    r"\(\s{0,50}(?:<(?P<held>[^<>\n]{0,2000})>|(?P<url>(?:[^()\s<>]|\((?:[^()\s<>]|\([^()\s<>]{0,300}\)){0,300}\)){1,2000}))"
    r"(?:\s{1,50}(?:\"[^\"]{0,300}\"|'[^']{0,300}'|\([^()]{0,300}\)))?\s{0,50}\)"
    r"|(?P<other>(?:\[[^\[\]\n]{0,1000})?\])\((?=\s{0,50}<?[a-zA-Z][a-zA-Z+.-]{0,20}:)"
)
"""Links in every form that Markdown has beside their text; `other` could be (the end of) one and is not understood."""
_REFERENCE = re.compile(r"\](?=:\s{0,50}<?(?:[a-zA-Z][a-zA-Z+.-]{0,20}:|//))")
"""Where the text of a link is apart from what it leads to. Such a line is shown, and then nothing is hidden."""
_DRESS = re.compile(r"[*_~`\\\[\]]")
_CALL = re.compile(r"@(here|channel|everyone)\b", re.IGNORECASE)
_LOOKS_LIKE_HOST = re.compile(
    r"\s*(?:https?://|www\.|(?=[\w.-]+\.(?:com|org|net|io|dev|ai|app|co|gov|edu|me|info)(?:[/:?#]|\s*$)))([\w.-]+)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"^\s{0,3}(?:#{1,6} |```\w*$|~~~\w*$)|\*\*|__|^\|[-:| ]+\|$", re.MULTILINE)
_JOINER = "\u2060"
"""WORD JOINER: unseen, and nothing that Slack takes for a token has it."""
_PREVIEW = 3000
"""Characters, entities included: chat.update refuses a text above 4,000."""
_TORN = re.compile(r"&\w{0,3}\Z")


def safe(text: str, allowed: Collection[str] = ()) -> str:
    """Markdown for a markdown block. Only `allowed` people, groups and broadcasts can be pinged by it.

    Channel links and plain web addresses stay live; a link that names another host than it leads to
    shows where it leads. Code keeps its characters but for an unseen one inside of a token.
    """
    if "<" not in text and "@" not in text and "](" not in text and "]:" not in text:
        return text
    return _outside_code(text, lambda prose: _prose(prose, allowed))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts: list[str] = []
    at = 0
    labels = [match.span("label") for match in _LINK.finditer(text)] if "](" in text and "`" in text else []
    for match in _CODE.finditer(text):
        if match["ticks"] and "](" not in match[0] and _within(match.span(), labels):
            continue  # in the text of a link
        parts += change(text[at : match.start()]), _LIVE_IN_CODE.sub("<" + _JOINER, match[0])
        at = match.end()
    return "".join((*parts, change(text[at:])))


def _within(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in others)


def _prose(text: str, allowed: Collection[str]) -> str:
    text = _REFERENCE.sub(f"]{_JOINER}", _LINK.sub(_honest, text))
    text = _ESCAPED_ANGLE.sub(r"\1&lt;", text)
    text = _ANGLE.sub(lambda match: _angle(match, allowed), text)
    return _CALL.sub(lambda match: match[0] if match[1].lower() in allowed else f"@{_JOINER}{match[1]}", text)


def _angle(match: re.Match[str], allowed: Collection[str]) -> str:
    token = match[1] or ""
    for pattern in (_PERSON, _GROUP, _BROADCAST):
        named = pattern.fullmatch(token)
        if named and named[1] in allowed:
            return match[0]
    if _CHANNEL.fullmatch(token):
        return match[0]
    web = _WEB.fullmatch(token)
    if web and web[2] is None:
        return match[0]
    if web:
        return _LINK.sub(_honest, f"[{web[2]}]({web[1]})").replace("<", "&lt;")
    return "&lt;" + match[0][1:]


def _honest(match: re.Match[str]) -> str:
    if match["other"]:
        return f"{match['other']}{_JOINER}("
    label, url = match["label"], match["held"] or match["url"] or ""
    if "](" in label:  # of two links in each other the inner one is it
        return "[" + _LINK.sub(_honest, match[0][1:])
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return f"{label} ({url})"
    if parts.scheme.lower() not in {"http", "https", "mailto", "tel"}:
        return match[0] if not parts.scheme else f"{label} ({url})"
    named = _LOOKS_LIKE_HOST.match(_DRESS.sub("", label))
    if not named or not host:
        return match[0]
    claimed = named[1].lower().removeprefix("www.").rstrip(".")
    return match[0] if host.removeprefix("www.") == claimed else f"{label} ({url})"


def preview(text: str) -> str:
    """The `text` of a message with blocks: what notifications, search and screen readers get. Nothing in it is live."""
    text = _MARKUP.sub("", text[: _PREVIEW * 2]).strip()
    shown = escaped(_CALL.sub(f"@{_JOINER}\\1", text))
    return shown if len(shown) <= _PREVIEW else _TORN.sub("", shown[: _PREVIEW - 1]) + "…"


def escaped(text: str) -> str:
    """For mrkdwn and `text`: Slack's three entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
