"""The writing half of `/v1`: what an operator sets going, takes up again or stops."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bridge.errors import Conflict, Missing
from bridge.operations import Chosen, Operations, report
from bridge.store.replay import How
from bridge.web.access import Access
from bridge.web.problem import problem, sentence_of
from bridge.web.reading import DeliveryState, MessageState, SourceName, json_response

MAX_BODY = 65_536

T = TypeVar("T", bound="_Wish")
Act: TypeAlias = Callable[[str, T], Awaitable[object]]


class _Wish(BaseModel):
    """What a body may say. An unknown name is a mistake: a misspelt `dry_run` must not act."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dry_run: bool = False


class _ReplayWish(_Wish):
    how: Annotated[How, Field(description="invoke, reattach, repost or done")]


class _Choosing(_Wish):
    """Many at once. The state has to be named, so that nobody sets everything going by mistake."""

    state: str
    source: SourceName | None = None
    since: AwareDatetime | None = None
    limit: int = Field(default=100, ge=1, le=1000)

    @property
    def chosen(self) -> Chosen:
        """What it is about."""
        return Chosen(state=self.state, source=self.source, since=self.since, limit=self.limit)


class _ReplayMany(_Choosing, _ReplayWish):
    state: MessageState


class _RetryMany(_Choosing):
    state: DeliveryState


class Writing:
    """Each route answers 200 with what was done, 404 where nothing bears the id, 409 where it does not fit."""

    def __init__(self, operations: Operations, access: Access) -> None:
        self._operations = operations
        self._access = access

    def routes(self) -> list[BaseRoute]:
        """What is served, all of it behind the admin token."""
        return [
            self._route("/v1/messages/replay", _ReplayMany, self._replay_all),
            self._route("/v1/deliveries/retry", _RetryMany, self._retry_all),
            self._route("/v1/messages/{id}/replay", _ReplayWish, self._replay),
            self._route("/v1/deliveries/{id}/retry", _Wish, self._retry),
            self._route("/v1/destinations/{id}/enable", _Wish, self._enable),
            self._route("/v1/conversations/{id}/stop", _Wish, self._stop),
            self._route("/v1/conversations/{id}", _Wish, self._erase, "DELETE"),
        ]

    async def _replay(self, message_id: str, wish: _ReplayWish) -> object:
        return await self._operations.replay(message_id, wish.how, dry_run=wish.dry_run)

    async def _replay_all(self, _: str, wish: _ReplayMany) -> object:
        return await self._operations.replay_all(wish.chosen, wish.how, dry_run=wish.dry_run)

    async def _retry_all(self, _: str, wish: _RetryMany) -> object:
        return await self._operations.retry_all(wish.chosen, dry_run=wish.dry_run)

    async def _retry(self, delivery_id: str, wish: _Wish) -> object:
        return await self._operations.retry(delivery_id, dry_run=wish.dry_run)

    async def _enable(self, destination_id: str, wish: _Wish) -> object:
        return await self._operations.enable(destination_id, dry_run=wish.dry_run)

    async def _stop(self, conversation_id: str, wish: _Wish) -> object:
        return await self._operations.stop(conversation_id, dry_run=wish.dry_run)

    async def _erase(self, conversation_id: str, wish: _Wish) -> object:
        return await self._operations.erase(conversation_id, dry_run=wish.dry_run)

    def _route(self, path: str, model: type[T], act: Act[T], method: Literal["POST", "DELETE"] = "POST") -> BaseRoute:
        async def endpoint(request: Request) -> Response:
            wish = await _wish(request, model)
            if isinstance(wish, Response):
                return wish
            try:
                return json_response(report(await act(request.path_params.get("id", ""), wish)))
            except Missing as error:
                return problem(HTTPStatus.NOT_FOUND, str(error))
            except Conflict as error:
                return problem(HTTPStatus.CONFLICT, str(error))

        return Route(path, self._access.admin(endpoint), methods=[method])


async def _wish(request: Request, model: type[T]) -> T | Response:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A wish fits into {MAX_BODY} bytes.")
    try:
        return model.model_validate_json(bytes(body) or b"{}")
    except ValidationError as error:
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(sentence_of(each) for each in error.errors()))
