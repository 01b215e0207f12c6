"""An agent service that asks for an approval before it goes on, and takes it at a route of its own."""

from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Json = dict[str, Any]


@dataclass
class Approving:
    """REST v1 as far as the bridge polls it."""

    decisions: list[Json] = field(default_factory=list)
    """What it was told, with the idempotency key of the call."""
    opinions: list[Json] = field(default_factory=list)
    broken: int = 0
    """How many decisions it takes and then fails to confirm."""
    _tasks: dict[str, Json] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/agents/{agent}/invoke/async", self._invoke, methods=["POST"]),
                Route("/v1/tasks/{task}", self._show),
                Route("/v1/tasks/{task}/stop", self._stop, methods=["POST"]),
                Route("/v1/tasks/{task}/feedback", self._rate, methods=["POST"]),
                Route("/v1/tasks/{task}/approval", self._decide, methods=["POST"]),
            ]
        )

    def approve_elsewhere(self) -> None:
        """Somebody approved it at the service itself."""
        for task in self._tasks.values():
            task |= {"status": "completed", "result": "Done: elsewhere", "hitl_request": None}

    async def _invoke(self, request: Request) -> Response:
        body = await request.json()
        task_id = body.get("id") or f"task-{len(self._tasks) + 1}"
        self._tasks[task_id] = {
            "id": task_id,
            "status": "paused",
            "input": body["input"],
            "result": "May I delete the branch?",
            "hitl_request": {"wait_node_id": "n1"},
            "payload_extension": {"idempotency_key": request.headers["idempotency-key"]},
        }
        return JSONResponse(self._tasks[task_id])

    async def _show(self, request: Request) -> Response:
        return JSONResponse(self._tasks[request.path_params["task"]])

    async def _stop(self, request: Request) -> Response:
        task = self._tasks[request.path_params["task"]]
        task["status"] = "stopped"
        return JSONResponse(task)

    async def _rate(self, request: Request) -> Response:
        self.opinions.append({**await request.json(), "task": request.path_params["task"]})
        if self.broken:
            self.broken -= 1
            return JSONResponse({"detail": "away"}, status_code=503)
        return JSONResponse({"ok": True})

    async def _decide(self, request: Request) -> Response:
        decision = await request.json()
        self.decisions.append({**decision, "key": request.headers["idempotency-key"]})
        task = self._tasks[request.path_params["task"]]
        task |= {"status": "completed", "result": f"Done: {decision['choice']}", "hitl_request": None}
        if self.broken:
            self.broken -= 1
            return JSONResponse({"detail": "lost"}, status_code=500)
        return JSONResponse({"ok": True})
