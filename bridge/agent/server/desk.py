"""Where both dialects bring what they are asked: takes orders, shows tasks, stops and erases them."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bridge.agent.server.access import body_of
from bridge.agent.server.brains import Brain, Told
from bridge.agent.server.orders import Document, Order, OrderInput
from bridge.agent.server.run import Run
from bridge.agent.server.runs import Runs
from bridge.agent.server.story import Place, whole_story
from bridge.agent.server.streams import QUIET_SECONDS, STILL_HERE
from bridge.agent.server.tasks import (
    DECISION,
    FINISHED,
    LIVE,
    TaskRows,
    awaits_approval,
    changes_of,
    decision_of,
    record,
)
from bridge.agent_rows import Begun, NewTurn, TaskTurn, TurnChange
from bridge.clock import Clock
from bridge.errors import StoreUnavailable
from bridge.model import Json
from bridge.storable import storable

_ELSEWHERE_SECONDS: Final = 1.0
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_OBJECT: Final = TypeAdapter(Document)
_ORDER: Final = TypeAdapter(Order)
T = TypeVar("T")


class Invalid(Exception):
    """A body or a parameter that cannot be used; `problems` is what a 422 lists."""

    def __init__(self, problems: Sequence[Json]) -> None:
        super().__init__(str(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent that this server is."""

    name: str
    brain: Brain
    model: str = "demo"
    """What its brain thinks with, shown to clients."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An accepted order: its turn, and the work on it where that happens in this process."""

    turn: TaskTurn
    run: Run | None
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A task that was worked on elsewhere."""

    task_id: str | None
    text: str
    result: str | None
    status: str


class Verdict(BaseModel):
    """A person's decision about a paused task, as it is brought here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    choice: Literal["approve", "deny"]
    decided_by: str = "somebody"
    decision_id: str | None = None


