"""What a person no longer wants: turns cancelled or stopped, and words taken back."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from bridge.store import asked
from bridge.store.statements import AnyRow
from bridge.store.tables import LIVE_TURN_STATES, deliveries, turns
from bridge.store.writer import Tx


@dataclass(frozen=True, slots=True)
class Ending:
    """The turns of a conversation that end because somebody said so."""

    waiting: int
    """Those that had not begun."""
    begun: int
    """Those that the agent knows: one runs, waits for a person, or is to go on with its task."""


def ending(tx: Tx, conversation_id: str) -> Ending:
    """What stopping would end; nothing is changed."""
    live = tx.connection.execute(LIVE_TURNS, {"conversation": conversation_id}).all()
    begun = sum(map(_is_begun, live))
    return Ending(len(live) - begun, begun)


def _is_begun(turn: AnyRow) -> bool:
    return turn.state != "queued" or turn.task_id is not None


def stop_all(tx: Tx, conversation_id: str) -> None:
    """End every live turn of a conversation whose row is locked.

    What the agent knows is marked, and whoever runs it tells the agent and the person. Where there is no such turn, the
    last that waits is marked instead of cancelled, so that the person is told all the same, and once.
    """
    live = tx.connection.execute(LIVE_TURNS, {"conversation": conversation_id}).all()
    told = [turn for turn in live if _is_begun(turn)] or live[-1:]
    for turn in live:
        if turn not in told:
            cancel(tx, turn.turn_id)
    if told:
        tx.connection.execute(STOP, [{"at": turn.turn_id, "now": tx.now} for turn in told])
        asked.close(tx, [turn.turn_id for turn in told if turn.state == "paused"], asked.OVER)


def cancel(tx: Tx, turn_id: str) -> None:
    """A waiting turn never begins. What an earlier life of it has shown is taken away."""
    tx.connection.execute(_CANCEL, {"at": turn_id, "now": tx.now})
    tx.connection.execute(_SHOWN, {"turn": turn_id})


def withdraw_words(tx: Tx, turn_id: str) -> None:
    """What a turn said is taken back where the platform can; what is not there yet does not go out any more."""
    tx.connection.execute(_UNSENT, {"turn": turn_id, "now": tx.now})
    tx.connection.execute(_UNCLEAR, {"turn": turn_id})
    tx.connection.execute(_SENT, {"turn": turn_id})
    tx.connection.execute(_SHOWN, {"turn": turn_id})


LIVE_TURNS = (
    select(turns.c.id.label("turn_id"), turns.c.state, turns.c.task_id)
    .where(turns.c.conversation_id == bindparam("conversation"), turns.c.state.in_(LIVE_TURN_STATES))
    .order_by(turns.c.seq)
)
_CANCEL = update(turns).where(turns.c.id == bindparam("at")).values(state="cancelled", finished_at=bindparam("now"))
STOP = (
    update(turns).where(turns.c.id == bindparam("at")).values(stop_at=bindparam("now"), restart=False, not_before=None)
)
_words = (deliveries.c.turn_id == bindparam("turn"), deliveries.c.kind.in_(("answer", "error")))
_UNSENT = (
    update(deliveries)
    .where(*_words, deliveries.c.state == "pending", deliveries.c.marker.is_(None))
    .values(state="withdrawn", finished_at=bindparam("now"), not_before=None)
)
# It may have got through, or is just now: looked for before it is taken back, or taken back once it is there.
_UNCLEAR = (
    update(deliveries)
    .where(*_words, deliveries.c.state.in_(("sending", "unknown")))
    .values(marker="withdraw", not_before=None)
)
_SENT = (
    update(deliveries)
    .where(*_words, deliveries.c.state == "sent")
    .values(state="pending", marker="withdraw", finished_at=None, not_before=None)
)
# A view that nothing has taken the place of yet.
_SHOWN = (
    update(deliveries)
    .where(deliveries.c.turn_id == bindparam("turn"), deliveries.c.kind == "progress", deliveries.c.state == "sending")
    .values(state="pending", marker="withdraw")
)
