"""Keeps what happens in a turn for callers who asked for it: coalesced, and stored before anybody is told."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from bridge.agent.task import TaskEvent
from bridge.clock import Clock
from bridge.errors import Replaced, StoreUnavailable
from bridge.model import OutboundMessage, Turn
from bridge.pauses import TOLD
from bridge.store.database import Store
from bridge.store.events import APPEND, Append, Happened, last_seq
from bridge.views import View

log = structlog.get_logger()

FLUSH_SECONDS: Final = 0.05
FLUSH_CHARS: Final = 1024
KEPT_CHARS: Final = 65_536
"""What is kept in memory for somebody who may yet ask; and the largest data one event may have."""


class Recorder:
    """A view that passes everything on to another one and stores it too, while somebody listens.

    What happens before anybody listens is kept in memory, up to a limit, and stored when somebody does.
    Records of the task itself are left out: the turn's own end says the same, in our words.
    """

    __slots__ = (  # one for each turn in flight
        "_begins",
        "_chars",
        "_chunks",
        "_clock",
        "_cursor",
        "_flushing",
        "_kept",
        "_listened",
        "_seq",
        "_store",
        "_stored",
        "_timer",
        "_turn",
        "_view",
    )

    def __init__(
        self,
        store: Store,
        clock: Clock,
        turn: Turn,
        view: View,
        *,
        listened: Callable[[Turn], bool],
        stored: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._turn = turn
        self._view = view
        self._listened = listened
        self._stored = stored
        self._kept: list[Happened] = []
        self._chunks: list[str] = []
        self._chars = 0
        self._begins = False
        self._cursor: str | None = None
        self._seq: int | None = None
        """Of the newest event there is; None: not asked yet."""
        self._timer: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()

    @property
    def is_shown(self) -> bool:
        return self._view.is_shown

    async def show(self, event: TaskEvent) -> None:
        self._keep(event)
        if self._listened(self._turn):
            if event.type != "chunk" or self._chars >= FLUSH_CHARS:
                await self.flush()
            elif self._chunks and self._timer is None:
                self._timer = asyncio.create_task(self._flush_soon(), name=f"recording {self._turn.id}")
        await self._view.show(event)

    async def close(self, final: OutboundMessage | None) -> str | None:
        await self.release()
        return await self._view.close(final)

    def leave(self) -> None:
        self._view.leave()

    async def release(self) -> None:
        """Store what is left. Nothing is recorded behind a turn's end.

        What a person is asked is stored even if nobody listens yet: the turn waits, and who comes later shall see it.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._listened(self._turn) or any(one.type in TOLD for one in self._kept):
            await self.flush()

    async def flush(self) -> None:
        """Store what has come together. Where that fails, it is kept for the next time."""
        async with self._flushing:
            self._fold()
            given, self._kept, self._chars = self._kept, [], 0
            if not given:
                return
            try:
                self._seq = await self._append(given)
            except (Replaced, StoreUnavailable) as error:  # whoever runs the turn will meet the same and act on it
                log.warning("events_not_stored", turn=self._turn.id, error=str(error) or type(error).__name__)
                self._kept = [*given, *self._kept]
                return
            self._begins = False
        self._stored(self._turn.id)

    async def _append(self, given: Sequence[Happened]) -> int:
        if self._seq is None:  # kept where the answer is lost, too: by it what is stored by then is told from the rest
            self._seq = await self._store.read(last_seq, self._turn.id)
        append = Append(
            lease=self._turn.lease,
            turn_id=self._turn.id,
            events=tuple(given),
            begins=self._begins,
            cursor=self._cursor,
            follows=self._seq,
        )
        return await self._store.write(APPEND, append)

    def _forget(self) -> None:
        self._kept, self._chunks, self._chars, self._seq = [], [], 0, None

    async def _flush_soon(self) -> None:
        await self._clock.sleep(FLUSH_SECONDS)
        self._timer = None
        await self.flush()

    def _keep(self, event: TaskEvent) -> None:
        self._cursor = event.cursor
        if event.type == "task_created":  # from here on the agent tells everything anew
            self._forget()
            self._begins = self._turn.pause is None  # what goes on after a pause belongs to what was told before it
        elif event.type == "chunk" and isinstance(event.data, str):
            self._chunks.append(event.data)
            self._chars += len(event.data)
        elif not event.type.startswith("task_"):
            self._fold()
            self._kept.append(Happened(event.type, _bounded(event.data)))
            self._chars += len(str(event.data))
        if self._chars > KEPT_CHARS and not self._listened(self._turn):
            self._forget()

    def _fold(self) -> None:
        if self._chunks:
            self._kept.append(Happened("chunk", "".join(self._chunks)))
            self._chunks = []


def _bounded(data: Any) -> Any:
    """The data, or, where it is too large to be passed on, how large it is."""
    size = len(str(data))
    return data if size <= KEPT_CHARS else {"left_out_chars": size}
