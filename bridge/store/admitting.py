"""Lets a message in that was held back: parked or declined, until a person decided otherwise."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, select, update

from bridge.errors import Conflict
from bridge.model import InboundMessage, TurnState, new_id
from bridge.store.batch import Batch
from bridge.store.bodies import dump_inbound, load_inbound
from bridge.store.lookup import Lookup, Match
from bridge.store.replay import Replay, Replayed
from bridge.store.statements import AnyRow
from bridge.store.tables import messages, turns
from bridge.store.writer import Tx, Write

HELD_BACK = ("parked", "declined")


def is_held_back(connection: Connection, message_id: str) -> bool:
    """Whether somebody said this and it was kept from the agent."""
    query = select(messages.c.admission).where(messages.c.id == message_id)
    return (connection.execute(query).scalar_one_or_none() or "").partition(":")[0] in HELD_BACK


def _admit(tx: Tx, rows: Sequence[Replay]) -> list[Replayed | Conflict]:
    return [_admit_one(tx, row) for row in rows]


ADMIT: Write[Replay, Replayed] = Write(_admit)  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller
"""For the lane of acknowledgements: it locks conversations as ingest does."""


def _admit_one(tx: Tx, row: Replay) -> Replayed | Conflict:
    found = tx.connection.execute(_LOCKED, {"at": row.message_id}).one_or_none()
    if found is None:
        return Conflict(f"{row.message_id} is not there any more.")
    if found.turn_id == row.turn_id:  # by this very wish, in a transaction whose answer was lost
        return _let_in_before(tx, row, found)
    if found.turn_id is not None or found.blanked:
        return Conflict(f"{row.message_id} was let in already, or what it said is forgotten.")
    return _let_in(tx, row, found)


def _let_in(tx: Tx, row: Replay, found: AnyRow) -> Replayed | Conflict:
    message = replace(load_inbound(found.body, found.text), parked=None, declined=None)
    lookup = Lookup(tx, [(found.source, message)])
    if (missing := lookup.missing(found.source, message)) is not None:
        return Conflict(f"It belongs to a conversation that is not known: {missing.matched_by}.")
    match = lookup.match(found.source, message)
    agent = message.agent or row.agents.get(found.source)
    if match is not None and match.conversation.source != found.source:  # the task is that agent's
        agent = row.agents.get(match.conversation.source) or match.conversation.agent
    if agent is None:
        return Conflict(f"No source named {found.source!r} is configured, so nobody can answer it.")
    does = _letting_in(found.admission, agent)
    if row.dry_run:
        return _done(row, does, "")
    match = match or lookup.create(found.source, message.conversation, agent)
    _line_up(tx, row, message, match, agent)
    batch = Batch(tx, lookup, ())
    batch.claim()
    return replace(_done(row, does, row.turn_id), wake=batch.leases.get(match.conversation.id))


def _let_in_before(tx: Tx, row: Replay, found: AnyRow) -> Replayed:
    agent = tx.connection.execute(select(turns.c.agent).where(turns.c.id == row.turn_id)).scalar_one()
    batch = Batch(tx, Lookup(tx, ()), ())
    batch.recall([found.conversation_id])
    done = _done(row, _letting_in("held back", agent), row.turn_id)
    return replace(done, wake=batch.leases.get(found.conversation_id))


def _letting_in(admission: str, agent: str) -> str:
    return f"Let the message in, although it was {admission}, and ask agent {agent!r} in a turn of its own."


def _line_up(tx: Tx, row: Replay, message: InboundMessage, match: Match, agent: str) -> None:
    match.conversation.seq += 1
    match.conversation.changed = True
    tx.connection.execute(
        turns.insert(),
        {
            "id": row.turn_id,
            "conversation_id": match.conversation.id,
            "seq": match.conversation.seq,
            "state": TurnState.QUEUED.value,
            "agent": agent,
            "idempotency_key": new_id("idk"),
            "attempt": 0,
            "restart": False,
            "created_at": tx.now,
        },
    )
    tx.connection.execute(
        _LET_IN,
        {
            "at": row.message_id,
            "conversation": match.conversation.id,
            "turn": row.turn_id,
            "found_by": match.matched_by,
            "to_body": dump_inbound(message),
        },
    )


def _done(row: Replay, does: str, turn_id: str) -> Replayed:
    return Replayed(message_id=row.message_id, how=row.how, dry_run=row.dry_run, does=does, turn_id=turn_id)


_LOCKED = select(messages).where(messages.c.id == bindparam("at")).with_for_update()
_LET_IN = (
    update(messages)
    .where(messages.c.id == bindparam("at"))
    .values(
        admission="admitted",
        conversation_id=bindparam("conversation"),
        turn_id=bindparam("turn"),
        matched_by=bindparam("found_by"),
        body=bindparam("to_body"),
    )
)
