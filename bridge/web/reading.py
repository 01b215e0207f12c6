"""`/v1`: what the bridge knows, as JSON, for its operator; and a message's own status for whoever sent it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bridge.model import FileRef
from bridge.options import NAME
from bridge.results import with_question
from bridge.store import reader
from bridge.store.database import Store
from bridge.store.destinations import destination_list
from bridge.store.ledger import books, report
from bridge.store.outcomes import outcome
from bridge.web.access import Access, Endpoint
from bridge.web.problem import problem, sentence_of

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
MessageState: TypeAlias = Literal[
    "answered", "declined", "parked", "cancelled", "dead", "in_flight", "queued", "running", "paused"
]
DeliveryState: TypeAlias = Literal["pending", "sending", "unknown", "sent", "dead", "withdrawn"]
DestinationState: TypeAlias = Literal["failing", "disabled"]
SourceName: TypeAlias = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
"""One that may be configured no more."""


class _Page(BaseModel):
    """How much of a list is wanted. A misspelt state is a mistake: an empty list would look like all is well."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)
    source: SourceName | None = None


class _Messages(_Page):
    state: MessageState | None = None
    conversation_id: str | None = None
    since: AwareDatetime | None = None


class _Conversations(_Page):
    key: str | None = None


class _Deliveries(_Page):
    state: DeliveryState | None = None
    since: AwareDatetime | None = None


class _Destinations(_Page):
    state: DestinationState | None = None


P = TypeVar("P", bound=_Page)


class Reading:
    """The reading half of `/v1`."""

    def __init__(self, store: Store, access: Access, *, stuck: timedelta, link: Callable[[FileRef], str]) -> None:
        """`stuck`: what has not moved for this long is an offence against the books; `link`: where a file is had."""
        self._store = store
        self._access = access
        self._stuck = stuck
        self._link = link

    def routes(self) -> list[BaseRoute]:
        """What is served, each behind the admin token but for a message's own status."""
        return [
            Route("/v1/messages/{id}", self._access.own(self.message)),
            Route("/v1/messages", self._access.admin(_paged(_Messages, self.messages))),
            Route("/v1/conversations", self._access.admin(_paged(_Conversations, self.conversations))),
            Route("/v1/conversations/{id}", self._access.admin(self.conversation)),
            Route("/v1/deliveries", self._access.admin(_paged(_Deliveries, self.deliveries))),
            Route("/v1/destinations", self._access.admin(_paged(_Destinations, self.destinations))),
            Route("/v1/ledger", self._access.admin(self.ledger)),
        ]

    async def message(self, request: Request) -> Response:
        """One message with its journey."""
        found = await self._store.read(reader.message, request.path_params["id"])
        if found is not None and found.state == "paused":
            found = with_question(found, await self._store.read(outcome, found.message_id))
        if found is not None and found.files:
            found = replace(found, files=tuple(replace(ref, url=self._link(ref)) for ref in found.files))
        return _found(found, "message")

    async def messages(self, wanted: _Messages) -> Response:
        """The newest messages; `source`, `conversation_id`, `state` and `since` narrow them down."""
        return json_response({"messages": await self._store.read(reader.message_list, **wanted.model_dump())})

    async def conversations(self, wanted: _Conversations) -> Response:
        """The map; `source` and `key` narrow it down."""
        found = await self._store.read(reader.conversation_list, **wanted.model_dump())
        return json_response({"conversations": found})

    async def conversation(self, request: Request) -> Response:
        """One conversation."""
        return _found(await self._store.read(reader.conversation, request.path_params["id"]), "conversation")

    async def deliveries(self, wanted: _Deliveries) -> Response:
        """The newest deliveries; `source`, `state` and `since` narrow them down."""
        return json_response({"deliveries": await self._store.read(reader.delivery_list, **wanted.model_dump())})

    async def destinations(self, wanted: _Destinations) -> Response:
        """Addresses that fail or are disabled; `source` and `state` narrow them down."""
        return json_response({"destinations": await self._store.read(destination_list, **wanted.model_dump())})

    async def ledger(self, _: Request) -> Response:
        """The conservation check."""
        found = await self._store.read(books, stuck_before=self._store.now() - self._stuck)
        return json_response(report(found))


def _paged(model: type[P], listing: Callable[[P], Awaitable[Response]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            wanted = model.model_validate(dict(request.query_params))
        except ValidationError as error:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(sentence_of(each) for each in error.errors()))
        return await listing(wanted)

    return endpoint


def _found(view: object | None, noun: str) -> Response:
    return problem(HTTPStatus.NOT_FOUND, f"There is no such {noun}.") if view is None else json_response(view)


def json_response(content: object) -> Response:
    """Never to be cached: it is about what someone said."""
    return Response(_ANY.dump_json(content), media_type="application/json", headers={"Cache-Control": "no-store"})