class Desk:
    """The actions of the embedded agent, one method each."""

    def __init__(self, rows: TaskRows, runs: Runs, *, agents: Mapping[str, Agent], clock: Clock, max_body: int) -> None:
        self.rows = rows
        self.agents = agents
        self._runs = runs
        self._clock = clock
        self._max_body = max_body

    def now(self) -> datetime:
        """The present by the server's clock."""
        return self._clock.now()

    def agent(self, agent_id: str) -> Agent:
        """Raises HTTPException 404."""
        if (agent := self.agents.get(agent_id)) is None:
            raise HTTPException(404, f"No agent {agent_id!r} here.")
        return agent

    async def order(self, request: Request) -> Order:
        """The order in a request's body. Raises Invalid, or HTTPException 413."""
        return await self.body(request, _ORDER)

    def checked(self, document: Json) -> Order:
        """An order made here of what a caller gave. Raises Invalid."""
        try:
            return _ORDER.validate_python(document)
        except ValidationError as error:
            raise Invalid(problems_of(error)) from error

    async def document(self, request: Request) -> Json:
        """Any JSON object in a request's body. Raises Invalid, or HTTPException 413."""
        return await self.body(request, _OBJECT)

    async def body(self, request: Request, form: TypeAdapter[T], *, default: T | None = None) -> T:
        """A request's body in this form; `default` where it has none. Raises Invalid, or HTTPException 413."""
        content = await body_of(request, self._max_body)
        if default is not None and not content:
            return default
        try:
            return form.validate_json(content)
        except ValidationError as error:
            raise Invalid(problems_of(error)) from error

    def key_of(self, request: Request) -> str | None:
        """The idempotency key of the header. Raises HTTPException 400 for one that cannot be kept."""
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise HTTPException(400, "Idempotency-Key must be 1 to 255 printable ASCII characters without spaces.")
        return key

    async def take(self, agent_id: str, order: Order, *, key: str | None) -> Taken:
        """Store the order and start on it, once for each key. Raises HTTPException 404, 409, 422 or 503."""
        self.agent(agent_id)
        if self._runs.full:
            raise HTTPException(503, "All places are taken; try again shortly.", {"retry-after": "1"})
        turn = self._new_turn(agent_id, order, key)
        return self._taken(await self._sure(turn, self.rows.begin(turn)), order)

    async def rewrite(self, agent_id: str, order: Order, *, number: int, key: str | None) -> Taken:
        """Take the order in place of a turn of its task; what came after that is dropped, what runs is stopped first.

        Raises HTTPException 404, 409, 422 or 503.
        """
        turn = self._new_turn(agent_id, order, key)
        stored = await self._sure(turn, self._runs.rewrite(turn, number=number))
        if stored is not None and stored.how == "busy":  # not before: the key may be known, or the message is not
            await self.stop(turn.task_id)
            stored = await self._sure(turn, self._runs.rewrite(turn, number=number))
        return self._taken(stored, order)

    async def _sure(self, turn: NewTurn, storing: Awaitable[T]) -> T:
        try:
            return await storing
        except StoreUnavailable:
            self._runs.doubt(turn.task_id)
            raise

    def _taken(self, stored: Begun | None, order: Order) -> Taken:
        begun = _begun(stored)
        if begun.how == "repeated":
            return Taken(begun.turn, self._run_of(begun.turn), repeated=True)
        return Taken(begun.turn, self._runs.start(begun.turn, order=order), repeated=False)

    async def ended(self, taken: Taken) -> Json:
        """The task when the turn is over or paused."""
        if taken.run is None:
            return record(await self._ended_elsewhere(taken.turn))
        turn = await taken.run.ended()
        if turn.status in LIVE:  # another node took it over
            turn = await self._ended_elsewhere(turn)
        return record(turn, order=taken.run.order)

    async def told(self, task_id: str, since: Place | None) -> AsyncGenerator[bytes, None]:
        """What a reader of a task wants: the turn of its place from there, else the latest from its start.

        Raises HTTPException 404.
        """
        turn = await self.known(task_id)
        if since is not None and since.turn != turn.number:
            turns = await self.rows.turns(task_id, limit=_FAR_BACK)
            turn = next((one for one in turns if one.number == since.turn), turn)
        return self.events(turn, since)

    def events(self, turn: TaskTurn, since: Place | None = None) -> AsyncGenerator[bytes, None]:
        """Everything of a turn, from its start or a place in it, as lines for the wire, wherever it is worked on."""
        run = self._run_of(turn)
        return self._events_elsewhere(turn, since) if run is None else run.follow(since)

    async def _events_elsewhere(self, turn: TaskTurn, since: Place | None) -> AsyncGenerator[bytes, None]:
        waiting = asyncio.ensure_future(self._ended_elsewhere(turn))
        try:
            while not (await asyncio.wait({waiting}, timeout=QUIET_SECONDS))[0]:
                yield STILL_HERE
            for line in whole_story(waiting.result(), since):
                yield line
        finally:
            waiting.cancel()

    async def known(self, task_id: str) -> TaskTurn:
        """The latest turn of a task. Raises HTTPException 404."""
        turn = await self.rows.latest(task_id) if "\x00" not in task_id else None
        if turn is None:
            raise HTTPException(404, "No such task.")
        return turn

    async def show(self, task_id: str) -> Json:
        """The task as it is now. Raises HTTPException 404."""
        if (run := self._runs.get(task_id)) is not None:
            return record(run.turn, status=run.status, order=run.order)
        return record(await self.known(task_id))

    async def stop(self, task_id: str) -> Json:
        """Stop what runs; a finished task stays as it is. Raises HTTPException 404."""
        if (run := self._runs.get(task_id)) is not None:
            return record(await self._runs.stop(run))
        turn = await self.known(task_id)
        if turn.status not in FINISHED:
            change = TurnChange(
                task_id=task_id,
                number=turn.number,
                status="stopped",
                only_from=LIVE | {"paused"},
                at=self._clock.now(),
            )
            turn = await self.rows.change(change) or await self.known(task_id)
        return record(turn)

    async def erase(self, task_id: str) -> None:
        """Stop and forget a task. Raises HTTPException 404."""
        await self.stop(task_id)
        await self.rows.erase(task_id)

    async def update(self, task_id: str, *, status: str | None, result: str | None, changes: Mapping[str, Any]) -> Json:
        """Change a task's record as a client asks. Raises HTTPException 404.

        A finished turn never comes to life again by this: nobody would work on it.
        """
        turn = await self.known(task_id)
        change = TurnChange(
            task_id=task_id,
            number=turn.number,
            status=None if status in LIVE and turn.status not in LIVE else status,
            result=None if result is None else storable(result),
            changes=json.dumps({**changes_of(turn), **changes}) if changes else None,
            at=self._clock.now(),
        )
        turn = await self.rows.change(change) or await self.known(task_id)
        if (run := self._run_of(turn)) is not None:
            self._runs.changed(run, turn)
        return record(turn)

    async def report(self, agent_id: str, report: Report) -> Json:
        """Store a turn that is over already. Raises HTTPException 404, 409 or 422."""
        self.agent(agent_id)
        order = Order(input=OrderInput(text=report.text), id=report.task_id, source="external")
        result = None if report.result is None else storable(report.result)
        turn = replace(self._new_turn(agent_id, order, None), status=report.status, result=result)
        return record(_begun(await self.rows.begin(turn)).turn)

    async def resume(self, task_id: str) -> bool:
        """Go on with a paused turn; False where none is paused. Of two calls at once one resumes."""
        return await self._go_on(await self.known(task_id), changes=None)

    async def decide(self, task_id: str, verdict: Verdict) -> Json:
        """Go on with a turn that waits for an approval. The same decision may come again, another one is too late.

        Raises HTTPException 404, or 409 where nothing waits for a decision.
        """
        turn = await self.known(task_id)
        made = {"id": verdict.decision_id, "choice": verdict.choice, "decided_by": storable(verdict.decided_by)}
        changes = json.dumps({**changes_of(turn), DECISION: made})
        if not awaits_approval(turn) or not await self._go_on(turn, changes=changes):
            turn = await self.known(task_id)
            if decision_of(turn) != made:
                raise HTTPException(409, f"Task {task_id} waits for no decision, or was decided otherwise.")
        return await self.show(task_id)

    def expect(self, task_id: str) -> None:
        """Something waits behind the live turn of this task."""
        self._runs.expect(task_id)

    async def begin_next(self, task_id: str) -> TaskTurn | None:
        """Begin what waits in a task that is idle, because somebody asks for it."""
        return await self._runs.begin_next(task_id, asked=True)

    async def push(self, task_id: str, told: Sequence[Told]) -> int:
        """Tell what a worker says happens in the turn it works on; answers how much of it there was place for.

        A turn that is over, or at work in another process, takes nothing. Raises HTTPException 404.
        """
        turn = await self.known(task_id)
        run = self._run_of(turn)
        return 0 if run is None else self._runs.push(run, told)

    async def _go_on(self, turn: TaskTurn, *, changes: str | None) -> bool:
        change = TurnChange(
            task_id=turn.task_id,
            number=turn.number,
            status="executing",
            changes=changes,
            only_from=frozenset({"paused"}),
            at=self._clock.now(),
        )
        resumed = await self.rows.change(change)
        if resumed is not None:
            self._runs.start(resumed, resumed=True)
        return resumed is not None

    def _run_of(self, turn: TaskTurn) -> Run | None:
        run = self._runs.get(turn.task_id)
        return run if run is not None and run.turn.number == turn.number else None

    async def _ended_elsewhere(self, turn: TaskTurn) -> TaskTurn:
        """Wait for a turn that another process works on, or that has just ended in this one."""
        while turn.status in LIVE:
            turns = await self.rows.turns(turn.task_id, limit=_FAR_BACK)
            turn = next((one for one in turns if one.number == turn.number), turn)
            if turn.status in LIVE:
                if (run := self._run_of(turn)) is not None:
                    return await run.ended()
                await self._clock.sleep(_ELSEWHERE_SECONDS)
        return turn

    def _new_turn(self, agent_id: str, order: Order, key: str | None) -> NewTurn:
        return NewTurn(
            task_id=order.id or next(_TASK_IDS),
            agent_id=agent_id,
            idempotency_key=key or order.idempotency_key,
            request=order.stored(),
            user_id=order.input.user.id if order.input.user else None,
            source=order.source,
            parent_id=order.parent_execution_id,
            triggering_agent_id=order.triggering_agent_id,
            at=self._runs.next_moment(),
        )


