"""The end of a turn and the beginning of its answer's delivery, in one transaction: a commit less for each answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.store.budgets import Cost, Purse
from bridge.store.deliveries import Delivery, Due, begin_new
from bridge.store.prepared import Asked
from bridge.store.turns import End, Stopping, finish, live_turns, running
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


@dataclass(frozen=True, slots=True)
class _Asked:
    live: Asked
    costs: Mapping[str, Sequence[Cost]]
    """Of each turn's first delivery."""
    purse: Purse


def _look(tx: Tx, rows: Sequence[Handover]) -> _Asked:
    costs = {row.end.turn.id: row.due.cost(row.end.turn.answered_through, row.end.deliveries[0]) for row in rows}
    return _Asked(live_turns(tx, [row.end for row in rows]), costs, Purse(tx, costs.values()))


def _hand_over(tx: Tx, rows: Sequence[Handover], asked: _Asked) -> list[HandedOver | Stopping]:
    live, costs, purse = asked.live.rows(), asked.costs, asked.purse
    there = running(live)  # another is over: see `finish`
    stopping = {one.id for one in live if one.stop_at is not None}
    delivering = {one.conversation_id for one in live if one.delivering}
    ends = [row.end for row in rows if row.end.turn.id not in stopping]
    free = [end for end in ends if end.turn.id in there and end.turn.lease.conversation_id not in delivering]
    waits = purse.spend([costs[end.turn.id] for end in free])
    firsts = {
        end.turn.id: begin_new(end.turn, end.deliveries[0], tx.now)
        for end, wait in zip(free, waits, strict=True)
        if wait is None
    }
    begun = {delivery.id for delivery in firsts.values()}
    more = dict(zip((end.turn.id for end in ends), finish(tx, ends, live, begun=begun), strict=True))
    return [
        HandedOver(more[turn.id], firsts.get(turn.id)) if turn.id in more else Stopping()
        for turn in (row.end.turn for row in rows)
    ]


HAND_OVER: Write[Handover, HandedOver] = Write(_hand_over, lease=lambda row: row.due.lease, look=_look, spends=True)  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller
"""Raises Stopping, likewise, where a person wanted the turn stopped before it could end."""
