"""Puts the routes together: the only list of what is served."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from bridge.errors import StoreUnavailable
from bridge.web.problem import on_store_unavailable, problem


def create_asgi(
    incoming: ASGIApp,
    v1: Sequence[BaseRoute],
    ready: Callable[[], Awaitable[bool]],
    *,
    pages: Mapping[str, Sequence[BaseRoute]],
) -> Starlette:
    """The whole HTTP side: `v1` is what operators and senders are told, `pages` are those of adapters."""

    async def readyz(_: Request) -> Response:
        if await ready():
            return PlainTextResponse("ready\n")
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database cannot be reached, or this node is shutting down.")

    routes: Sequence[BaseRoute] = [
        Route("/in/{source}", incoming),
        *(Mount(f"/in/{name}", routes=routes) for name, routes in pages.items() if routes),
        *v1,
        Route("/healthz", _healthz),
        Route("/readyz", readyz),
    ]
    handlers = {HTTPException: _on_http_exception, StoreUnavailable: on_store_unavailable}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {
        HTTPStatus.NOT_FOUND: "There is nothing at this path.",
        HTTPStatus.METHOD_NOT_ALLOWED: "Not with this method.",
    }
    status = HTTPStatus(error.status_code)
    return problem(status, details.get(status, error.detail), headers=error.headers)
