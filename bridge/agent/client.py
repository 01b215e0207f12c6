"""The public REST v1 of the agent service, call by call. No retries, no state: callers decide what comes next."""

import functools
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx2

from bridge import documents
from bridge.agent.outcomes import NotThere, failure_from_status, foreign_failures
from bridge.agent.request import InvokeRequest
from bridge.agent.sse import Oversized, Sent, read_events
from bridge.clock import Clock
from bridge.egress import Answer, exchange_of
from bridge.errors import Interrupted
from bridge.model import Json

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0
"""Longest silence on a call or a stream: load balancers cut an idle connection after 60 s."""
_MAX_ERROR_BYTES: Final = 4096


class Client:
    """Speaks to one agent service with one key."""

    def __init__(self, http: httpx2.AsyncClient, *, base_url: str, api_key: str, clock: Clock) -> None:
        self._exchange = exchange_of(http)
        self._root = base_url.rstrip("/").removesuffix("/v1") + "/v1"
        self._headers = {"x-api-key": api_key, "user-agent": "agent-bridge", "accept": "application/json"}
        self.clock = clock

    async def invoke(self, request: InvokeRequest, *, limit: timedelta) -> Json:
        """Run a turn and wait for its end, at most `limit`."""
        return await self._post_invoke(request, "", read_seconds=limit.total_seconds())

    async def invoke_async(self, request: InvokeRequest) -> Json:
        """Start a turn; the answer comes at once, its task pending."""
        return await self._post_invoke(request, "/async", read_seconds=READ_SECONDS)

    def open_stream(self, request: InvokeRequest) -> AsyncGenerator[Sent, None]:
        """Start a turn and follow it. Nothing is sent before the first step of the iteration.

        A service that answers with plain JSON instead yields that task as its only event.
        """
        url, headers, content = self._invocation(request, "/stream")
        return self._stream("POST", url, headers, content)

    def resume_stream(self, task_id: str, cursor: str) -> AsyncGenerator[Sent, None]:
        """Follow a turn from behind an event whose id is `cursor`, at a service that gives its events ids."""
        return self._stream("GET", f"/tasks/{_segment(task_id)}/events", {**self._headers, "last-event-id": cursor})

    async def task(self, task_id: str) -> Json | None:
        """The task as it is now, the *latest* turn of its thread; None where the service knows none."""
        try:
            return await self.known_task(task_id)
        except NotThere:
            return None

    async def known_task(self, task_id: str) -> Json:
        """The same, but an unknown task is Refused."""
        return await self._call("GET", f"/tasks/{_segment(task_id)}")

    async def last_prompt(self, task_id: str) -> str | None:
        """What the thread's last user message says, or None where the service does not tell."""
        answer = await self._fetch("GET", f"/tasks/{_segment(task_id)}/thread")
        messages: list[Any] = answer if isinstance(answer, list) else []
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role") == "user":
                content = message.get("content")
                return content if isinstance(content, str) else None
        return None

    async def stop(self, task_id: str) -> Json:
        """Cancel what runs; a terminal task stays as it is. Never the DELETE, which erases the thread."""
        return await self._call("POST", f"/tasks/{_segment(task_id)}/stop")

    async def decide(self, route: str, task_id: str, decision: Mapping[str, str]) -> None:
        """Tell of a person's decision. `route` is relative to `/v1`, with `{task_id}` in it."""
        await self.tell(route, task_id, decision, key=decision["decision_id"])

    async def tell(self, route: str, task_id: str, document: Mapping[str, Any], *, key: str) -> None:
        """Put a document where the service takes it; `route` as above. Safe to repeat under the same key.

        What it answers is not read: nothing at all (204) is as good as anything.
        """
        headers = {**self._headers, "content-type": "application/json", "idempotency-key": key}
        content = documents.written(document)
        path = route.replace("{task_id}", _segment(task_id))
        with foreign_failures():
            answer = await self._send("POST", path, headers, content, READ_SECONDS)
            async with aclosing(answer):
                if not _is_success(answer):
                    raise await self._failure(answer)
                await _read(answer)  # to its end, so that the connection serves again

    async def _post_invoke(self, request: InvokeRequest, kind: str, *, read_seconds: float) -> Json:
        url, headers, content = self._invocation(request, kind)
        return await self._call("POST", url, headers=headers, content=content, read_seconds=read_seconds)

    def _invocation(self, request: InvokeRequest, kind: str) -> tuple[str, dict[str, str], bytes]:
        url = f"/agents/{_segment(request.agent_id or '')}/invoke{kind}"
        if request.agent_version is not None:
            url += f"?version={_segment(request.agent_version)}"
        headers = {**self._headers, "content-type": "application/json"}
        if request.idempotency_key is not None:
            headers["idempotency-key"] = request.idempotency_key
        return url, headers, documents.written(request.rest_body(), _plain)

    async def _stream(
        self, method: str, path: str, headers: dict[str, str], content: bytes | None = None
    ) -> AsyncGenerator[Sent, None]:
        headers["accept"] = "text/event-stream, application/json"
        with foreign_failures():
            answer = await self._send(method, path, headers, content, READ_SECONDS)
            async with aclosing(answer):
                if not _is_success(answer):
                    raise await self._failure(answer)
                if _media_type(answer) != "text/event-stream":
                    yield Sent(await _read(answer), None)
                    return
                try:
                    # The generator is closed here, not by the collector: the connection goes back at once.
                    async with aclosing(read_events(answer.chunks)) as events:
                        async for event in events:
                            yield event
                except Oversized as error:
                    raise Interrupted(str(error)) from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Json:
        record = await self._fetch(method, path, headers=headers, content=content, read_seconds=read_seconds)
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise Interrupted("the agent service answered with something that is no task: check base_url")
        return record

    async def _fetch(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Any:
        with foreign_failures():
            answer = await self._send(method, path, headers or self._headers, content, read_seconds)
            async with aclosing(answer):
                if not _is_success(answer):
                    raise await self._failure(answer)
                body = await _read(answer)
        try:
            return documents.read_storable(body)
        except (ValueError, RecursionError) as error:
            media_type = _media_type(answer) or "nothing readable"
            raise Interrupted(f"the agent service answered with {media_type}, not JSON: check base_url") from error

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes | None, read_seconds: float
    ) -> Answer:
        """The answer's head."""
        return await self._exchange(
            method, self._root + path, headers=headers, content=content, seconds=_seconds(read_seconds)
        )

    async def _failure(self, answer: Answer) -> Exception:
        body = b""
        async for chunk in answer.chunks:
            body += chunk
            if len(body) >= _MAX_ERROR_BYTES:
                break
        return failure_from_status(answer.status, answer.headers, body, now=self.clock.now())


@functools.lru_cache(maxsize=32)
def _seconds(read_seconds: float) -> Mapping[str, float | None]:
    return {"connect": CONNECT_SECONDS, "pool": CONNECT_SECONDS, "read": read_seconds, "write": READ_SECONDS}


def _is_success(answer: Answer) -> bool:
    return 200 <= answer.status < 300  # noqa: PLR2004 - the class of successes


async def _read(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer.chunks])


def _segment(value: str) -> str:
    """One path segment: an id may hold a slash, a dot pair or a line end, and stays one segment."""
    return quote(value, safe="") if value not in {".", ".."} else value.replace(".", "%2E")


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _plain(value: object) -> object:
    """Mappings that are no dicts, frozen ones for instance."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot travel as JSON")
