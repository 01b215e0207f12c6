"""Delivers: `sending` is committed, the platform is called, the outcome is committed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog
from structlog.contextvars import bind_contextvars

from bridge.adapter import Adapter, Budgets, Destines, Finds, Revises, Scheduled, Withdraws
from bridge.backoff import delay, scheduled
from bridge.clock import Clock
from bridge.destinations import Destinations, Held
from bridge.errors import BridgeError, Permanent, Retryable
from bridge.handing import Handing
from bridge.lanes import AGAIN, Lanes, When
from bridge.model import DeliveryState, Lease, OutboundMessage
from bridge.store import deliveries as rows
from bridge.store import tries
from bridge.store.budgets import FREEZE, Cost, Freeze
from bridge.store.database import Store
from bridge.store.deliveries import Delivery
from bridge.store.heads import NotYet
from bridge.store.settling import NEAR
from bridge.store.tries import Outcome
from bridge.store.withheld import WITHHOLD, Withheld

log = structlog.get_logger()

ATTEMPTS = 8
BASE = timedelta(seconds=2)
CAP = timedelta(minutes=5)


class Outbox:
    """The way back. One delivery of a conversation after the other, in the order of their turns."""

    def __init__(self, store: Store, clock: Clock, *, adapters: Mapping[str, Adapter], age: timedelta) -> None:
        self._store = store
        self._adapters = adapters
        # Worked out once: isinstance with a protocol costs as much as a row (measured: 15 us on Python 3.11).
        self._budgets = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Budgets)}
        self._destining = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Destines)}
        self.destinations = Destinations(store, clock)
        self._age = age
        self.handing = Handing(store, self._cost)
        self.lanes = Lanes(self.step, clock, now=store.now, name="outbox", near=NEAR)

    async def step(self, lease: Lease) -> When:
        """Try the next delivery of a conversation, or wait for it."""
        delivery: Delivery | NotYet | None = self.handing.take(lease)
        if delivery is None:
            delivery = await self._store.write(rows.BEGIN, self.handing.due(lease))
        if delivery is None:
            return None
        if isinstance(delivery, NotYet):
            return delivery.until
        try:
            return await self._deliver(delivery)
        finally:
            self.handing.let_go(delivery.id)

    async def _deliver(self, delivery: Delivery) -> timedelta | None:
        message = delivery.message
        bind_contextvars(delivery=delivery.id, turn=message.turn_id, messages=list(message.message_ids))
        try:
            outcome = await self._try(delivery)
        except Held as held:
            until = self._store.now() + held.wait
            await self._store.write(WITHHOLD, Withheld(delivery, until, str(held)))
            return AGAIN
        await self._freeze(outcome)
        more = await self._store.write(tries.END, outcome)
        return AGAIN if more else None

    async def _try(self, delivery: Delivery) -> Outcome:
        """Raises Held where no try was made."""
        adapter = self._adapters.get(delivery.source)
        if delivery.withdrawing:
            return await self._withdraw(delivery, adapter)
        if adapter is None:
            return self._dead(delivery, f"No source named {delivery.source!r} is configured.")
        if not delivery.revising and self._is_late(delivery, adapter):
            return self._dead(delivery, "Too late: the answer is older than the configured age.")
        try:
            with _foreseen(delivery):
                return await self._put(delivery, adapter)
        except Permanent as error:
            return self._dead(delivery, str(error))
        except Retryable as error:
            return self._again(delivery, adapter, error)

    async def _put(self, delivery: Delivery, adapter: Adapter) -> Outcome:
        if delivery.revising:
            return await self._revise(delivery, adapter)
        remote_id = await self._find(delivery, adapter) or await self._send(delivery, adapter)
        return Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id=remote_id)

    def _cost(self, source: str, message: OutboundMessage) -> Sequence[Cost]:
        adapter = self._budgets.get(source)
        return adapter.budget(message) if adapter else ()

    async def _freeze(self, outcome: Outcome) -> None:
        """Where the platform wants nothing more of this kind for a while, no node asks it before then."""
        if outcome.until is None or not outcome.retry_after:
            return
        if keys := tuple(key for key, _, _ in self._cost(outcome.delivery.source, outcome.delivery.message)):
            await self._store.write(FREEZE, Freeze(keys, outcome.until))

    async def _withdraw(self, delivery: Delivery, adapter: object) -> Outcome:
        """Take back what stands there, whatever its age; where the platform will not let it go, it stays sent."""
        gone = Outcome(delivery=delivery, state=DeliveryState.WITHDRAWN)
        if delivery.remote_id is None and not delivery.uncertain:  # no try of it ever got there
            return gone
        stands = replace(gone, state=DeliveryState.SENT, remote_id=delivery.remote_id)
        if not isinstance(adapter, Withdraws):
            return stands
        try:
            with _foreseen(delivery):
                remote_id = delivery.remote_id or await self._find(delivery, adapter)
                if remote_id is None:  # it never got there
                    return gone if isinstance(adapter, Finds) else stands
                self._store.check_pulse()
                await adapter.withdraw(remote_id, delivery.message)
        except Permanent as error:
            return replace(stands, error=str(error))
        except Retryable as error:
            again = self._again(delivery, adapter, error)
            return replace(stands, error=again.error) if again.state is DeliveryState.DEAD else again
        return gone

    async def _revise(self, delivery: Delivery, adapter: Adapter) -> Outcome:
        """Change what was sent, where the platform can; what was never sent goes out with its new words."""
        remote_id = delivery.remote_id or await self._find(delivery, adapter)
        if remote_id is None:
            remote_id = await self._send(delivery, adapter)
        elif isinstance(adapter, Revises):
            try:
                await adapter.revise(remote_id, delivery.message)
            except Permanent as error:  # it may be gone: then nothing there says anything wrong
                log.warning("not_revised", delivery=delivery.id, error=str(error))
        return Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id=remote_id)

    async def _find(self, delivery: Delivery, adapter: object) -> str | None:
        if delivery.uncertain and isinstance(adapter, Finds):
            return await adapter.find(delivery.message)
        return None

    async def _send(self, delivery: Delivery, adapter: Adapter) -> str:
        """Sent, where many owners share a source within the bounds of the address it goes to."""
        destining = self._destining.get(delivery.source)
        address = destining.destination(delivery.message) if destining else None
        if destining is None or address is None:
            return await self._say(delivery, adapter)
        async with self.destinations.calling(delivery.source, address, concurrency=destining.concurrency):
            return await self._say(delivery, adapter)

    async def _say(self, delivery: Delivery, adapter: Adapter) -> str:
        if delivery.shown is not None and await self._revised(delivery, delivery.shown, adapter):
            return delivery.shown
        # A look at the platform takes its time, and a machine may stand still: another node may be at it by now.
        self._store.check_pulse()
        repeated = delivery.uncertain and not isinstance(adapter, Finds)
        return await adapter.send(replace(delivery.message, repeated=True) if repeated else delivery.message)

    async def _revised(self, delivery: Delivery, shown: str, adapter: Adapter) -> bool:
        """Turn the view an earlier life left behind into the answer; where that cannot be done, take it away."""
        self._store.check_pulse()
        if isinstance(adapter, Revises) and delivery.message.parts == 1 and not delivery.message.files:
            try:
                await adapter.revise(shown, delivery.message)
            except Permanent as error:
                log.warning("view_not_revised", delivery=delivery.id, error=str(error))
            else:
                return True
        if isinstance(adapter, Withdraws):
            with contextlib.suppress(Permanent):  # it is gone already, or may not be touched
                await adapter.withdraw(shown, delivery.message)
        return False

    def _is_late(self, delivery: Delivery, adapter: Adapter) -> bool:
        return self._store.now() - delivery.created_at > self._age and not isinstance(adapter, Scheduled)

    def _again(self, delivery: Delivery, adapter: object, error: Retryable) -> Outcome:
        wait = _wait(delivery.attempt, adapter.schedule if isinstance(adapter, Scheduled) else None, error.after)
        if wait is None:
            return self._dead(delivery, f"Given up after {delivery.attempt} attempts: {error}")
        log.warning("delivery_postponed", delivery=delivery.id, attempt=delivery.attempt, error=str(error))
        return Outcome(
            delivery=delivery,
            # An earlier try that may have arrived is not disproved by a later one that surely did not.
            state=DeliveryState.UNKNOWN if error.ambiguous or delivery.uncertain else DeliveryState.PENDING,
            error=str(error),
            until=self._store.now() + wait,
            retry_after=error.after,
        )

    def _dead(self, delivery: Delivery, error: str) -> Outcome:
        log.error("delivery_dead", delivery=delivery.id, attempt=delivery.attempt, error=error)
        return Outcome(delivery=delivery, state=DeliveryState.DEAD, error=error)


@contextlib.contextmanager
def _foreseen(delivery: Delivery) -> Iterator[None]:
    """What an adapter raises besides what it may is a defect of it, behind which anything may have got through.

    Tried again as such: left to the lane, it would be met again each second, and never end.
    """
    try:
        yield
    except BridgeError:
        raise
    except Exception as error:
        log.exception("adapter_failed", delivery=delivery.id, source=delivery.source)
        raise Retryable(f"The adapter failed: {error!r}", ambiguous=True) from error


def _wait(attempt: int, schedule: Sequence[float] | None, after: float | None) -> timedelta | None:
    if schedule is not None:
        return scheduled(attempt, schedule, after=after)
    return delay(attempt, base=BASE, cap=CAP, after=after) if attempt < ATTEMPTS else None
