"""The end of a turn and the beginning of its answer's delivery, in one transaction: a commit less for each answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.store.deliveries import Delivery, Due, begin_new
from bridge.store.prepared import Asked, Record
from bridge.store.turns import End, Stopping, finish, live_turns
from bridge.store.writer import Tx, Write


@dataclass(frozen=True, slots=True)
class Handover:
    """An end with something to be delivered, and what sending it would count against."""

    end: End
    due: Due


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The turn is over."""

    more: bool
    """Another turn waits."""
    first: Delivery | None
    """The first of its deliveries, now `sending`. None where it has to wait: for others, or for a rate limit."""


def _look(tx: Tx, rows: Sequence[Handover]) -> Asked:
    return live_turns(tx, [row.end for row in rows])


def _hand_over(tx: Tx, rows: Sequence[Handover], live: Sequence[Record]) -> list[HandedOver | Stopping]:
    stopping = {one.id for one in live if one.stop_at is not None}
    delivering = {one.conversation_id for one in live if one.delivering}
    going = [row for row in rows if row.end.turn.id not in stopping]
    free = [row for row in going if row.due.lease.conversation_id not in delivering]
    begun = begin_new(tx, [(row.due, row.end.turn, row.end.deliveries[0]) for row in free])
    firsts = {one.message.turn_id: one for one in begun if one is not None}
    ends = [row.end for row in going]
    more = dict(zip([end.turn.id for end in ends], finish(tx, ends, live, begun=_ids(firsts.values())), strict=True))
    return [
        HandedOver(more[turn.id], firsts.get(turn.id)) if turn.id in more else Stopping()
        for turn in (row.end.turn for row in rows)
    ]


def _ids(deliveries: Iterable[Delivery]) -> set[str]:
    return {delivery.id for delivery in deliveries}


HAND_OVER: Write[Handover, HandedOver] = Write(_hand_over, lease=lambda row: row.due.lease, look=_look)  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller
"""Raises Stopping, likewise, where a person wanted the turn stopped before it could end."""
