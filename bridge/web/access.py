"""Who may use `/v1`: the operator by the admin token; whoever sent a message by that message's own token."""

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from bridge.tokens import Tokens
from bridge.web.problem import problem

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

STATUS = "status"
"""The purpose of a status token."""


class Access:
    """Puts endpoints behind a token. Nothing of a request's body is read before it is let in."""

    def __init__(self, tokens: Tokens, admin_token: str) -> None:
        self._tokens = tokens
        self._admin_token = admin_token.encode()

    def admin(self, endpoint: Endpoint) -> Endpoint:
        """For the operator."""

        async def guarded(request: Request) -> Response:
            return await _checked(endpoint, request) if self._is_admin(request) else _unauthorized()

        return guarded

    def own(self, endpoint: Endpoint) -> Endpoint:
        """For the operator, and for whoever holds the token of the message in the path."""

        async def guarded(request: Request) -> Response:
            token = request.query_params.get("token", "")
            if self._is_admin(request):
                return await _checked(endpoint, request)
            if token and self._tokens.verify(request.path_params["id"], token, purpose=STATUS):
                return await _checked(endpoint, request)
            # To the holder of another message's token this one is not there, whether it is or not.
            return problem(HTTPStatus.NOT_FOUND, "There is no such message.") if token else _unauthorized()

        return guarded

    def _is_admin(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return hmac.compare_digest(token.encode(), self._admin_token) and scheme.lower() == "bearer"


async def _checked(endpoint: Endpoint, request: Request) -> Response:
    """No id and no name contains NUL, which PostgreSQL cannot even compare with."""
    if any("\0" in str(value) for value in (*request.path_params.values(), *request.query_params.values())):
        return problem(HTTPStatus.BAD_REQUEST, "The address contains a NUL character.")
    return await endpoint(request)


def _unauthorized() -> Response:
    detail = "Send `Authorization: Bearer <admin_token>`, or use the status_url that was returned for the message."
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
