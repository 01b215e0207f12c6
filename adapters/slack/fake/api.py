"""The fake Slack over HTTP, as slack_sdk and a browser see it."""

import asyncio
import json
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.slack.fake import oauth
from adapters.slack.fake.faults import Fault
from adapters.slack.fake.methods import METHODS, Call, Method
from adapters.slack.fake.sockets import CONNECTION, Sockets
from adapters.slack.fake.streams import STREAM_METHODS
from adapters.slack.fake.workspace import TEAM, ApiError, Grant, Workspace

ALL = METHODS | STREAM_METHODS
_LOGIN_PAGE = "<!doctype html><title>Sign in to Acme</title>"


class CutOff(Response):
    """No answer: the connection is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Abort the connection; where the server does not let us, announce more than is sent."""
        transport = getattr(scope.get(CONNECTION), "transport", None)
        if transport is not None:
            transport.abort()
            await asyncio.sleep(0)  # the server notices
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": False})


class Wired:
    """Shows the server's connection to what runs inside; uvicorn's `send` belongs to it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        scope[CONNECTION] = getattr(send, "__self__", None)
        await self._app(scope, receive, send)


class Api:
    """Routes of one workspace."""

    def __init__(self, slack: Workspace, sockets: Sockets) -> None:
        self._slack = slack
        self._sockets = sockets

    def app(self) -> ASGIApp:
        """An ASGI app; `slack.url` must be the address it is reached at."""
        return Wired(Starlette(routes=self._routes()))

    def _routes(self) -> list[BaseRoute]:
        return [
            Route("/api/{method}", self._method, methods=["GET", "POST"]),
            Route("/oauth/v2/authorize", self._authorize),
            Route("/upload/v1/{file}", self._upload, methods=["POST"]),
            Route("/commands/{number}", self._respond, methods=["POST"]),
            Route("/files-pri/{file}/{name}", self._download),
            WebSocketRoute("/socket", self._sockets.serve),
        ]

    async def _method(self, request: Request) -> Response:
        method = request.path_params["method"]
        self._slack.calls[method] += 1
        given, encoding = await _arguments(request)
        fault = self._slack.faults.take(method)
        if fault is not None and fault.kind not in {"cut_after", "late"}:
            return _broken(fault)
        answer = self._perform(method, given, encoding, request.headers)
        if fault is None:
            return answer
        if fault.kind == "late":
            await asyncio.sleep(fault.after)  # real time: whoever waits for it is another process
            return answer
        return CutOff()

    def _perform(self, method: str, given: Mapping[str, Any], encoding: str, headers: Mapping[str, str]) -> Response:
        slack = self._slack
        try:
            if method == "oauth.v2.access":
                return _ok(oauth.access(slack, headers.get("authorization", ""), given))
            grant = self._grant(headers)
            after = slack.limits.retry_after(method, grant.team, str(given.get("channel", "")))
            if after is not None:
                return _broken(Fault("limit", after=after))
            answer = _ok(_allowed(method, grant)(slack, Call(method, given, grant, encoding)))
        except ApiError as error:
            slack.refusals[f"{method}: {error.error}"] += 1
            return JSONResponse({"ok": False, "error": error.error, **error.more})
        answer.headers["x-oauth-scopes"] = ",".join(sorted(grant.scopes))
        answer.headers["date"] = formatdate(slack.now(), usegmt=True)
        return answer

    def _grant(self, headers: Mapping[str, str]) -> Grant:
        kind, _, token = headers.get("authorization", "").partition(" ")
        grant = self._slack.tokens.get(token) if kind == "Bearer" else None
        if grant is None:
            raise ApiError("invalid_auth" if token else "not_authed")
        if grant.expires_at is not None and grant.expires_at <= self._slack.now():
            raise ApiError("token_expired")
        return grant

    async def _authorize(self, request: Request) -> Response:
        """As if a person had clicked Allow at once."""
        team = request.query_params.get("team") or TEAM
        return RedirectResponse(oauth.granted(self._slack, request.query_params, team=team), status_code=302)

    async def _upload(self, request: Request) -> Response:
        file = self._slack.files[request.path_params["file"]]
        file.body = await request.body()
        return PlainTextResponse(f"OK - {len(file.body)}")

    async def _respond(self, request: Request) -> Response:
        self._slack.responses.append(json.loads(await request.body()))
        return PlainTextResponse("ok")

    async def _download(self, request: Request) -> Response:
        """Without a good token: 200 and the login page, as Slack does."""
        try:
            allowed = "files:read" in self._grant(request.headers).scopes
        except ApiError:
            allowed = False
        file = self._slack.files.get(request.path_params["file"].partition("-")[2])
        if not allowed or file is None:
            return HTMLResponse(_LOGIN_PAGE)
        return Response(file.body, media_type=file.media_type)


def _allowed(method: str, grant: Grant) -> Method:
    """The method, where the token's scopes permit it."""
    if method not in ALL:
        raise ApiError("unknown_method")
    perform, scope = ALL[method]
    if scope is not None and scope not in grant.scopes:
        raise ApiError("missing_scope", needed=scope, provided=",".join(sorted(grant.scopes)))
    return perform


async def _arguments(request: Request) -> tuple[dict[str, Any], str]:
    """JSON body, form or query, as slack_sdk uses one or the other by method."""
    given: dict[str, Any] = dict(request.query_params)
    body = await request.body()
    kind = request.headers.get("content-type", "")
    if body and "json" in kind:
        return {**given, **json.loads(body)}, "json"
    if body:
        return {**given, **dict(parse_qsl(body.decode()))}, "form"
    for name in ("files", "blocks", "metadata"):
        if isinstance(given.get(name), str):
            given[name] = json.loads(given[name])
    return given, "query"


def _ok(answer: Mapping[str, Any]) -> Response:
    return JSONResponse({"ok": True, **answer})


def _broken(fault: Fault) -> Response:
    match fault.kind:
        case "limit":
            headers = {"Retry-After": str(fault.after)}
            return JSONResponse({"ok": False, "error": "ratelimited"}, status_code=429, headers=headers)
        case "gzip":
            return Response(b"no gzip", media_type="application/json", headers={"content-encoding": "gzip"})
        case "html":
            return HTMLResponse(_LOGIN_PAGE)
        case "status":
            return PlainTextResponse("upstream trouble", status_code=fault.status)
        case "error":
            return JSONResponse({"ok": False, "error": fault.error})
        case _:
            return CutOff()
