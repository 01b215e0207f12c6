"""The OpenAPI document of the embedded agent, made from its routes, so that it cannot lag behind them."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import BaseModel
from starlette.routing import Route

from bridge.agent.server.desk import Verdict
from bridge.agent.server.gateway import BODIES
from bridge.agent.server.orders import Order
from bridge.model import Json

_BODIES: Final = {
    "invoke": "Order",
    "invoke_async": "Order",
    "invoke_stream": "Order",
    "create": "Order",
    "update": "Record",
    "report": "Record",
    "approval": "Verdict",
    "push": "Events",
    "approve": "Record",
    "reject": "Record",
    "messages": "Message",
    "answers": "Answers",
    "halt": "Stop",
    "edit": "Order",
    "edit_stream": "Order",
}
"""The body that an endpoint takes, by the name of its function."""

_QUERIES: Final = {
    "tasks": ("page", "per_page", "user_id", "parent_task_id", "agent_id", "triggering_agent_id", "status"),
    "history": ("status", "user_id", "agent_id"),
    "invoke": ("version",),
    "invoke_async": ("version",),
    "invoke_stream": ("version",),
    "edit": ("version",),
    "edit_stream": ("version",),
}
_RESUMABLE: Final = frozenset({"invoke_stream", "events"})
_STREAMS: Final = _RESUMABLE | {"work", "drain", "answers", "edit_stream"}
_REF: Final = "#/components/schemas/{model}"


def document(routes: Sequence[Route]) -> Json:
    """OpenAPI 3.1. Every refusal, whatever its status, is `{"detail": …}`."""
    schema = Order.model_json_schema(ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(route.path, {})[method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Agent Bridge: embedded agent", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {
                **schema.pop("$defs", {}),
                "Order": schema,
                **_schemas(BODIES.values()),
                "Verdict": Verdict.model_json_schema(),
                "Events": {"type": "array", "items": {"type": "object", "required": ["type"]}},
                "Record": {"type": "object", "additionalProperties": True},
                "Refusal": {"type": "object", "required": ["detail"]},
            },
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
        "security": [{"key": []}],
    }


def _schemas(forms: Iterable[type[BaseModel]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for form in forms:
        schema = form.model_json_schema(ref_template=_REF)
        found |= {**schema.pop("$defs", {}), form.__name__: schema}
    return found


def _operation(route: Route) -> Json:
    name = route.endpoint.__name__
    parameters = [_parameter(found, "path") for found in re.findall(r"{(\w+)}", route.path)]
    parameters += [_parameter(query, "query") for query in _QUERIES.get(name, ())]
    if name in _RESUMABLE:
        parameters.append(_parameter("Last-Event-ID", "header"))
    media_type = "text/event-stream" if name in _STREAMS else "application/json"
    operation: dict[str, Any] = {
        "summary": (route.endpoint.__doc__ or "").strip().split("\n")[0],
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": {media_type: {}}},
            "4XX": {
                "description": "Refused, with the reason",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
            },
        },
    }
    if body := _BODIES.get(name):
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(name: str, place: str) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
