"""`/in/{source}`: everything a platform sends. Size first, then the adapter, then the commit, then the answer."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from bridge.clock import Clock
from bridge.entrance import Entrance
from bridge.errors import ReceiveError, StoreUnavailable, TooLarge
from bridge.inbox import Inbox
from bridge.model import Envelope, Reply
from bridge.store.ingest import Ingested
from bridge.web.problem import problem, refused, unavailable


class Incoming:
    """An ASGI endpoint: bytes in, a commit, an answer out. Starlette's Request would cost more than all of this."""

    def __init__(
        self,
        inbox: Inbox,
        entrances: Mapping[str, Entrance],
        clock: Clock,
        status_url: Callable[[str], str],
    ) -> None:
        self._inbox = inbox
        self._entrances = entrances
        self._clock = clock
        self._status_url = status_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._respond(scope, receive)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        name = scope["path_params"]["source"]
        entrance = self._entrances.get(name)
        if entrance is None:
            return problem(HTTPStatus.NOT_FOUND, f"There is no source named {name!r} here. Check the path of the URL.")
        if scope["method"] not in entrance.methods:
            allowed = ", ".join(sorted(entrance.methods))
            detail = f"This source takes {allowed}, not {scope['method']}."
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
        try:
            envelope = self._envelope(name, scope, await _body(scope, receive, entrance.max_body))
            outcome = await self._inbox.accept(entrance, envelope)
        except ReceiveError as error:
            return refused(error)
        except StoreUnavailable:
            return unavailable()
        return self._answer(outcome)

    def _envelope(self, source: str, scope: Scope, body: bytes) -> Envelope:
        return Envelope(
            source=source,
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
            body=body,
            received_at=self._clock.now(),
        )

    def _answer(self, outcome: Ingested | Reply) -> Response:
        if isinstance(outcome, Reply):
            return Response(outcome.body, outcome.status, dict(outcome.headers), outcome.media_type)
        told = [self._told(known.message_id, known.conversation_id) for known in outcome.messages]
        content = told[0] if len(told) == 1 else {"messages": told}
        return Response(json.dumps(content), HTTPStatus.ACCEPTED, media_type="application/json")

    def _told(self, message_id: str, conversation_id: str | None) -> dict[str, str | None]:
        return {
            "message_id": message_id,
            "conversation_id": conversation_id,
            "status_url": self._status_url(message_id),
        }


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, or TooLarge as soon as it is known to be."""
    too_large = TooLarge(f"The body is larger than the {limit} bytes this source takes.")
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_large
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ReceiveError("The connection was closed before the whole body had arrived.")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise too_large
        if not message.get("more_body"):
            return b"".join(chunks)
