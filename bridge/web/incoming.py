"""`/in/{source}`: everything a platform sends. Size first, then the adapter, then the commit, then the answer."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from bridge.adapter import Adapter, Answers, Refuses
from bridge.captures import Captures
from bridge.clock import Clock
from bridge.entrance import Entrance
from bridge.errors import ReceiveError, StoreUnavailable, TooLarge, Unverified
from bridge.inbox import Accepted, Inbox
from bridge.model import Envelope, Reply
from bridge.results import result_of
from bridge.store.outcomes import Outcome
from bridge.web.metrics import ACKNOWLEDGED_AT, UNVERIFIED_FOR
from bridge.web.preferences import wanted_wait, wants_stream
from bridge.web.problem import problem, refused, unavailable
from bridge.web.results import Results

log = structlog.get_logger()


class Incoming:
    """An ASGI endpoint: bytes in, a commit, an answer out. Starlette's Request would cost more than all of this."""

    def __init__(
        self,
        inbox: Inbox,
        entrances: Mapping[str, Entrance],
        clock: Clock,
        results: Results,
        captures: Captures,
        *,
        status_url: Callable[[str], str],
    ) -> None:
        self._inbox = inbox
        self._entrances = entrances
        self._clock = clock
        self._results = results
        self._captures = captures
        self._status_url = status_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._respond(scope, receive)
        except Exception:  # told and counted, and raised again for the log: most likely an adapter's mistake
            source = scope["path_params"]["source"]
            detail = f"The adapter of {source!r} failed; the log tells why. The same request may be sent again."
            await problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)(scope, receive, send)
            raise
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
        body, received_at = b"", self._clock.now()
        try:
            body = await _body(scope, receive, entrance.max_body)
            envelope = _envelope(name, scope, body, received_at)
            listened = wants_stream(envelope.header_values("accept"))
            accepted = await self._inbox.accept(entrance, envelope, listened=listened)
            scope[ACKNOWLEDGED_AT] = time.perf_counter()
            response = await self._answer(entrance, envelope, accepted)
        except ReceiveError as error:
            response = _refusal(entrance.adapter, error)
            _note(scope, name, error)
        except StoreUnavailable:
            response = unavailable()
        if entrance.capture:
            content = b"" if isinstance(response, StreamingResponse) else bytes(response.body)
            envelope, why = _envelope(name, scope, body, received_at), scope.get(UNVERIFIED_FOR)
            await self._captures.keep(envelope, response.status_code, content, failed_check=why)
        return response

    async def _answer(self, entrance: Entrance, envelope: Envelope, accepted: Accepted | Reply) -> Response:
        if isinstance(accepted, Reply):
            return _from_reply(accepted)
        asked = wanted_wait(envelope.header_values("prefer"))
        seconds = min(accepted.wait_seconds or 0 if asked is None else asked, self._results.most_seconds)
        stream = wants_stream(envelope.header_values("accept"))
        until = self._clock.now() + timedelta(seconds=self._results.most_seconds if stream else seconds)
        if accepted.reply and not (stream or seconds):
            return _from_reply(accepted.reply)
        stored = accepted.stored
        told = [self._told(known.message_id, known.conversation_id) for known in stored.messages]
        if stored.unread is not None and (stream or seconds):
            said = await self._results.read(stored.unread, envelope.received_at, until)
            told = [self._told(one.message_id, one.conversation_id) for one in said]
        if stream and len(told) == 1:
            return self._results.stream(str(told[0]["message_id"]), greeting=told[0])
        found = await self._results.wait([str(one["message_id"]) for one in told], until) if seconds and told else None
        if found is None:
            return _from_reply(accepted.reply) if accepted.reply else _json(HTTPStatus.ACCEPTED, told)
        applied = {} if asked is None else {"Preference-Applied": f"wait={seconds:g}"}
        return self._result(entrance, envelope, found, applied)

    def _result(
        self, entrance: Entrance, envelope: Envelope, found: Sequence[Outcome], headers: Mapping[str, str]
    ) -> Response:
        """In the platform's own form where it has one, else in ours."""
        if len(found) == 1 and isinstance(entrance.adapter, Answers):
            reply = entrance.adapter.answer(envelope, result_of(found[0]))
            if reply is not None:
                return _from_reply(reply, headers)
        return _json(HTTPStatus.OK, [self._results.content(one) for one in found], headers)

    def _told(self, message_id: str, conversation_id: str | None) -> dict[str, str | None]:
        return {
            "message_id": message_id,
            "conversation_id": conversation_id,
            "status_url": self._status_url(message_id),
        }


_VARY = {"Vary": "Prefer, Accept", "Cache-Control": "no-store"}


def _json(status: HTTPStatus, told: Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None) -> Response:
    content = told[0] if len(told) == 1 else {"messages": told}
    return Response(json.dumps(content), status, {**_VARY, **(headers or {})}, "application/json")


def _from_reply(reply: Reply, headers: Mapping[str, str] | None = None) -> Response:
    return Response(reply.body, reply.status, {**dict(reply.headers), **(headers or {})}, reply.media_type)


def _refusal(adapter: Adapter, error: ReceiveError) -> Response:
    own = adapter.refusal(error) if isinstance(adapter, Refuses) else None
    return refused(error) if own is None else _from_reply(own)


def _note(scope: Scope, source: str, error: ReceiveError) -> None:
    """For the operator alone: to tell a forger which check failed would help him."""
    if isinstance(error, Unverified) and error.reason:
        scope[UNVERIFIED_FOR] = error.reason
        log.info("arrival_unverified", source=source, failed_check=error.reason)


def _envelope(source: str, scope: Scope, body: bytes, received_at: datetime) -> Envelope:
    return Envelope(
        source=source,
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]),
        body=body,
        received_at=received_at,
    )


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
