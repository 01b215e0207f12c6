"""A number and a line for each fact, once it is committed: the only place that decides what is told of them."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import structlog

from bridge.errors import AgentError
from bridge.metrics import (
    AGENT_ERRORS,
    ARRIVALS,
    DELIVERIES,
    DELIVERY_SECONDS,
    MESSAGES,
    TURN_SECONDS,
    TURNS,
    Metrics,
)
from bridge.model import Turn
from bridge.store import halts, ingest, tries, turns, unread
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.handover import HAND_OVER, HandedOver, Handover
from bridge.store.ingest import Ingested, Known
from bridge.store.writer import Write

log = structlog.get_logger()


class Counting:
    """Hears of every committed write of this node. What other nodes do, they count."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        # Made once: a logger of a module is made anew for each line. Logging was set up before there is a bridge.
        self._log = log.bind()
        # by identity: each kind of write is one object
        self._heard: Mapping[int, Callable[[Any, Any], None]] = {
            id(ingest.INGEST): self._arrived,
            id(unread.READ): self._was_read,
            id(turns.END): self._turn_ended,
            id(HAND_OVER): self._turn_handed_over,
            id(halts.HALT): self._turn_stopped,
            id(tries.END): self._tried,
        }

    def __call__(self, write: Write[Any, Any], args: Any, outcome: Any) -> None:
        """A write was committed."""
        if (heard := self._heard.get(id(write))) is not None:
            heard(args, outcome)

    def agent_failed(self, agent: str, error: AgentError) -> None:
        """A call to an agent brought no result."""
        self._metrics.count(AGENT_ERRORS, agent, type(error).__name__.lower())

    def _arrived(self, arrival: Arrival, ingested: Ingested) -> None:
        self._metrics.count(ARRIVALS, arrival.source, "duplicate" if ingested.copy else "stored")
        if not ingested.copy:
            self._stored(arrival.source, ingested.messages)

    def _was_read(self, read: unread.Read, placed: unread.Placed) -> None:
        self._stored(read.unread.source, placed.messages)

    def _stored(self, source: str, known: Iterable[Known]) -> None:
        for one in known:
            self._metrics.count(MESSAGES, source, one.admission.partition(":")[0])
            self._log.debug(
                "message_stored",
                source=source,
                message=one.message_id,
                conversation=one.conversation_id,
                turn=one.turn_id,
                admission=one.admission,
            )

    def _turn_ended(self, end: turns.End, _: bool) -> None:  # noqa: FBT001 - what the write answers
        self._ended(end.turn, end.state.value, task_id=end.task_id)

    def _turn_handed_over(self, handover: Handover, _: HandedOver) -> None:
        self._ended(handover.end.turn, handover.end.state.value, task_id=handover.end.task_id)

    def _turn_stopped(self, halt: halts.Halt, _: bool) -> None:  # noqa: FBT001 - likewise
        self._ended(halt.turn, "stopped", task_id=halt.turn.task_id)

    def _ended(self, turn: Turn, state: str, *, task_id: str | None) -> None:
        took = self._store.now() - turn.created_at
        self._metrics.count(TURNS, turn.agent, state)
        self._metrics.observe(TURN_SECONDS, _seconds(took), turn.agent)
        self._log.info(
            "turn_ended",
            state=state,
            source=turn.source,
            messages=[said.id for said in turn.said],
            conversation=turn.lease.conversation_id,
            turn=turn.id,
            task=task_id or turn.task_id,
            agent=turn.agent,
            seconds=round(_seconds(took), 3),
        )

    def _tried(self, outcome: tries.Outcome, _: bool) -> None:  # noqa: FBT001 - likewise
        delivery = outcome.delivery
        took = self._store.now() - delivery.begun_at
        self._metrics.count(DELIVERIES, delivery.source, delivery.message.kind, outcome.state.value)
        self._metrics.observe(DELIVERY_SECONDS, _seconds(took), delivery.source)
        self._log.info(
            "delivery_tried",
            state=outcome.state.value,
            source=delivery.source,
            messages=list(delivery.message.message_ids),
            conversation=delivery.lease.conversation_id,
            turn=delivery.message.turn_id,
            delivery=delivery.id,
            remote=outcome.remote_id,
            attempt=delivery.attempt,
        )


def _seconds(took: timedelta) -> float:
    return max(took.total_seconds(), 0.0)
