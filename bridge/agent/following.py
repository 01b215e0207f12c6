"""Following a turn to its end: by its stream, and by status reads where there is none or it broke."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bridge.agent.client import Client
from bridge.agent.request import InvokeRequest
from bridge.agent.sse import Sent
from bridge.agent.task import TERMINAL, Task, TaskEvent
from bridge.documents import read_storable
from bridge.errors import AgentError, Interrupted, Unreachable
from bridge.model import Json

_OLD_NAMES: Final = {"content_chunk": "chunk", "task_started": "task_updated", "task_completed": "task_finished"}
"""Names of the service's older pages, still seen on older deployments."""

_SLOWEST_SECONDS: Final = 15.0
_GROWTH: Final = 1.5
_END_SECONDS: Final = 0.2
"""Between `task_finished` and the end of the stream, which follows at once at a service that keeps the contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pursuit:
    """How one turn is followed."""

    client: Client
    request: InvokeRequest
    until: datetime
    """When to give up waiting; the task itself goes on."""
    first_pause: float
    """Seconds before the second status read; they grow to 15."""
    patience: timedelta
    """How long reads may show another turn of the thread, or no task at all."""
    reattached: bool = False
    """The call was made in an earlier life: a read that tells nothing of its turn proves nothing."""

    async def stream(
        self, task: Task, sent: AsyncGenerator[Sent, None], cursor: str | None = None
    ) -> AsyncGenerator[TaskEvent, None]:
        """Yields the stream's events. Where it ends early it goes on from its cursor; without one, by status reads.

        Only a service that gives its events ids is asked to resume, and only while that brings something new.
        Where it has begun the turn anew, `task_created` comes before what is told again.
        """
        asked = None
        while True:
            try:
                async with aclosing(sent):
                    async for raw in sent:
                        event = event_from(raw)
                        if event is None or self._is_anothers(task, event):
                            continue
                        cursor = event.cursor or cursor
                        learn(task, event)
                        yield event
                        if _settled(task, event):
                            if task.finished:
                                await _let_end(sent)
                            return
                        if self.client.clock.now() >= self.until:
                            break
            except AgentError:
                pass  # the connection broke, the task did not: ask for it
            if cursor in {None, asked} or self.client.clock.now() >= self.until:
                break
            asked, sent = cursor, self.client.resume_stream(task.id, str(cursor))
        async for event in self.poll(task):
            yield event

    async def poll(self, task: Task) -> AsyncGenerator[TaskEvent, None]:
        """Yields a change of status as `task_updated`, the end as `task_finished`, a login as `auth_event`."""
        if task.finished:  # a sync call has its end already
            yield TaskEvent("task_finished", task.id, task.record)
            return
        clock, pause = self.client.clock, self.first_pause
        lost_at = clock.now() + self.patience
        while True:
            record, wait = await self._look(task.id)
            if record is not None:
                lost_at = clock.now() + self.patience
                for event in _changes(task, record):
                    yield event
                if task.status in TERMINAL or task.status == "paused":
                    return
            elif wait is None and clock.now() >= lost_at:
                raise Interrupted(f"the agent no longer shows this turn under task {task.id}")
            if clock.now() >= self.until:
                raise Interrupted(f"no result in the time allowed for a turn; task {task.id} may still be running")
            left = (self.until - clock.now()).total_seconds()
            await clock.sleep(min(max(pause, wait or 0.0), max(left, 0.0)))
            pause = min(pause * _GROWTH, _SLOWEST_SECONDS)

    async def _look(self, task_id: str) -> tuple[Json | None, float | None]:
        """The record if it is this turn's; and, where the service could not answer, seconds to leave it alone."""
        try:
            record = await self.client.task(task_id)
            if record is None or not await self._is_ours(record):
                return None, None
        except (Interrupted, Unreachable) as error:
            return None, error.after or 0.0
        return record, None

    async def _is_ours(self, record: Json) -> bool:
        """A task id serves every turn of its thread, and a read shows the latest: is that this turn?

        While it runs it does not matter. At the end the idempotency key decides, else the input's
        text, else (the service's short form has neither) the last words said in the thread.
        """
        status = str(record.get("status"))
        if status not in TERMINAL and status != "paused":
            return True
        if (told := self._told(record)) is not None:
            return told
        if not self.reattached or self.request.existing_task_id is None:
            return True
        return await self.client.last_prompt(str(record["id"])) == self.request.prompt

    def _told(self, record: Json) -> bool | None:
        """Whether the record itself says that it is this turn's; None where it says nothing of it."""
        extension, given = record.get("payload_extension"), record.get("input")
        if self.request.idempotency_key and isinstance(extension, dict) and "idempotency_key" in extension:
            return bool(extension["idempotency_key"] == self.request.idempotency_key)
        if isinstance(given, dict) and isinstance(given.get("text"), str):
            return bool(given["text"] == self.request.prompt)
        return None

    def _is_anothers(self, task: Task, event: TaskEvent) -> bool:
        """Whether an event tells of the end, or the pause, of another turn of the thread, which is none of this one."""
        record = event.data
        return (
            event.type.startswith("task_")
            and isinstance(record, dict)
            and record.get("id") == task.id
            and (record.get("status") in TERMINAL or record.get("status") == "paused")
            and self._told(record) is False
        )


def event_from(raw: Sent) -> TaskEvent | None:
    """One event of the wire, or None where it is none. No validation: this runs for every chunk."""
    try:
        event = read_storable(raw.data)
        kind = event["type"]
        return TaskEvent(
            _OLD_NAMES.get(kind, kind), event.get("task_id") or "", event.get("data"), event.get("time") or "", raw.id
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def learn(task: Task, event: TaskEvent) -> None:
    """Take over the record that a `task_…` event of this very task carries."""
    if event.type.startswith("task_") and isinstance(event.data, dict) and event.data.get("id") == task.id:
        task.record = event.data


async def _let_end(sent: AsyncGenerator[Sent, None]) -> None:
    """A stream read to its end gives its connection back; broken off, the next turn would have to dial anew."""
    with suppress(TimeoutError, Interrupted, Unreachable):
        async with asyncio.timeout(_END_SECONDS):
            async for _ in sent:
                pass


def _settled(task: Task, event: TaskEvent) -> bool:
    return (event.type == "task_finished" and task.finished) or (
        event.type == "task_updated" and task.status == "paused"
    )


def _changes(task: Task, record: Json) -> list[TaskEvent]:
    before, task.record = task.status, record
    time = str(record.get("updated_at") or record.get("finished_at") or "")
    if task.finished:
        return [TaskEvent("task_finished", task.id, record, time)]
    if task.status == before:
        return []
    events = [TaskEvent("task_updated", task.id, record, time)]
    login = record.get("pending_eca_request")
    if task.status == "paused" and isinstance(login, dict) and login.get("auth_url"):
        # Only a stream carries auth events; the record tells the same to those who poll.
        data = {"url": login["auth_url"], "server_name": login.get("connector_name"), "server_url": None}
        events.insert(0, TaskEvent("auth_event", task.id, {"type": "login_required", "data": data}, time))
    return events
