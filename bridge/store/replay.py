"""Replay: a person sets a finished turn, or what it owed, going again. Every dead turn keeps its cause."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from sqlalchemy import Connection, bindparam, exists, func, or_, select, update

from bridge.errors import Conflict, Missing
from bridge.model import DeliveryState, Lease, TurnState, new_id
from bridge.store import reposting
from bridge.store.bodies import load_inbound
from bridge.store.rousing import rouse
from bridge.store.statements import AnyRow
from bridge.store.tables import conversations, messages, turns
from bridge.store.writer import Tx, Write

How = Literal["invoke", "reattach", "repost", "done"]
WAYS: Final[tuple[How, ...]] = get_args(How)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What an operator wants done about a message."""

    message_id: str
    how: How
    conversation_id: str = ""
    """Where its turn is."""
    dry_run: bool = False
    claim: bool = True
    """Whether this node works on conversations; otherwise whoever does takes it up."""
    agents: Mapping[str, str] = field(default_factory=dict)
    """The agent each source has by the present configuration."""
    keeps_keys: frozenset[str] = frozenset()
    """The agents that tell of an earlier turn again when they are asked with its key."""
    turn_id: str = field(default_factory=lambda: new_id("trn"))
    """Of the turn that is made, if one is. By this it is known, where the answer to its commit was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was done, or would be."""

    message_id: str
    how: How
    dry_run: bool
    does: str
    """In a sentence."""
    turn_id: str
    wake: Lease | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """A message, the turn it is in, and all that was said in it."""

    tx: Tx
    row: Replay
    turn: AnyRow
    said: int

    @property
    def acting(self) -> bool:
        return not self.row.dry_run

    @property
    def cause(self) -> str:
        return f" ({self.turn.error})" if self.turn.error else ""


def place_of(connection: Connection, message_id: str) -> str:
    """The conversation of a message that was admitted. Raises Missing, or Conflict where it has none."""
    row = connection.execute(
        select(messages.c.conversation_id, messages.c.turn_id, messages.c.admission).where(messages.c.id == message_id)
    ).one_or_none()
    if row is None:
        raise Missing(f"There is no message {message_id}.")
    if row.conversation_id is None or row.turn_id is None:
        raise Conflict(f"{message_id} never had a turn: it was {row.admission}. how=invoke lets in what was parked.")
    return str(row.conversation_id)


def _replay(tx: Tx, rows: Sequence[Replay]) -> list[Replayed | Conflict]:
    return [_replay_one(tx, row) for row in rows]


REPLAY: Write[Replay, Replayed] = Write(
    _replay,  # type: ignore[arg-type]  # an error as a row's answer is raised to its caller
    conversation=lambda row: row.conversation_id,
)


def _replay_one(tx: Tx, row: Replay) -> Replayed | Conflict:
    turn = tx.connection.execute(_TURN, {"message": row.message_id}).one_or_none()
    if turn is None or turn.conversation_id not in tx.held:
        return Conflict(f"{row.message_id} has no turn any more.")
    said = tx.connection.execute(_SAID, {"turn": turn.id}).scalar_one()
    case = _Case(tx, row, turn, said)
    if turn.id == row.turn_id:
        return _made_before(case)
    try:
        _check_over(tx.connection, turn)
        turn_id, does = _WAYS[row.how](case)
    except Conflict as conflict:
        return conflict
    wake = rouse(tx, turn.conversation_id, claim=row.claim) if case.acting and row.how != "done" else None
    return Replayed(message_id=row.message_id, how=row.how, dry_run=row.dry_run, does=does, turn_id=turn_id, wake=wake)


def _made_before(case: _Case) -> Replayed:
    """By this very wish."""
    tx, row, made = case.tx, case.row, case.turn
    old = tx.connection.execute(_OLD, {"at": made.replay_of}).one()
    does = _asking_again(replace(case, turn=old), made.agent)
    wake = rouse(tx, made.conversation_id, claim=row.claim)
    return Replayed(message_id=row.message_id, how=row.how, dry_run=False, does=does, turn_id=made.id, wake=wake)


def _check_over(connection: Connection, turn: AnyRow) -> None:
    if turn.blanked:
        raise Conflict("What was said is forgotten, by its age or by an operator's wish: there is nothing to replay.")
    if turn.finished_at is None:
        raise Conflict(f"Its turn {turn.id} is {turn.state}: stop the conversation first, or wait for its end.")
    reposting.check_idle(connection, turn.id)


def _invoke(case: _Case) -> tuple[str, str]:
    """A new turn at the end of the line takes the messages over; the old one stays as it ended."""
    old, tx = case.turn, case.tx
    first = tx.connection.execute(_FIRST, {"turn": old.id}).one()
    routed = load_inbound(first.body, first.text).agent if first.source == first.of else None
    agent = routed or case.row.agents.get(first.of, old.agent)
    does = _asking_again(case, agent)
    if not case.acting:
        return old.id, does
    reposting.silence(tx, old.id)
    tx.connection.execute(
        turns.insert(),
        {
            "id": case.row.turn_id,
            "conversation_id": old.conversation_id,
            "seq": _next_seq(tx, old.conversation_id),
            "state": TurnState.QUEUED.value,
            "replay_of": old.id,
            "agent": agent,
            "idempotency_key": new_id("idk"),
            "attempt": 0,
            "restart": False,
            "created_at": tx.now,
        },
    )
    tx.connection.execute(_TAKE_OVER, {"old": old.id, "new": case.row.turn_id})
    return case.row.turn_id, does


