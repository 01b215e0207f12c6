"""What an operator may do to what is stored: replay, retry. Each waits for its commit, then wakes what it set going."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from bridge.model import Lease
from bridge.store import replay, reposting
from bridge.store.database import Store
from bridge.store.replay import REPLAY, How, Replay, Replayed
from bridge.store.reposting import RETRY, Retried, Retry


class Operations:
    """The operator's hands. Holds nothing.

    Without `wake` this process works on no conversation (a command beside the servers): what is set
    going waits in its row for a server, which finds it within a beat.
    """

    def __init__(self, store: Store, *, agents: Mapping[str, str], wake: Callable[[Lease], None] | None = None) -> None:
        """`agents` names the agent of each source by the present configuration."""
        self._store = store
        self._agents = agents
        self._wake = wake

    async def replay(self, message_id: str, how: How, *, dry_run: bool = False) -> Replayed:
        """Set a message going again. Raises Missing, or Conflict where it cannot be done as things are."""
        done = await self._store.write(
            REPLAY,
            Replay(
                message_id=message_id,
                conversation_id=await self._store.read(replay.place_of, message_id),
                how=how,
                dry_run=dry_run,
                claim=self._wake is not None,
                agents=self._agents,
            ),
        )
        self._rouse(done.wake)
        return done

    async def retry(self, delivery_id: str, *, dry_run: bool = False) -> Retried:
        """Try a delivery again, now. Raises Missing, or Conflict where it cannot be done as things are."""
        done = await self._store.write(
            RETRY,
            Retry(
                delivery_id=delivery_id,
                conversation_id=await self._store.read(reposting.place_of, delivery_id),
                dry_run=dry_run,
                claim=self._wake is not None,
            ),
        )
        self._rouse(done.wake)
        return done

    def _rouse(self, lease: Lease | None) -> None:
        if lease is not None and self._wake is not None:
            self._wake(lease)


def report(done: object) -> dict[str, Any]:
    """What was done, under its public names; whom it wakes is nobody's business."""
    assert dataclasses.is_dataclass(done), "every operation answers with a value of its own"
    fields = (field.name for field in dataclasses.fields(done))
    return {name: getattr(done, name) for name in fields if name != "wake"}
