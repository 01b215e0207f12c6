"""What a person sees while a turn runs. Its id on the platform is committed, so that no crash leaves it behind."""

import functools
from typing import Protocol, cast

import structlog

from bridge.adapter import Leaves, Progress, Shows
from bridge.agent.task import TaskEvent
from bridge.model import OutboundMessage, Turn, new_id
from bridge.store import shown as rows
from bridge.store.database import Store

log = structlog.get_logger()


class View(Protocol):
    """A view, or none."""

    async def show(self, event: TaskEvent) -> None:
        """Show one event of the task."""
        ...

    async def close(self, final: OutboundMessage | None) -> str | None:
        """End it; the platform's id where it became the answer itself."""
        ...

    def leave(self) -> None:
        """The turn is not followed here any more; nothing is shown from now on."""
        ...

    @property
    def is_shown(self) -> bool:
        """Whether anything of it stands on the platform."""
        ...


class NoView:
    """Nothing is shown."""

    is_shown = False

    async def show(self, event: TaskEvent) -> None:
        """Nothing."""

    async def close(self, final: OutboundMessage | None) -> str | None:  # noqa: ARG002 - it cannot become the answer
        return None

    def leave(self) -> None:
        """Nothing."""


_NO_VIEW = NoView()


class LiveView:
    """A platform's own view of a turn."""

    def __init__(self, store: Store, turn: Turn, message: OutboundMessage, progress: Progress) -> None:
        self._store = store
        self._turn = turn
        self._message = message
        self._progress = progress
        self._committed: str | None = None

    @property
    def is_shown(self) -> bool:
        return self._progress.remote_id is not None

    async def show(self, event: TaskEvent) -> None:
        await self._progress.show(event.type, event.data)
        if self._progress.remote_id not in {None, self._committed}:
            self._committed = self._progress.remote_id
            await self._store.write(rows.SHOWN, rows.Shown(self._turn, self._message, self._committed))

    async def close(self, final: OutboundMessage | None) -> str | None:
        became = await self._progress.close(final)
        if self._committed is not None and not self.is_shown:
            await self._store.write(rows.GONE, rows.Gone(self._turn, self._committed))
        return became

    def leave(self) -> None:
        if _leaves(type(self._progress)):
            cast("Leaves", self._progress).leave()


@functools.cache  # asked at every end of a turn; a protocol costs as much to ask as a row to write
def _leaves(kind: type[Progress]) -> bool:
    return issubclass(kind, Leaves)


async def open_view(store: Store, turn: Turn, adapter: Shows | None) -> View:
    """The view the turn's adapter offers, or none. One that an earlier life left behind is not joined by a second."""
    last = turn.said[-1].message
    if adapter is None or not last.return_address or turn.shown:
        return _NO_VIEW
    message = OutboundMessage(
        delivery_id=new_id("dlv"),
        kind="progress",
        return_address=last.return_address,
        text="",
        conversation_id=turn.lease.conversation_id,
        conversation=turn.conversation,
        message_ids=tuple(said.id for said in turn.said),
        turn_id=turn.id,
        task_id=turn.task_id,
        created_at=store.now(),
    )
    return LiveView(store, turn, message, await adapter.open(message))
