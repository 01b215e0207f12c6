"""`/v1`: what the bridge knows, as JSON, for its operator; and a message's own status for whoever sent it."""

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bridge.store import reader
from bridge.store.database import Store
from bridge.store.ledger import ledger
from bridge.tokens import Tokens
from bridge.web.problem import problem

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

STATUS = "status"
"""The purpose of a status token."""

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class Reading:
    """The reading half of `/v1`."""

    def __init__(self, store: Store, tokens: Tokens, admin_token: str) -> None:
        self._store = store
        self._tokens = tokens
        self._admin_token = admin_token.encode()

    def routes(self) -> list[BaseRoute]:
        """What is served, each behind the admin token but for a message's own status."""
        return [
            Route("/v1/messages/{id}", self._own(self.message)),
            Route("/v1/messages", self._admin(self.messages)),
            Route("/v1/conversations", self._admin(self.conversations)),
            Route("/v1/conversations/{id}", self._admin(self.conversation)),
            Route("/v1/deliveries", self._admin(self.deliveries)),
            Route("/v1/ledger", self._admin(self.ledger)),
        ]

    async def message(self, request: Request) -> Response:
        """One message with its journey."""
        return _found(await self._store.read(reader.message, request.path_params["id"]), "message")

    async def messages(self, request: Request) -> Response:
        """The newest messages; `source`, `conversation_id` and `state` narrow them down."""
        given = request.query_params
        found = await self._store.read(
            reader.message_list,
            source=given.get("source"),
            conversation_id=given.get("conversation_id"),
            state=given.get("state"),
        )
        return _json({"messages": found})

    async def conversations(self, request: Request) -> Response:
        """The map; `source` and `key` narrow it down."""
        given = request.query_params
        found = await self._store.read(reader.conversation_list, source=given.get("source"), key=given.get("key"))
        return _json({"conversations": found})

    async def conversation(self, request: Request) -> Response:
        """One conversation."""
        return _found(await self._store.read(reader.conversation, request.path_params["id"]), "conversation")

    async def deliveries(self, request: Request) -> Response:
        """The newest deliveries; `state` narrows them down."""
        found = await self._store.read(reader.delivery_list, state=request.query_params.get("state"))
        return _json({"deliveries": found})

    async def ledger(self, _: Request) -> Response:
        """The conservation check."""
        counts = await self._store.read(ledger)
        return _json({**_ANY.dump_python(counts), "balanced": counts.balanced})

    def _admin(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            return await endpoint(request) if self._is_admin(request) else _unauthorized()

        return guarded

    def _own(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            token = request.query_params.get("token", "")
            if self._is_admin(request):
                return await endpoint(request)
            if token and self._tokens.verify(request.path_params["id"], token, purpose=STATUS):
                return await endpoint(request)
            return _unauthorized()

        return guarded

    def _is_admin(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return hmac.compare_digest(token.encode(), self._admin_token) and scheme.lower() == "bearer"


def _unauthorized() -> Response:
    detail = "Send `Authorization: Bearer <admin_token>`, or use the status_url that was returned for the message."
    return problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})


def _found(view: object | None, noun: str) -> Response:
    return problem(HTTPStatus.NOT_FOUND, f"There is no such {noun}.") if view is None else _json(view)


def _json(content: object) -> Response:
    return Response(_ANY.dump_json(content), media_type="application/json", headers={"Cache-Control": "no-store"})
