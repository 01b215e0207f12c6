"""xpander.ai's own webhook channel, so that its callers can switch by changing the host.

Parameters stand in the query or in the body, the query counts more; `params_mapping` in the query
takes values out of the body and counts most. What is no parameter goes to the agent as it is.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from adapters.webhook.document import Document
from adapters.webhook.expressions import as_text
from adapters.webhook.mapping import Mapped
from adapters.webhook.plain import Unmappable
from bridge.model import Envelope, OutboundMessage, Reply

WAIT_SECONDS = 25.0
"""How long a synchronous caller is kept; below the 30 s at which most proxies give up."""

_TEXT = ("prompt", "task_id", "user_id", "user_email", "user_first_name", "user_last_name")
_MAPPABLE = frozenset(_TEXT)
_OWN = frozenset(
    {*_TEXT, "agent_id", "x-api-key", "asynchronous", "getter", "json", "user_tokens", "disable_attachment_injection",
     "params_mapping"}
)  # fmt: skip
_TRUE = frozenset({"true", "1", "yes", "on"})


class VendorMapping:
    """Reads what the vendor's channel takes and writes what it answers."""

    def read(self, document: Document) -> Mapped:
        """Raises Unmappable."""
        body = document.content if isinstance(document.content, dict) else {}
        query = _query(document.envelope)
        given = {**_of(body), **_of(query), **_mapped(query, body)}
        content: dict[str, Any] = {name: value for name in _TEXT if (value := as_text(given.get(name)))}
        if "disable_attachment_injection" in given:
            content["disable_attachment_injection"] = _is_true(given["disable_attachment_injection"])
        others = {name: value for name, value in body.items() if name not in _OWN}
        if others and "prompt" in content:
            content["quoted"] = as_text(others)
        elif others:
            content["prompt"] = as_text(others)
        return Mapped(content=content)

    def is_asynchronous(self, document: Document) -> bool:
        """Whether the caller wants to be told at once that work has begun."""
        body = document.content if isinstance(document.content, dict) else {}
        return _is_true({**_of(body), **_of(_query(document.envelope))}.get("asynchronous"))

    def started(self) -> Reply:
        """What an asynchronous caller is told."""
        return Reply(body=b'{"status":"Started"}')

    def answer(self, document: Document, message: OutboundMessage, now: datetime) -> Reply:
        """What a caller that waited is told: the whole task, or the value its `getter` names."""
        body = document.content if isinstance(document.content, dict) else {}
        given = {**_of(body), **_of(_query(document.envelope))}
        task: dict[str, Any] = {
            "id": message.task_id,
            "agent_id": as_text(given.get("agent_id")) or None,
            "status": message.status,
            "result": message.text,
            "created_at": _written(message.created_at),
            "completed_at": _written(now),
        }
        getter = as_text(given.get("getter"))
        if getter or _is_true(given.get("json")):
            task["result"] = _parsed(message.text)
        shown = _at(task, getter) if getter else task
        return Reply(body=json.dumps(shown, ensure_ascii=False).encode())


def _query(envelope: Envelope) -> dict[str, str]:
    return dict(parse_qsl(envelope.query, keep_blank_values=True)) if envelope.query else {}


def _of(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in _OWN and value not in (None, "")}


def _mapped(query: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
    if "params_mapping" not in query:
        return {}
    try:
        wanted = json.loads(query["params_mapping"])
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict) or not all(isinstance(path, str) for path in wanted.values()):
        raise Unmappable('params_mapping is no JSON object of paths, for example {"prompt":"ticket.description"}')
    if not wanted.keys() <= _MAPPABLE:
        raise Unmappable(f"params_mapping can set {', '.join(sorted(_MAPPABLE))} and nothing else")
    found = {name: _at(body, path) for name, path in wanted.items()}
    return {name: value for name, value in found.items() if value is not None}


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(value, list) and name.isascii() and name.isdecimal() and int(name[:6]) < len(value):
            value = value[int(name[:6])]
        elif isinstance(value, dict):
            value = value.get(name)
        else:
            return None
    return value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in _TRUE)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
