"""Ingest: arrivals become messages, each with its conversation and its place in line, in one transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bridge.errors import Unprocessable
from bridge.model import Act, Lease
from bridge.store import acts, arrivals
from bridge.store.arrivals import Arrival, First, Firsts
from bridge.store.batch import Batch, Known
from bridge.store.lookup import Lookup
from bridge.store.said import Said
from bridge.store.strays import hold_names
from bridge.store.writer import Tx, Write

__all__ = ["INGEST", "Ingested", "Known"]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an arrival became."""

    messages: tuple[Known, ...]
    wake: tuple[Lease, ...] = ()
    """The conversations this node now has to work on."""
    stop: tuple[str, ...] = ()
    """The conversations whose running turn has to be stopped, by whichever node runs it."""
    deliver: tuple[Lease, ...] = ()
    """The conversations in which this node has something to deliver now, whatever their turns do."""
    unread: str | None = None
    """The envelope that is still to be read, by this node."""
    copy: bool = False
    same_body: bool = True
    """For a copy: whether its body is that of the first."""


def _ingest(tx: Tx, rows: Sequence[Arrival]) -> list[Ingested | Unprocessable]:
    """Store what is new, recognise what is not. Copies, in whatever batch and at whatever node, change nothing.

    They wake, though, what is still at work: a nudge too many costs nothing.
    """
    said = [(row.source, message) for row in rows for message in row.messages or ()]
    hold_names(tx, said)
    lookup = Lookup(tx, said)
    refusals = [_refusal(lookup, row) for row in rows]
    usable = [row for row, refusal in zip(rows, refusals, strict=True) if refusal is None]
    batch = Batch(tx, lookup, usable)
    fresh = arrivals.claim(tx, usable)
    asked = Firsts(tx, [row for at, row in enumerate(usable) if at not in fresh])
    take_in(batch, [(usable[at], envelope_id) for at, envelope_id in fresh.items()])
    firsts = asked.told()
    keys = {(source, key) for (source, _), first in firsts.items() for key in first.message_keys}
    batch.learn(keys)
    batch.recall(batch.known[key].conversation_id for key in keys & batch.known.keys())
    stored = iter([_answer(batch, row, fresh.get(at), firsts) for at, row in enumerate(usable)])
    return [refusal or next(stored) for refusal in refusals]


INGEST: Write[Arrival, Ingested] = Write(_ingest)  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller


def take_in(batch: Batch, fresh: Iterable[tuple[Arrival, str]]) -> None:
    """Place what was said and apply what was done, in the order of arrival; claim what has something to do."""
    opened = [(row, message, envelope_id) for row, envelope_id in fresh for message in row.messages or ()]
    early = []
    for is_said, some in groupby(opened, key=lambda each: each[1].act is Act.SAY):
        if is_said:
            batch.place([Said(*each) for each in some])
        else:
            early += acts.apply(batch, some)
    acts.apply(batch, early)
    batch.claim()


def _answer(batch: Batch, row: Arrival, envelope_id: str | None, firsts: Mapping[tuple[str, str], First]) -> Ingested:
    if envelope_id is None:
        first = firsts[row.source, row.delivery_key]
        # It may be a copy of what is forgotten: ages change, and arrivals keep the one of their time.
        told = tuple(batch.known[row.source, key] for key in first.message_keys if (row.source, key) in batch.known)
        # Or nobody is woken for a first whose sender, or this writer, was cut off before it heard of the commit.
        wake = _ours(batch, {one.conversation_id for one in told if one.conversation_id})
        return Ingested(told, wake, copy=True, same_body=first.digest == row.digest)
    if row.messages is None:
        return Ingested((), unread=envelope_id)
    known = tuple(batch.known[row.source, message.message_key] for message in row.messages if message.act is Act.SAY)
    return Ingested(known, *roused(batch, row, known))


def roused(
    batch: Batch, row: Arrival, known: Sequence[Known]
) -> tuple[tuple[Lease, ...], tuple[str, ...], tuple[Lease, ...]]:
    """The conversations an arrival gave something to do: to run, to stop, to deliver in. Stops are anybody's."""
    arrival = (row.source, row.delivery_key)
    touched = batch.touched.get(arrival, set()) | {one.conversation_id for one in known if one.conversation_id}
    owing = batch.owing.get(arrival, ())
    return _ours(batch, touched), tuple(sorted(touched & batch.stops)), _ours(batch, owing)


def _ours(batch: Batch, conversation_ids: Collection[str]) -> tuple[Lease, ...]:
    leases = (batch.leases.get(conversation_id) for conversation_id in sorted(conversation_ids))
    return tuple(lease for lease in leases if lease)


def _refusal(lookup: Lookup, row: Arrival) -> Unprocessable | None:
    for message in row.messages or ():
        if (missing := lookup.missing(row.source, message)) is not None:
            return Unprocessable(f"{missing.matched_by}: nothing of this source is known by that name.")
    return None