def _asking_again(case: _Case, agent: str) -> str:
    return (
        f"Ask agent {agent!r} again with {_count(case.said)}, as a new turn at the end of the line with a new "
        f"idempotency key; turn {case.turn.id} stays {case.turn.state}{case.cause}."
    )


def _reattach(case: _Case) -> tuple[str, str]:
    """The same turn goes on from its task id, at the end of the line.

    A task id serves all turns of a thread, and shows the latest: behind a later one there is nothing to go on with,
    unless the agent knows a turn by its key.
    """
    old, tx = case.turn, case.tx
    if old.task_id is None:
        raise Conflict(f"Turn {old.id} never got a task id, so there is nothing to go on with: use how=invoke.")
    if old.state == TurnState.ANSWERED.value:
        raise Conflict(
            f"Turn {old.id} is answered already: use how=repost to send its answer, how=invoke to ask again."
        )
    later = tx.connection.execute(
        _MOVED_ON, {"conversation": old.conversation_id, "after": old.seq, "task": old.task_id}
    ).scalar()
    if later is not None and old.agent not in case.row.keeps_keys:
        raise Conflict(
            f"Turn {later} came after {old.id} in the thread of task {old.task_id}, which shows only its latest turn: "
            "there is nothing to go on with. Use how=invoke to ask again."
        )
    does = f"Go on with turn {old.id} at the end of the line, from task {old.task_id}, without asking the agent anew."
    if later is not None:
        does += f" Turn {later} came after it in that thread: agent {old.agent!r} is asked for it by its key."
    if case.acting:
        reposting.silence(tx, old.id)
        reposting.set_aside(tx, old.id)
        seq = _next_seq(tx, old.conversation_id)
        tx.connection.execute(_AGAIN, {"at": old.id, "to_seq": seq, "now": tx.now})
    return old.id, does


def _repost(case: _Case) -> tuple[str, str]:
    """What died is owed again under the same ids; where everything was sent, a fresh copy is."""
    does = reposting.repost(case.tx, case.turn.id, acting=case.acting)
    return case.turn.id, does


def _done(case: _Case) -> tuple[str, str]:
    """An operator answered by other means."""
    old, tx = case.turn, case.tx
    if old.state == TurnState.ANSWERED.value and not reposting.owed(tx.connection, old.id, DeliveryState.DEAD):
        raise Conflict(f"Turn {old.id} is answered already and nothing of it is owed.")
    does = f"Mark turn {old.id} as answered by an operator: nothing more is sent for {_count(case.said)}{case.cause}."
    if case.acting:
        reposting.silence(tx, old.id)
        reposting.withdraw_dead(tx, old.id)
        tx.connection.execute(_DONE, {"at": old.id})
    return old.id, does


_WAYS: Mapping[How, Callable[[_Case], tuple[str, str]]] = {
    "invoke": _invoke,
    "reattach": _reattach,
    "repost": _repost,
    "done": _done,
}


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _next_seq(tx: Tx, conversation_id: str) -> int:
    query = (
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(seq=conversations.c.seq + 1, last_at=tx.now)
        .returning(conversations.c.seq)
    )
    seq: int = tx.connection.execute(query).scalar_one()
    return seq


_beside = messages.alias("beside")
_blanked = exists().where(_beside.c.turn_id == turns.c.id, _beside.c.blanked)  # of several, the older one goes first
_TURN = (
    select(turns, _blanked.label("blanked"))
    .join(messages, messages.c.turn_id == turns.c.id)
    .where(messages.c.id == bindparam("message"))
)
_OLD = select(turns).where(turns.c.id == bindparam("at"))
_SAID = select(func.count()).select_from(messages).where(messages.c.turn_id == bindparam("turn"))
_MOVED_ON = (
    select(turns.c.id)
    .join(conversations, conversations.c.id == turns.c.conversation_id)
    .where(
        turns.c.conversation_id == bindparam("conversation"),
        turns.c.seq > bindparam("after"),
        or_(
            turns.c.task_id == bindparam("task"),
            turns.c.task_id.is_(None) & turns.c.finished_at.is_(None) & (conversations.c.task_id == bindparam("task")),
        ),
    )
    .order_by(turns.c.seq)
    .limit(1)
)
"""A later turn that is, or will be, in the same thread."""
_FIRST = (
    select(messages.c.source, messages.c.body, messages.c.text, conversations.c.source.label("of"))
    .join(conversations, conversations.c.id == messages.c.conversation_id)
    .where(messages.c.turn_id == bindparam("turn"))
    .order_by(messages.c.id)
    .limit(1)
)
_TAKE_OVER = update(messages).where(messages.c.turn_id == bindparam("old")).values(turn_id=bindparam("new"))
_FRESH: dict[str, Any] = dict.fromkeys(
    ("error", "status", "result", "files", "stop_at", "pause", "paused_at", "not_before", "finished_at", "event_cursor")
)
_AGAIN = (
    update(turns)
    .where(turns.c.id == bindparam("at"))
    # A turn's age counts from when it was put in line, so that one that died of old age may go on.
    .values(
        state="queued",
        seq=bindparam("to_seq"),
        created_at=bindparam("now"),
        attempt=0,
        started_at=None,
        notices=0,
        restart=False,
        **_FRESH,
    )
)
_DONE = update(turns).where(turns.c.id == bindparam("at")).values(state="answered")