def _uuids() -> Iterator[str]:
    """UUIDs of version 7: 48 bits of milliseconds, so that new ones lie together in every index, and 74 random bits.

    Nobody can guess one: the id of a task opens its login page.
    The system is asked for many at once. Each time lets go of the interpreter's lock, and under load getting that back
    took longer than anything else the event loop did for a task (measured).
    """
    while True:
        digits = os.urandom(4096).hex()
        for at in range(0, len(digits), 32):
            time_ = f"{time.time_ns() // 1_000_000:012x}"
            variant = "89ab"[int(digits[at], 16) & 3]
            random = digits[at + 1 : at + 19]
            yield f"{time_[:8]}-{time_[8:]}-7{random[:3]}-{variant}{random[3:6]}-{random[6:]}"


_TASK_IDS: Final = _uuids()
_FAR_BACK: Final = 20


def _begun(begun: Begun | None) -> Begun:
    if begun is None:
        raise HTTPException(404, "No such message.")
    if begun.how == "busy":
        raise HTTPException(409, f"Task {begun.turn.task_id} is still at its previous turn.")
    if begun.how == "foreign":
        raise HTTPException(422, f"Task {begun.turn.task_id} belongs to agent {begun.turn.agent_id!r}.")
    return begun


def problems_of(error: ValidationError) -> list[Json]:
    """What a 422 lists, without repeating what was sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": ["body", *one["loc"]], "msg": one["msg"], "type": one["type"]} for one in found[:20]]
