"""The agent as a Python object: `Backend` invokes, follows, re-attaches and stops."""

import asyncio
import functools
import json
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal, ParamSpec

import httpx2

from bridge.agent.client import Client
from bridge.agent.following import Pursuit, event_from
from bridge.agent.request import InvokeRequest, OutputFormat, User
from bridge.agent.sse import Sent
from bridge.agent.task import Task
from bridge.clock import Clock, SystemClock
from bridge.documents import read_storable
from bridge.errors import AgentError, Interrupted, Refused
from bridge.model import Json

Mode = Literal["stream", "poll", "sync"]

_PUBLIC_SERVICE: Final = "https://api.xpander.ai"
P = ParamSpec("P")


def _blocking(function: Callable[P, Coroutine[Any, Any, Task]]) -> Callable[P, Task]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Task:
        """The same for code without an event loop. Blocks until the task is *created*, not until it is finished."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(function(*args, **kwargs))
        raise RuntimeError("invoke_agent cannot be called inside a running event loop: await ainvoke_agent instead")

    return call


class Backend:
    """One agent service. Without arguments it reads XPANDER_BASE_URL, XPANDER_API_KEY and XPANDER_AGENT_ID.

    Give it an HTTP client and close that yourself; without one it uses a client that keeps no connection
    open, so that nothing is left to close and calls may come from one event loop after another.
    """

    def __init__(  # noqa: PLR0913 - every one but the client is a named option of an agent
        self,
        http: httpx2.AsyncClient | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        agent_id: str | None = None,
        mode: Mode = "stream",
        timeout: timedelta = timedelta(minutes=30),
        clock: Clock | None = None,
        poll_every: timedelta = timedelta(seconds=2),
        patience: timedelta = timedelta(seconds=30),
        choose_task_ids: bool = False,
    ) -> None:
        self._client = Client(
            http or httpx2.AsyncClient(limits=httpx2.Limits(max_keepalive_connections=0)),
            base_url=base_url or os.environ.get("XPANDER_BASE_URL") or _PUBLIC_SERVICE,
            api_key=api_key if api_key is not None else os.environ.get("XPANDER_API_KEY", ""),
            clock=clock or SystemClock(),
        )
        self.agent_id = agent_id or os.environ.get("XPANDER_AGENT_ID")
        """Who is asked where a request does not say."""
        self._mode: Mode = mode
        self._timeout = timeout
        self._poll_every = poll_every
        self._patience = patience
        self._choose_task_ids = choose_task_ids

    def task_id_for(self, request: InvokeRequest) -> str | None:
        """The task id that `invoke` will ask for, known before the call where `choose_task_ids` is on.

        Older pages of the service let the caller name a new thread: its first turn's key becomes the id.
        None where the service chooses.
        """
        if request.existing_task_id is not None:
            return request.existing_task_id
        return request.idempotency_key if self._choose_task_ids else None

    async def invoke(self, request: InvokeRequest) -> Task:
        """Start a turn; returns as soon as its task id is known (in `sync` mode: when the turn is over).

        The prompt is data: nothing in it is interpreted. Raises Unreachable, Interrupted, Busy or
        Refused; after Interrupted the turn may be running, so repeat with the same idempotency key.
        """
        return await self._invoke(request, self._mode)

    async def begun(self, request: InvokeRequest) -> Task | None:
        """The turn that an earlier call of this request has begun; only where `choose_task_ids` tells its id.

        So a call that was cut off before its answer is no second turn even at a service that keeps no
        idempotency keys. Raises as `invoke` does.
        """
        task_id = self.task_id_for(request)
        if task_id is None or request.existing_task_id is not None:
            return None
        record = await self._client.task(task_id)
        return None if record is None else self._task(record, self._pursuit(request, reattached=True))

    async def attach(self, task_id: str, request: InvokeRequest, *, cursor: str | None = None) -> Task:
        """Take up a turn that was started in an earlier life; nothing is sent until its events are read.

        With the cursor of an event, `aevents` goes on behind it. Else it polls, and lets a terminal read count
        only if it shows this request's turn. Where reads keep showing another one, it raises Interrupted: repeat
        with the same key.
        """
        pursuit = self._pursuit(request, reattached=True)
        task = self._task({"id": task_id}, pursuit)
        if cursor is not None:
            task.feed(pursuit.stream(task, self._client.resume_stream(task_id, cursor), cursor))
        return task

    async def stop(self, task_id: str) -> Task:
        """Stop what runs in the thread. Stopping a finished task changes nothing."""
        return self._task(await self._client.stop(task_id), self._pursuit(InvokeRequest()))

    async def decide(self, route: str, task_id: str, *, decision_id: str, choice: str, decided_by: str) -> None:
        """Tell the agent what a person decided about its paused task. Safe to repeat: the id is the idempotency key."""
        decision = {"decision_id": decision_id, "choice": choice, "decided_by": decided_by}
        await self._client.decide(route, task_id, decision)

    async def tell(self, route: str, task_id: str, document: Mapping[str, Any], *, key: str) -> None:
        """Tell the agent something about a task that is no turn of it. Safe to repeat under the same key."""
        await self._client.tell(route, task_id, document, key=key)

    async def ainvoke_agent(  # noqa: PLR0913, PLR0917 - the contract's parameters, in its order
        self,
        agent_id: str | None = None,
        prompt: str | None = "",
        existing_task_id: str | None = None,
        file_urls: Sequence[str] | None = None,
        user_details: User | None = None,
        agent_version: str | None = None,
        tool_call_payload_extension: Mapping[str, Any] | None = None,
        source: str | None = "sdk",
        worker_id: str | None = None,
        run_locally: bool | None = False,  # noqa: FBT001, FBT002 - the contract's order and defaults
        output_format: OutputFormat | None = None,
        output_schema: Mapping[str, Any] | None = None,
        events_streaming: bool | None = False,  # noqa: FBT001, FBT002 - likewise
        additional_context: str | None = None,
        expected_output: str | None = None,
    ) -> Task:
        """Create a task and return it, pending. With `events_streaming`, `task.aevents()` is live.

        A prompt that is a JSON object with `xpander_task_id` creates nothing: it returns that task,
        or, where it cannot be read, falls through to a normal call. That is how continuations travel
        through chat-style integrations; pass nothing here that a person typed, use `invoke`.
        """
        if (known := await self._referenced_task(prompt or "")) is not None:
            return known
        request = InvokeRequest(
            agent_id=agent_id or self.agent_id or os.environ.get("XPANDER_AGENT_ID"),
            prompt=prompt or "",
            existing_task_id=existing_task_id,
            file_urls=tuple(file_urls or ()),
            user_details=user_details,
            agent_version=agent_version,
            tool_call_payload_extension=tool_call_payload_extension,
            source=source,
            worker_id=worker_id,
            run_locally=bool(run_locally),
            output_format=output_format,
            output_schema=output_schema,
            events_streaming=bool(events_streaming),
            additional_context=additional_context,
            expected_output=expected_output,
        )
        return await self._invoke(request, "stream" if events_streaming else "poll")

    invoke_agent = _blocking(ainvoke_agent)

    async def _referenced_task(self, prompt: str) -> Task | None:
        try:
            reference = json.loads(prompt)
            task_id = reference["xpander_task_id"] if isinstance(reference, dict) else None
        except (ValueError, KeyError, RecursionError):
            return None
        if not isinstance(task_id, str):
            return None
        try:
            record = await self._client.task(task_id)
        except AgentError:
            return None
        return None if record is None else self._task(record, self._pursuit(InvokeRequest()))

    async def _invoke(self, request: InvokeRequest, mode: Mode) -> Task:
        request = self._addressed(request)
        pursuit = self._pursuit(request)
        if mode == "stream":
            return await self._stream(request, pursuit)
        if mode == "sync":
            return self._task(await self._client.invoke(request, limit=self._timeout), pursuit)
        return self._task(await self._client.invoke_async(request), pursuit)

    def _addressed(self, request: InvokeRequest) -> InvokeRequest:
        agent_id, task_id = request.agent_id or self.agent_id, self.task_id_for(request)
        if not agent_id:
            raise Refused("no agent to invoke: give agent_id, or set XPANDER_AGENT_ID")
        if (agent_id, task_id) == (request.agent_id, request.existing_task_id):
            return request
        return replace(request, agent_id=agent_id, existing_task_id=task_id)

    async def _stream(self, request: InvokeRequest, pursuit: Pursuit) -> Task:
        """Open the stream and read on until the task has an id."""
        sent = self._client.open_stream(request)
        try:
            async for raw in sent:
                if (record := _first_record(raw)) is not None:
                    task = self._task(record, pursuit)
                    task.feed(pursuit.stream(task, sent, raw.id))
                    return task
        except BaseException:
            await sent.aclose()
            raise
        raise Interrupted("the agent's stream ended before it named a task; where that repeats, check base_url")

    def _pursuit(self, request: InvokeRequest, *, reattached: bool = False) -> Pursuit:
        return Pursuit(
            client=self._client,
            request=request,
            until=self._client.clock.now() + self._timeout,
            first_pause=self._poll_every.total_seconds(),
            patience=self._patience,
            reattached=reattached,
        )

    def _task(self, record: Json, pursuit: Pursuit) -> Task:
        return Task(record, read=self._client.known_task, stop=self._client.stop, polling=pursuit.poll)


def _first_record(raw: Sent) -> Json | None:
    """The task that the first telling event names: its record, or at least its id."""
    event = event_from(raw)
    if event is None:  # a service that does not stream answers with the task itself
        return _plain_task(raw.data)
    if event.type.startswith("task_") and isinstance(event.data, dict) and isinstance(event.data.get("id"), str):
        return event.data
    return {"id": event.task_id, "status": "executing"} if event.task_id and event.type != "connected" else None


def _plain_task(data: bytes) -> Json | None:
    try:
        record = read_storable(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("id"), str) else None
