"""What is left of a message and of a delivery whose words are gone: a shape that still reads, and says nothing."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import BindParameter, bindparam, delete, select, update

from bridge.model import Author, InboundMessage, OutboundMessage
from bridge.store.bodies import dump_inbound, dump_outbound
from bridge.store.tables import attempts, decisions, deliveries, envelopes, events, feedback, messages, turns
from bridge.store.writer import Tx

_NOBODY: Final = Author(id="")
BLANK_MESSAGE: Final = dump_inbound(InboundMessage(message_key="", conversation=(), return_address="", author=_NOBODY))
BLANK_DELIVERY: Final = dump_outbound(
    OutboundMessage(
        delivery_id="", kind="answer", return_address="", text="", created_at=datetime(1970, 1, 1, tzinfo=UTC)
    )
)


def blank(tx: Tx, message_ids: Collection[str], turn_ids: Collection[str]) -> None:
    """Forget what was said in these messages and answered in these turns, raw arrivals included.

    States, times, counts and the keys by which a late copy is recognised stay.
    """
    if message_ids:
        ids = {"ids": list(message_ids)}
        tx.connection.execute(_RAW, ids)
        tx.connection.execute(_SAID, ids)
    if turn_ids:
        ids = {"ids": list(turn_ids)}
        tx.connection.execute(_WHY, ids)
        tx.connection.execute(_OUT, ids)
        tx.connection.execute(_ANSWERED, ids)
        forget_asides(tx, turn_ids)


def forget_asides(tx: Tx, turn_ids: Collection[str]) -> None:
    """Forget what was shown while these turns ran, what people decided for them and thought of their answers."""
    ids = {"ids": list(turn_ids)}
    tx.connection.execute(_SHOWN, ids)
    tx.connection.execute(_RATED, ids)
    tx.connection.execute(_DECIDED, ids)


def in_slices(ids: Iterable[str], size: int) -> list[list[str]]:
    """The ids in lists of at most `size`: SQLite takes only so many values in one statement."""
    rest = list(ids)
    return [rest[at : at + size] for at in range(0, len(rest), size)]


_these: BindParameter[str] = bindparam("ids", expanding=True)
_RAW = delete(envelopes).where(envelopes.c.id.in_(select(messages.c.envelope_id).where(messages.c.id.in_(_these))))
_SAID = (
    update(messages)
    .where(messages.c.id.in_(_these))
    .values(text="", body=BLANK_MESSAGE, author_id="", return_address="", matched_by=None, blanked=True)
)
_ANSWERED = update(turns).where(turns.c.id.in_(_these)).values(result=None, files=None, error=None, pause=None)
_OUT = update(deliveries).where(deliveries.c.turn_id.in_(_these)).values(body=BLANK_DELIVERY, error=None)
_WHY = (
    update(attempts)
    .where(attempts.c.delivery_id.in_(select(deliveries.c.id).where(deliveries.c.turn_id.in_(_these))))
    .values(error=None)
)
_RATED = delete(feedback).where(
    feedback.c.delivery_id.in_(select(deliveries.c.id).where(deliveries.c.turn_id.in_(_these)))
)
_DECIDED = delete(decisions).where(decisions.c.turn_id.in_(_these))
_SHOWN = delete(events).where(events.c.turn_id.in_(_these))
