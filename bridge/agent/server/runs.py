"""Turns being worked on in this process: each runs its brain, tells its events, and commits its end."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import structlog

from bridge.agent.server.backlog import Backlog
from bridge.agent.server.brains import Brain, BrainFault, File, Pause, Result, Told
from bridge.agent.server.orders import Order
from bridge.agent.server.reading import Reading
from bridge.agent.server.run import ABANDONED, Run
from bridge.agent.server.story import Telling
from bridge.agent.server.tasks import LIVE, TaskRows, changes_of, order_of, record, stamp
from bridge.agent.server.verdict import violation
from bridge.agent.server.workers import Workers
from bridge.agent_rows import Begun, NewTurn, TaskTurn, TurnChange
from bridge.clock import Clock
from bridge.errors import StoreUnavailable
from bridge.model import Json
from bridge.storable import storable

log = structlog.get_logger()

Keep: TypeAlias = Callable[[File], Awaitable[Json]]
"""Stores a file that a brain made, and tells how the task's record names it. Raises BrainFault."""

MOST_ATTEMPTS: Final = 3
_KEPT_APART: Final = 500
_FORGET_EVERY: Final = timedelta(hours=1)
_FAILED: Final = "The agent failed while working on this. Its operator finds the reason in the log."


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one embedded agent takes upon itself."""

    running: int = 1000
    """Brains at work at once; further turns wait as `pending`."""
    waiting: int = 10_000
    """Turns that may wait so; above it the service answers 503."""
    result_chars: int = 2_000_000
    files: int = 100
    events: int = 50_000
    """Events one turn may tell."""
    turn: timedelta = timedelta(hours=1)
    """The longest a brain may work on one turn."""
    retention: timedelta = timedelta(days=90)
    """How long a task is kept after its last turn ended."""
    lifetime: timedelta = timedelta(seconds=6)
    """How long a silent process counts as alive; it gives a sign three times as often."""


class Runs:
    """All turns at work here. What they need after a crash is in their rows; `recover` takes them up again."""

    def __init__(
        self,
        rows: TaskRows,
        backlog: Backlog,
        brains: Mapping[str, Brain],
        *,
        workers: Workers,
        reading: Reading,
        clock: Clock,
        limits: Limits,
        keep: Keep | None = None,
    ) -> None:
        self.limits = limits
        self._rows = rows
        self._backlog = backlog
        self._brains = brains
        self._workers = workers
        self._reading = reading
        self._clock = clock
        self._keep = keep
        self._slots = asyncio.Semaphore(limits.running)
        self._runs: dict[str, Run] = {}
        self._doubtful: set[str] = set()
        self._expected: set[str] = set()
        self._last_moment = clock.now()

    def get(self, task_id: str) -> Run | None:
        """The turn of a task that is at work here."""
        return self._runs.get(task_id)

    @property
    def full(self) -> bool:
        """No further turn should be taken on."""
        return len(self._runs) >= self.limits.running + self.limits.waiting

    def start(self, turn: TaskTurn, *, order: Order | None = None, resumed: bool = False) -> Run:
        """Work on a stored turn. Its end is committed before anyone is told of it."""
        run = Run(turn, order or order_of(turn))
        self._runs[turn.task_id] = run
        run.work = asyncio.create_task(self._work(run, resumed=resumed), name=f"turn {turn.task_id}")
        return run

    def doubt(self, task_id: str) -> None:
        """The database failed while this task was stored: should it be there after all, work on it soon."""
        self._doubtful.add(task_id)

    def next_moment(self) -> datetime:
        """The present, but never the same twice: by it a turn knows itself again after a commit in doubt."""
        self._last_moment = max(self._clock.now(), self._last_moment + timedelta(microseconds=1))
        return self._last_moment

    def expect(self, task_id: str) -> None:
        """Something waits behind this task's turn. Where that is not at work here any more, `recover` begins it."""
        if task_id in self._runs:
            self._expected.add(task_id)

    async def begin_next(self, task_id: str, *, asked: bool) -> TaskTurn | None:
        """Begin the oldest that waits behind a turn that is over."""
        self._expected.discard(task_id)
        try:
            turn = await self._backlog.begin_next(task_id, self.next_moment(), asked=asked)
        except StoreUnavailable:
            self.doubt(task_id)
            raise
        if turn is None:
            self.expect(task_id)  # of two that ask at a time, the one in vain must not take the other's word back
            return None
        self._expected.add(task_id)  # behind the last one it is in vain, once
        self.start(turn)
        return turn

    async def rewrite(self, turn: NewTurn, *, number: int) -> Begun | None:
        """Store a turn in place of an earlier one and all behind that."""
        return await self._backlog.rewrite(turn, number=number)

    async def stop(self, run: Run) -> TaskTurn:
        """End a turn as `stopped`, unless it ended by itself meanwhile."""
        if run.thinking and run.work is not None:
            run.stopped = True
            run.work.cancel()
        return await run.ended()

    def changed(self, run: Run, turn: TaskTurn) -> None:
        """Tell that a client changed the turn's record; if it thereby ended, the work on it ends, too."""
        run.turn = turn
        run.told.append(("task_updated", stamp(self._clock.now()), record(turn, order=run.order)))
        run.wake()
        if turn.status not in LIVE and run.thinking and run.work is not None:
            run.stopped = True
            run.work.cancel()

    def push(self, run: Run, told: Sequence[Told]) -> int:
        """Tell what happens in a turn that is worked on outside of this process; answers how much had place."""
        place = max(self.limits.events - len(run.told), 0) if run.thinking else 0
        for one in told[:place]:
            self._tell(run, one)
        return min(place, len(told))

    async def recover(self) -> None:
        """Runs until cancelled: gives signs of life, takes up the turns of processes that ceased, forgets old tasks."""
        forget_at = self._clock.now()
        while True:
            try:
                for turn in await self._rows.keep(self.limits.lifetime):
                    await self._take_up(turn)
                await self._settle_doubts()
                for task_id in await self._backlog.left():
                    await self.begin_next(task_id, asked=False)
                now = self._clock.now()
                if now >= forget_at and not await self._rows.forget(now - self.limits.retention):
                    forget_at = now + _FORGET_EVERY
            except StoreUnavailable as error:
                log.warning("agent_beat_missed", error=str(error))
            except Exception:
                # Without the beat other nodes would take this one for dead and do its work twice.
                log.exception("agent_beat_failed")
            await self._clock.sleep(self.limits.lifetime.total_seconds() / 3)

    async def close(self) -> None:
        """Drop what runs: its rows say `executing` still, and the next process takes it up."""
        work = [run.work for run in self._runs.values() if run.work is not None]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    async def _take_up(self, turn: TaskTurn) -> None:
        if turn.attempt <= MOST_ATTEMPTS:
            log.warning("turn_taken_up", task=turn.task_id, attempt=turn.attempt)
            self.start(turn)
            self.expect(turn.task_id)  # who lined something up behind it was told so by another process
            return
        reason = f"The agent's process ended {MOST_ATTEMPTS} times while working on this."
        await self._rows.change(_end(turn, "failed", reason, self._clock))

    async def _settle_doubts(self) -> None:
        for task_id in tuple(self._doubtful):
            turn = await self._rows.latest(task_id)
            self._doubtful.discard(task_id)
            if turn and turn.status in LIVE and turn.node == self._rows.node and task_id not in self._runs:
                self.start(turn)

    async def _work(self, run: Run, *, resumed: bool) -> None:
        try:
            async with self._slots:
                run.status = "executing"
                status, result = await self._outcome(run, resumed=resumed)
        except asyncio.CancelledError:
            if not run.stopped:
                self._forget(run, ABANDONED)  # the process ends; the row stays live for the next one
                raise
            status, result = "stopped", None
        run.thinking = False
        try:
            await self._conclude(run, status, result)
        finally:
            if not run.over:
                self._forget(run, ABANDONED)

    async def _outcome(self, run: Run, *, resumed: bool) -> tuple[str, str | None]:
        """The status and result that the brain's work comes to."""
        try:
            async with asyncio.timeout(self.limits.turn.total_seconds()):
                return await self._think(run, resumed=resumed)
        except BrainFault as error:
            return "error", str(error)
        except TimeoutError:
            return "error", f"The agent took longer than {self.limits.turn}."
        except Exception:
            # A brain is foreign code: whatever it raises ends its own turn, never the server.
            log.exception("brain_failed", task=run.turn.task_id, agent=run.turn.agent_id)
            return "error", _FAILED

    async def _think(self, run: Run, *, resumed: bool) -> tuple[str, str | None]:
        brain = self._brains[run.turn.agent_id]
        if self._workers.serves(run.turn.agent_id):
            brain, order = self._workers, run.order.model_copy(update={"disable_attachment_injection": True})
        else:
            order = run.order
        ask = await self._reading.ask(run.turn, order, resumed=resumed)
        parts: list[str] = []
        length = 0
        async with aclosing(brain.answer(ask)) as steps:  # type: ignore[type-var]  # an async generator
            async for step in steps:
                if isinstance(step, str):
                    parts.append(step)
                    length += len(step)
                    self._tell(run, Told("chunk", step))
                elif isinstance(step, Result):
                    parts, length = [step.text], len(step.text)
                elif isinstance(step, File):
                    run.files.append(await self._kept(run, step))
                elif isinstance(step, Pause):
                    self._tell(run, step.told)
                    return "paused", step.question or None
                else:
                    self._tell(run, step)
                if length > self.limits.result_chars:
                    raise BrainFault(f"The answer is longer than {self.limits.result_chars} characters.")
        answer = "".join(parts)
        if ask.output_schema is not None and (fault := await violation(answer, ask.output_schema)):
            raise BrainFault(f"The answer does not fit output_schema: {fault}")
        return "completed", answer

    async def _kept(self, run: Run, file: File) -> Json:
        """Stored before the turn ends. Begun anew after a crash, the same file is stored once."""
        if self._keep is None:
            raise BrainFault("This agent server has no place for files; an agent inside the bridge has one.")
        if len(run.files) >= self.limits.files:
            raise BrainFault(f"The agent made more than {self.limits.files} files.")
        return await self._keep(file)

    def _tell(self, run: Run, told: Told) -> None:
        if len(run.told) >= self.limits.events:
            raise BrainFault(f"The agent told more than {self.limits.events} things.")
        if not isinstance(told.data, str):
            json.dumps(told.data, allow_nan=False)  # what cannot be sent fails its teller, not the end of the turn
        run.told.append((told.type, stamp(self._clock.now()), told.data))
        run.wake()

    async def _conclude(self, run: Run, status: str, result: str | None) -> None:
        """Commit the end, then tell it. Another node's hand on the turn, or a stop elsewhere, goes before ours."""
        change = _end(run.turn, status, result, self._clock, events=json.dumps(_joined(run.told)) if run.told else "")
        if run.files:
            change = replace(change, changes=json.dumps({**changes_of(run.turn), "files": run.files}))
        stored = await self._stored(change)
        if stored is None and run.told:  # a client ended it by itself; what was told belongs to it all the same
            stored = await self._stored(replace(change, status=None, result=None, only_from=None))
        run.turn = stored or await self._as_stored(run.turn)
        self._forget(run, run.turn.status if run.turn.status not in LIVE else ABANDONED)
        if run.turn.task_id in self._expected:
            with suppress(StoreUnavailable):  # then `recover` begins it
                await self.begin_next(run.turn.task_id, asked=False)

    async def _as_stored(self, turn: TaskTurn) -> TaskTurn:
        """The turn as others left it: changed by a client, stopped, erased, or taken over by another node."""
        return next((one for one in await self._rows.turns(turn.task_id, limit=20) if one.number == turn.number), turn)

    async def _stored(self, change: TurnChange) -> TaskTurn | None:
        """Try until it is stored: a turn that ended must not look live for as long as this process does."""
        pause = 0.5
        while True:
            try:
                return await self._rows.change(change)
            except StoreUnavailable as error:
                log.warning("turn_end_not_stored_yet", task=change.task_id, error=str(error))
            await self._clock.sleep(pause)
            pause = min(pause * 2, 30.0)

    def _forget(self, run: Run, status: str) -> None:
        run.status = status
        if self._runs.get(run.turn.task_id) is run:
            del self._runs[run.turn.task_id]
        run.wake()


def _joined(told: list[Telling]) -> list[Telling]:
    """The same story for later readers, with fragments that follow each other as one where there are very many."""
    if len(told) <= _KEPT_APART:
        return told
    joined: list[Telling] = []
    for is_text, group in itertools.groupby(told, key=lambda one: one[0] == "chunk" and isinstance(one[2], str)):
        first, *more = group
        joined += [("chunk", first[1], first[2] + "".join(one[2] for one in more))] if is_text else [first, *more]
    return joined


def _end(turn: TaskTurn, status: str, result: str | None, clock: Clock, *, events: str | None = None) -> TurnChange:
    return TurnChange(
        task_id=turn.task_id,
        number=turn.number,
        status=status,
        result=None if result is None else storable(result),
        events=events,
        attempt=turn.attempt,
        only_from=LIVE,
        at=clock.now(),
    )
