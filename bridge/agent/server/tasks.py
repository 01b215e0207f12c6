"""The tasks of the embedded agent: where they are kept, and how they look on the wire of either dialect."""

import functools
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from pydantic_core import to_json

from bridge.agent.server.brains import APPROVAL
from bridge.agent.server.orders import Order
from bridge.agent_rows import Begun, NewTurn, TaskFilter, TaskTurn, TurnChange
from bridge.model import Json

ORGANIZATION: Final = "local"

STATUSES: Final = frozenset({"pending", "executing", "paused", "completed", "error", "failed", "stopped"})
LIVE: Final = frozenset({"pending", "executing"})
FINISHED: Final = frozenset({"completed", "error", "failed", "stopped"})

DECISION: Final = "hitl_decision"
"""Where a task's record shows what a person decided about it."""

CHANGEABLE: Final = frozenset(
    {
        "additional_context",
        "deep_planning",
        "internal_status",
        "last_executed_node_id",
        "payload_extension",
        "source",
        "title",
        "tokens",
        "used_tools",
    }
)
"""Keys of a task's record that a client of the controller dialect may set, besides status and result."""


class TaskRows(Protocol):
    """Where tasks are kept. Whatever returns from here is durable."""

    @property
    def node(self) -> str:
        """This process, as the turns it works on are marked."""
        ...

    async def begin(self, turn: NewTurn) -> Begun:
        """Store a turn before anything of it is worked on, or say why not."""
        ...

    async def change(self, change: TurnChange) -> TaskTurn | None:
        """Change a turn; None where it is gone, or finished, or another node's, as the change demands."""
        ...

    async def keep(self, lifetime: timedelta) -> Sequence[TaskTurn]:
        """Live on for `lifetime`; answers the turns taken over from nodes that ceased, each exactly once."""
        ...

    async def erase(self, task_id: str) -> bool:
        """Forget a task with all its turns; False where there is none."""
        ...

    async def forget(self, before: datetime) -> int:
        """Erase some of the tasks that ended before; answers how many, 0 when none is left."""
        ...

    async def latest(self, task_id: str) -> TaskTurn | None:
        """The latest turn of a task."""
        ...

    async def turns(self, task_id: str, *, limit: int) -> Sequence[TaskTurn]:
        """The newest turns of a task, oldest first."""
        ...

    async def page(self, wanted: TaskFilter, *, offset: int, limit: int) -> tuple[Sequence[TaskTurn], int]:
        """The latest turns of the tasks wanted, newest task first, and how many tasks there are."""
        ...


_encoded: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encoded(value: Any) -> bytes:
    """As JSON for the wire: by pydantic's encoder, which needs a third of the time that Python's does.

    What that one refuses (half a surrogate pair that a brain told, nesting beyond its depth) is Python's to write.
    """
    try:
        return to_json(value, inf_nan_mode="null")
    except ValueError:
        return _encoded(value).encode()


def order_of(turn: TaskTurn) -> Order:
    """The request of a stored turn."""
    return Order.model_validate_json(turn.request)


def changes_of(turn: TaskTurn) -> dict[str, Any]:
    """What clients changed in the record."""
    changes: dict[str, Any] = json.loads(turn.changes) if turn.changes else {}
    return changes


def record(turn: TaskTurn, *, status: str | None = None, order: Order | None = None) -> Json:
    """The task object, the same in both dialects. `status` stands in where memory knows better than the row.

    `order` is the turn's request, where it is at hand already.

    Values keep the types that xpander-sdk 2.0.537 insists on: `result` text, `agent_version` text,
    `input.user` with an email, `status` one of seven words.
    """
    order = order or order_of(turn)
    status = status or turn.status
    return {
        "id": turn.task_id,
        "agent_id": turn.agent_id,
        "organization_id": ORGANIZATION,
        "status": status,
        "input": order.echoed_input,
        "result": turn.result if status == turn.status else None,
        "created_at": stamp(turn.born_at),
        "updated_at": stamp(turn.updated_at if status == turn.status else turn.created_at),
        "started_at": stamp(turn.created_at),
        "paused_at": stamp(turn.updated_at) if status == "paused" else None,
        "finished_at": stamp(turn.finished_at) if status == turn.status else None,
        "source": order.source or "api",
        "agent_version": order.agent_version,
        "payload_extension": order.payload_extension,
        "output_format": order.output_format or "text",
        "output_schema": order.output_schema,
        "events_streaming": bool(order.events_streaming),
        "additional_context": order.additional_context,
        "expected_output": order.expected_output,
        "instructions_override": order.instructions_override,
        "title": order.title,
        "think_mode": order.think_mode or "default",
        "disable_attachment_injection": bool(order.disable_attachment_injection),
        "worker_id": order.worker_id,
        "run_locally": bool(order.run_locally),
        "parent_execution": order.parent_execution_id,
        "triggering_agent_id": order.triggering_agent_id,
        "is_manually_stopped": status == "stopped",
        "execution_attempts": turn.attempt,
        "sub_executions": [],
        "used_tools": [],
        "pending_eca_request": _login(turn) if status == "paused" else None,
        "hitl_request": {"wait_node_id": turn.task_id} if status == "paused" and awaits_approval(turn) else None,
        **changes_of(turn),
    }


def list_item(turn: TaskTurn) -> Json:
    """The short form that lists show."""
    order, changes = order_of(turn), changes_of(turn)
    return {
        "id": turn.task_id,
        "agent_id": turn.agent_id,
        "organization_id": ORGANIZATION,
        "status": turn.status,
        "user_id": order.input.user.id if order.input.user else None,
        "parent_task_id": order.parent_execution_id,
        "triggering_agent_id": order.triggering_agent_id,
        "created_at": stamp(turn.born_at),
        "updated_at": stamp(turn.updated_at),
        "source_node_type": changes.get("source", order.source or "api"),
        "result": turn.result,
        "title": changes.get("title", order.title),
    }


@functools.lru_cache(maxsize=1024)  # a task tells the same few moments again and again
def stamp(at: datetime | None) -> str | None:
    """A time as the wire has it."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def awaits_approval(turn: TaskTurn) -> bool:
    """Whether a turn, should it be paused, waits for somebody's yes or no."""
    told = json.loads(turn.events) if turn.events else []
    return turn.status == "paused" and bool(told) and told[-1][0] == APPROVAL


def decision_of(turn: TaskTurn) -> Json | None:
    """What was decided about the turn: `id`, `choice` and `decided_by`."""
    return changes_of(turn).get(DECISION)


def _login(turn: TaskTurn) -> Json | None:
    """The link that a paused turn waits for, where it waits for one."""
    for kind, _, data in reversed(json.loads(turn.events) if turn.events else ()):
        if kind == "auth_event":
            return {"connector_name": data["data"]["server_name"], "auth_url": data["data"]["url"]}
    return None
