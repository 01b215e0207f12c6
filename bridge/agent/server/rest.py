"""The public REST v1 of the embedded agent."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.agent.server.access import Shown
from bridge.agent.server.desk import Agent, Desk, Invalid, Taken, Verdict
from bridge.agent.server.front import Answer
from bridge.agent.server.orders import Order
from bridge.agent.server.reading import said_in
from bridge.agent.server.story import Place, place_from
from bridge.agent.server.streams import EventStream
from bridge.agent.server.tasks import ORGANIZATION, STATUSES, list_item, record
from bridge.agent_rows import TaskFilter, TaskTurn
from bridge.model import Json

_VERDICT: Final = TypeAdapter(Verdict)
_MOST_TURNS: Final = 500
_SINCE: Final = "2026-01-01T00:00:00Z"  # our agents come with the configuration, which knows no birthday


class Rest:
    """Turns requests into calls of the desk, and what comes back into answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Every route of the dialect; the busiest first, since they are tried in order."""
        return [
            Route("/v1/agents/{agent_id}/invoke", self.invoke, methods=["POST"]),
            Route("/v1/agents/{agent_id}/invoke/async", self.invoke_async, methods=["POST"]),
            Route("/v1/agents/{agent_id}/invoke/stream", self.invoke_stream, methods=["POST"]),
            Route("/v1/tasks/{task_id}", self.task, methods=["GET"]),
            Route("/v1/tasks/{task_id}", self.erase, methods=["DELETE"]),
            Route("/v1/tasks/{task_id}/stop", self.stop, methods=["POST"]),
            Route("/v1/tasks/{task_id}/approval", self.approval, methods=["POST"]),
            Route("/v1/tasks/{task_id}/events", self.events, methods=["GET"]),
            Route("/v1/tasks/{task_id}/thread", self.thread, methods=["GET"]),
            Route("/v1/tasks/{task_id}/thread/full", self.thread_full, methods=["GET"]),
            Route("/v1/tasks", self.tasks, methods=["GET"]),
            Route("/v1/agents", self.agents, methods=["GET"]),
            Route("/v1/agents/full", self.agents, methods=["GET"]),
            Route("/v1/agents/{agent_id}", self.agent, methods=["GET"]),
            Route("/v1/agents/{agent_id}/tasks", self.tasks, methods=["GET"]),
            Route("/v1/health", health, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
        ]

    def invocations(self) -> Mapping[str, Answer]:
        """What is asked most, by what follows the agent in the path."""
        return {"invoke": self.invoke, "invoke/async": self.invoke_async, "invoke/stream": self.invoke_stream}

    async def invoke(self, request: Request) -> Response:
        """The answer comes when the turn is over; the turn goes on if the caller leaves."""
        return Shown(await self._desk.ended(await self._take(request)))

    async def invoke_async(self, request: Request) -> Response:
        """The answer comes at once."""
        taken = await self._take(request)
        return Shown(record(taken.turn, status=None if taken.repeated else "pending"))

    async def invoke_stream(self, request: Request) -> Response:
        """The answer is everything that happens."""
        return EventStream(self._desk.events((await self._take(request)).turn, place_of(request)))

    async def _take(self, request: Request) -> Taken:
        order = await self.order(request)
        return await self._desk.take(request.path_params["agent_id"], order, key=self._desk.key_of(request))

    async def order(self, request: Request) -> Order:
        """The order in a request's body, with the version of the agent that its address names."""
        order = await self._desk.order(request)
        if request.scope["query_string"] and (version := request.query_params.get("version")) is not None:
            order = order.model_copy(update={"agent_version": version})
        return order

    async def task(self, request: Request) -> Response:
        """The latest turn of the task."""
        return Shown(await self._desk.show(request.path_params["task_id"]))

    async def events(self, request: Request) -> Response:
        """The latest turn from its start; with Last-Event-ID, the turn of that place from there."""
        return EventStream(await self._desk.told(request.path_params["task_id"], place_of(request)))

    async def stop(self, request: Request) -> Response:
        """Idempotent."""
        return Shown(await self._desk.stop(request.path_params["task_id"]))

    async def approval(self, request: Request) -> Response:
        """A person's yes or no to what a paused task asks; the same decision may come again."""
        verdict = await self._desk.body(request, _VERDICT)
        return Shown(await self._desk.decide(request.path_params["task_id"], verdict))

    async def erase(self, request: Request) -> Response:
        """Cancels and forgets."""
        await self._desk.erase(request.path_params["task_id"])
        return Response(status_code=204)

    async def thread(self, request: Request) -> Response:
        """What was said, oldest first."""
        return Shown(await self._messages(request.path_params["task_id"]))

    async def thread_full(self, request: Request) -> Response:
        """The same with the tasks that this one started."""
        task_id = request.path_params["task_id"]
        threads = {"root": await self._messages(task_id)}
        children, _ = await self._desk.rows.page(TaskFilter(parent_task_id=task_id), offset=0, limit=50)
        for child in children:
            threads[child.task_id] = await self._messages(child.task_id)
        return Shown(threads)

    async def _messages(self, task_id: str) -> list[Json]:
        await self._desk.known(task_id)
        return [
            message for turn in await self._desk.rows.turns(task_id, limit=_MOST_TURNS) for message in _messages(turn)
        ]

    async def tasks(self, request: Request) -> Response:
        """One page of tasks, newest first."""
        page, per_page = _number(request, "page", 1, 1_000_000), _number(request, "per_page", 20, 50)
        wanted = wanted_tasks(request.query_params, agent_id=request.path_params.get("agent_id"))
        turns, total = await self._desk.rows.page(wanted, offset=(page - 1) * per_page, limit=per_page)
        return Shown(
            {
                "items": [list_item(turn) for turn in turns],
                "total": total,
                "page": page,
                "per_page": per_page,
                "total_pages": -(-total // per_page),
            }
        )

    async def agents(self, _: Request) -> Response:
        """All agents of this server on one page."""
        items = [agent_record(agent_id, agent) for agent_id, agent in self._desk.agents.items()]
        count = len(items)
        return Shown({"items": items, "total": count, "page": 1, "per_page": max(count, 1), "total_pages": 1})

    async def agent(self, request: Request) -> Response:
        """One agent."""
        agent_id = request.path_params["agent_id"]
        return Shown(agent_record(agent_id, self._desk.agent(agent_id)))


def place_of(request: Request) -> Place | None:
    """Where a stream that was cut off shall go on."""
    return place_from(request.headers.get("last-event-id"))


async def health(_: Request) -> Response:
    """Alive."""
    return Shown({"status": "ok"})


def agent_record(agent_id: str, agent: Agent) -> Json:
    """An agent as both dialects show it; xpander-sdk 2.0.537 needs each of these but the last three (measured)."""
    return {
        "id": agent_id,
        "organization_id": ORGANIZATION,
        "name": agent.name,
        "unique_name": agent_id,
        "framework": "agno",
        "model_provider": "local",
        "model_name": agent.model,
        "icon": "",
        "instructions": {"role": [], "goal": [], "general": ""},
        "created_at": _SINCE,
        "status": "ACTIVE",
        "graph": [],
        "tools": [],
    }


def wanted_tasks(query: Mapping[str, str], **given: str | None) -> TaskFilter:
    """The filters of a list. Raises Invalid for a status that does not exist."""
    names = ("agent_id", "user_id", "parent_task_id", "triggering_agent_id", "status")
    wanted: dict[str, Any] = {name: query[name] for name in names if query.get(name)}
    wanted |= {name: value for name, value in given.items() if value is not None}
    if wanted.get("status", "pending") not in STATUSES:
        raise Invalid([{"loc": ["query", "status"], "msg": f"One of {sorted(STATUSES)}", "type": "enum"}])
    if any("\x00" in value for value in wanted.values()):
        raise Invalid([{"loc": ["query"], "msg": "A filter holds a NUL.", "type": "value_error"}])
    return TaskFilter(**wanted)


def _number(request: Request, name: str, default: int, most: int) -> int:
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= most):  # noqa: PLR2004
        raise Invalid([{"loc": ["query", name], "msg": f"A whole number from 1 to {most}", "type": "int_parsing"}])
    return int(given)


def _messages(turn: TaskTurn) -> list[Json]:
    return [
        {
            "id": f"{turn.task_id}:{turn.number}:{said.role}",
            "role": said.role,
            "content": said.text,
            "created_at": int((turn.created_at if said.role == "user" else turn.updated_at).timestamp()),
        }
        for said in said_in(turn)
    ]
