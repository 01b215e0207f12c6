"""What an operator may do to what is stored. Each waits for its commit, then wakes what it set going."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from bridge.clock import Clock
from bridge.errors import Conflict, Missing
from bridge.model import Lease
from bridge.store import erasure, reader, replay, reposting, stopping
from bridge.store.admitting import ADMIT, is_held_back
from bridge.store.database import Store
from bridge.store.destinations import ENABLE, Enable, Enabled
from bridge.store.erasure import ERASE, Erase, Erased
from bridge.store.replay import REPLAY, How, Replay, Replayed
from bridge.store.reposting import RETRY, Retried, Retry
from bridge.store.stopping import STOP_CONVERSATION, Stop, Stopped

STOPPED_WITHIN: Final = timedelta(seconds=15)
"""How long an erasure waits for the running task to be stopped at the agent, before it goes on without."""
_LOOK_EVERY: Final = timedelta(milliseconds=100)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What many wishes are about."""

    state: str
    """As the ledger counts it, or as its row says."""
    source: str | None = None
    since: datetime | None = None
    limit: int = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One of many that could not be done. Nothing of it was changed."""

    id: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """What became of each of many."""

    done: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    refused: list[Refused] = dataclasses.field(default_factory=list)

    async def add(self, one: str, work: Awaitable[object]) -> None:
        """Wait for one of them; a refusal stops none of the others."""
        try:
            self.done.append(report(await work))
        except (Conflict, Missing) as error:
            self.refused.append(Refused(id=one, why=str(error)))


class Operations:
    """The operator's hands. Holds nothing.

    Without `wake` this process works on no conversation (a command beside the servers): what is set
    going waits in its row for a server, which finds it within a beat.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        agents: Mapping[str, str],
        keeps_keys: frozenset[str] = frozenset(),
        wake: Callable[[Lease], None] | None = None,
        interrupt: Callable[[str], None] | None = None,
    ) -> None:
        """`agents` names the agent of each source by the present configuration, `keeps_keys` those that keep keys.

        `interrupt` tells this node that the running turn of a conversation is to be stopped now.
        """
        self._store = store
        self._clock = clock
        self._agents = agents
        self._keeps_keys = keeps_keys
        self._wake = wake
        self._interrupt = interrupt

    async def replay(self, message_id: str, how: How, *, dry_run: bool = False) -> Replayed:
        """Set a message going again. Raises Missing, or Conflict where it cannot be done as things are.

        Invoking lets in what was parked or declined.
        """
        claim = self._wake is not None
        wish = Replay(
            message_id=message_id,
            how=how,
            dry_run=dry_run,
            claim=claim,
            agents=self._agents,
            keeps_keys=self._keeps_keys,
        )
        if how == "invoke" and await self._store.read(is_held_back, message_id):
            done = await self._store.accept(ADMIT, wish)
        else:
            place = await self._store.read(replay.place_of, message_id)
            done = await self._store.write(REPLAY, dataclasses.replace(wish, conversation_id=place))
        self._rouse(done.wake)
        return done

    async def replay_all(self, chosen: Chosen, how: How, *, dry_run: bool = False) -> Many:
        """Each that fits, oldest first; one message of each turn, since it takes all of its turn along."""
        found = await self._store.read(reader.message_list, **dataclasses.asdict(chosen))
        ids = {view.turn_id or view.message_id: view.message_id for view in reversed(found)}.values()
        many = Many()
        for one in ids:
            await many.add(one, self.replay(one, how, dry_run=dry_run))
        return many

    async def retry_all(self, chosen: Chosen, *, dry_run: bool = False) -> Many:
        """Each that fits, oldest first."""
        found = await self._store.read(reader.delivery_list, **dataclasses.asdict(chosen))
        many = Many()
        for view in reversed(found):
            await many.add(view.delivery_id, self.retry(view.delivery_id, dry_run=dry_run))
        return many

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

    async def enable(self, destination_id: str, *, dry_run: bool = False) -> Enabled:
        """Call a disabled destination again. Raises Missing."""
        return await self._store.write(ENABLE, Enable(destination_id=destination_id, dry_run=dry_run))

    async def stop(self, conversation_id: str, *, dry_run: bool = False) -> Stopped:
        """Cancel what waits and stop what runs, at whichever node. Raises Missing."""
        await self._store.read(stopping.check_exists, conversation_id)
        wish = Stop(conversation_id=conversation_id, dry_run=dry_run, claim=self._wake is not None)
        done = await self._store.write(STOP_CONVERSATION, wish)
        if done.stopping and not dry_run and self._interrupt is not None:
            self._interrupt(conversation_id)
        self._rouse(done.wake)
        return done

    async def erase(self, conversation_id: str, *, dry_run: bool = False) -> Erased:
        """Forget what was said and answered; the running task is stopped at the agent before. Raises Missing.

        Where that cannot be done in time (the agent is away, no server runs) it is erased all the same.
        """
        stopped = await self.stop(conversation_id, dry_run=dry_run)
        if stopped.stopping and not dry_run and self._wake is not None:
            await self._until_stopped(conversation_id)
        looked_at = self._store.now()
        file_ids = await self._store.read(erasure.files_of, conversation_id)
        wish = Erase(conversation_id=conversation_id, file_ids=file_ids, looked_at=looked_at, dry_run=dry_run)
        return await self._store.write(ERASE, wish)

    async def _until_stopped(self, conversation_id: str) -> None:
        for _ in range(STOPPED_WITHIN // _LOOK_EVERY):
            if not await self._store.read(stopping.has_live_turns, conversation_id):
                return
            await self._clock.sleep(_LOOK_EVERY.total_seconds())

    def _rouse(self, lease: Lease | None) -> None:
        if lease is not None and self._wake is not None:
            self._wake(lease)


def report(done: object) -> dict[str, Any]:
    """What was done, under its public names; whom it wakes is nobody's business."""
    assert dataclasses.is_dataclass(done), "every operation answers with a value of its own"
    fields = (field.name for field in dataclasses.fields(done))
    return {name: getattr(done, name) for name in fields if name != "wake"}
