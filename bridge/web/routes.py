"""Puts the routes together: the only list of what is served."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.errors import StoreUnavailable
from bridge.web.problem import on_store_unavailable, problem

INCOMING: Final = "/in/{source}"
IN: Final = INCOMING.removesuffix("{source}")


def create_asgi(
    incoming: ASGIApp,
    v1: Sequence[BaseRoute],
    ready: Callable[[], Awaitable[bool]],
    *,
    pages: Mapping[str, Sequence[BaseRoute]],
) -> ASGIApp:
    """The whole HTTP side: `v1` is what operators and senders are told, `pages` are those of adapters."""

    async def readyz(_: Request) -> Response:
        if await ready():
            return PlainTextResponse("ready\n")
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database cannot be reached, or this node is shutting down.")

    routes: Sequence[BaseRoute] = [
        *(Mount(f"{IN}{name}", Router(routes, redirect_slashes=False)) for name, routes in pages.items() if routes),
        *v1,
        Route("/healthz", _healthz),
        Route("/readyz", readyz),
    ]
    handlers = {HTTPException: _on_http_exception, StoreUnavailable: on_store_unavailable}
    others = Starlette(routes=routes, exception_handlers=handlers)
    others.router.redirect_slashes = False  # it would lead to whatever Host was sent, without TLS, tokens included
    return _Front(incoming, others)


class _Front:
    """What goes to a source goes straight in: the framework's layers answer for everything else."""

    def __init__(self, incoming: ASGIApp, others: ASGIApp) -> None:
        self._incoming = incoming
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        source = scope["path"].removeprefix(IN) if scope["type"] == "http" else ""
        if not source or "/" in source or not scope["path"].startswith(IN):
            await self._others(scope, receive, send)
            return
        scope["path_params"] = {"source": source}
        await self._incoming(scope, receive, send)


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
