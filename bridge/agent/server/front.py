"""The three ways to invoke an agent go straight to their answers: the framework's layers are for everything else."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
Refuse: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]

_BEFORE: Final = "/v1/agents/"


class Front:
    """Routing, two layers for errors and their wrappers of `send` cost a turn as much as storing it (measured).

    `invocations` are the answers by what follows the agent in the path. Their routes stay in the app as well: they
    describe it, and they answer where it is mounted under a path of its own.
    """

    def __init__(
        self, app: ASGIApp, *, invocations: Mapping[str, Answer], refusals: Mapping[type[Exception], Refuse]
    ) -> None:
        self._app = app
        self._invocations = invocations
        self._refusals = refusals
        self._refused = tuple(refusals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._found(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        answer, agent_id = found
        scope["path_params"] = {"agent_id": agent_id}
        request = Request(scope, receive, send)
        try:
            response = await answer(request)
        except self._refused as error:
            refuse = next(refuse for kind, refuse in self._refusals.items() if isinstance(error, kind))
            response = await refuse(request, error)
        await response(scope, receive, send)

    def _found(self, scope: Scope) -> tuple[Answer, str] | None:
        path: str = scope["path"]
        if not path.startswith(_BEFORE):
            return None
        agent_id, slash, rest = path[len(_BEFORE) :].partition("/")
        answer = self._invocations.get(rest) if agent_id and slash else None
        return None if answer is None else (answer, agent_id)
