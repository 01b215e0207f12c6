"""The controller dialect of the embedded agent: what xpander-sdk 2.0.537 speaks, with and without a `/{org}` prefix."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.agent.server.access import Shown
from bridge.agent.server.brains import Told
from bridge.agent.server.desk import Desk, Invalid, Report, Verdict, problems_of
from bridge.agent.server.orders import TaskId, finite
from bridge.agent.server.reading import said_in
from bridge.agent.server.rest import agent_record, place_of, wanted_tasks
from bridge.agent.server.streams import EndlessStream, EventStream
from bridge.agent.server.tasks import CHANGEABLE, STATUSES, list_item, order_of, record, stamp
from bridge.agent.server.workers import Workers
from bridge.agent_rows import TaskTurn
from bridge.model import Json

_MOST_LISTED: Final = 200
_PREFIXES: Final = ("", "/{organization_id}")


class _ReportBody(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: TaskId | None = None
    input: str | None = None
    is_success: bool = True
    result: str | None = None


class _Pushed(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    data: Annotated[Any, AfterValidator(finite)] = None


class _Decided(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    decided_by: str = "somebody"


_PUSHED: Final = TypeAdapter(list[_Pushed])
_SAID: Final = TypeAdapter(_Decided)


class Controller:
    """Answers are always JSON objects of status 200, since the SDK takes a 204 for a failure (measured)."""

    def __init__(self, desk: Desk, workers: Workers) -> None:
        self._desk = desk
        self._workers = workers

    def routes(self) -> list[Route]:
        """Every route twice. Below `/agent-execution/` the id is an agent's for POST, a task's for the rest."""
        return [
            Route(prefix + path, endpoint, methods=[method])
            for prefix in _PREFIXES
            for method, path, endpoint in (
                ("GET", "/agent-execution/{task_id}/status", self.status),
                ("PATCH", "/agent-execution/{task_id}/update", self.update),
                ("GET", "/agent-execution/{task_id}/events", self.events),
                ("DELETE", "/agent-execution/{task_id}", self.stop),
                ("POST", "/agent-execution/{agent_id}", self.create),
                ("POST", "/agent-execution/{agent_id}/report_task", self.report),
                ("GET", "/agent-execution/executions/history/{agent_id}", self.history),
                ("GET", "/agent-execution/executions/history/user/{user_id}", self.history),
                ("GET", "/activity/{agent_id}/{task_id}", self.activity),
                ("GET", "/agents/list", self.agents),
                ("GET", "/agents/{agent_id}", self.agent),
                ("POST", "/agents-metrics/{agent_id}/execution", accept),
                ("POST", "/agent-execution/{task_id}/events/push", self.push),
                ("POST", "/hitl/{task_id}/approve", self.approve),
                ("POST", "/hitl/{task_id}/reject", self.reject),
                ("GET", "/events/{agent_id}/", self.work),
                ("POST", "/events/{worker_id}", accept),
            )
        ]

    async def agent(self, request: Request) -> Response:
        """The first step of the SDK's `invoke_agent`."""
        agent_id = request.path_params["agent_id"]
        return Shown(agent_record(agent_id, self._desk.agent(agent_id)))

    async def agents(self, _: Request) -> Response:
        """A bare array."""
        return Shown([agent_record(agent_id, agent) for agent_id, agent in self._desk.agents.items()])

    async def create(self, request: Request) -> Response:
        """The second step; the task is pending, its events can be followed from their start at any later time."""
        order = await self._desk.order(request)
        if (version := request.headers.get("x-agent-version")) is not None:
            order = order.model_copy(update={"agent_version": version})
        key = self._desk.key_of(request)
        taken = await self._desk.take(request.path_params["agent_id"], order, key=key)
        return Shown(record(taken.turn, status=None if taken.repeated else "pending"))

    async def work(self, request: Request) -> Response:
        """A worker offers itself for an agent and is sent its turns for as long as it stays."""
        agent_id = request.path_params["agent_id"]
        self._desk.agent(agent_id)
        return EndlessStream(self._workers.connect(agent_id, self._desk.now(), self._desk.show))

    async def status(self, request: Request) -> Response:
        """The task as it is now."""
        return Shown(await self._desk.show(request.path_params["task_id"]))

    async def events(self, request: Request) -> Response:
        """The latest turn from its start, also for who comes late; with Last-Event-ID, from that place."""
        return EventStream(await self._desk.told(request.path_params["task_id"], place_of(request)))

    async def stop(self, request: Request) -> Response:
        """What this dialect means by DELETE: stop, keep, and answer with the task."""
        return Shown(await self._desk.stop(request.path_params["task_id"]))

    async def update(self, request: Request) -> Response:
        """Takes a whole task or some of its keys; what a client may not change is left as it is."""
        body = await self._desk.document(request)
        status, result = body.get("status"), body.get("result")
        if status is not None and not (isinstance(status, str) and status in STATUSES):
            raise Invalid([{"loc": ["body", "status"], "msg": f"One of {sorted(STATUSES)}", "type": "enum"}])
        if result is not None and not isinstance(result, str):
            raise Invalid([{"loc": ["body", "result"], "msg": "A text; JSON goes as JSON text", "type": "string_type"}])
        changes = {key: value for key, value in body.items() if key in CHANGEABLE and value is not None}
        if isinstance(extension := body.get("tool_call_payload_extension"), dict):
            changes["payload_extension"] = extension
        task_id = request.path_params["task_id"]
        return Shown(await self._desk.update(task_id, status=status, result=result, changes=changes))

    async def report(self, request: Request) -> Response:
        """A task that was worked on elsewhere, told afterwards."""
        body = _report(await self._desk.document(request))
        report = Report(
            task_id=body.id,
            text=body.input or "",
            result=body.result,
            status="completed" if body.is_success else "error",
        )
        return Shown(await self._desk.report(request.path_params["agent_id"], report))

    async def push(self, request: Request) -> Response:
        """What a worker tells of the turn it works on: followers see it at once, late ones as part of the story."""
        pushed = await self._desk.body(request, _PUSHED)
        told = [Told(one.type, one.data) for one in pushed if not one.type.startswith("task_")]
        return Shown({"accepted": await self._desk.push(request.path_params["task_id"], told)})

    async def approve(self, request: Request) -> Response:
        """A person says yes to what a paused task asks."""
        return await self._decide(request, "approve")

    async def reject(self, request: Request) -> Response:
        """A person says no to it; the agent goes on, and knows."""
        return await self._decide(request, "deny")

    async def _decide(self, request: Request, choice: Literal["approve", "deny"]) -> Response:
        said = await self._desk.body(request, _SAID, default=_Decided())
        verdict = Verdict(choice=choice, decided_by=said.decided_by)
        return Shown(await self._desk.decide(request.path_params["task_id"], verdict))

    async def history(self, request: Request) -> Response:
        """A bare array, newest first."""
        wanted = wanted_tasks(request.query_params, **request.path_params | {"organization_id": None})
        turns, _ = await self._desk.rows.page(wanted, offset=0, limit=_MOST_LISTED)
        return Shown([list_item(turn) for turn in turns])

    async def activity(self, request: Request) -> Response:
        """The thread in this dialect's words: `agent` for `assistant`, text and files apart."""
        task_id = request.path_params["task_id"]
        latest = await self._desk.known(task_id)
        turns = await self._desk.rows.turns(task_id, limit=_MOST_LISTED)
        return Shown(
            {
                "id": task_id,
                "created_at": stamp(latest.born_at),
                "messages": [message for turn in turns for message in _spoken(turn)],
                "user": order_of(latest).echoed_input.get("user"),
            }
        )


async def accept(request: Request) -> Response:
    """Metrics, heartbeats and the like: taken, not kept."""
    async for _ in request.stream():
        pass
    return Shown({})


def _report(document: Json) -> _ReportBody:
    try:
        return _ReportBody.model_validate(document)
    except ValidationError as error:
        raise Invalid(problems_of(error)) from error


def _spoken(turn: TaskTurn) -> list[Json]:
    order = order_of(turn)
    return [
        {
            "id": f"{turn.task_id}:{turn.number}:{said.role}",
            "created_at": stamp(turn.created_at if said.role == "user" else turn.updated_at),
            "role": "agent" if said.role == "assistant" else "user",
            "content": {"text": said.text, "files": list(order.input.urls) if said.role == "user" else []},
        }
        for said in said_in(turn)
    ]
