"""The conservation check: what became of every accepted message, counted from the rows."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, func, literal, or_, select, union_all

from bridge.store.circuits import AWAY
from bridge.store.tables import LIVE_DELIVERY_STATES, LIVE_TURN_STATES, arrivals, deliveries, messages, turns

SHOWN = 50
"""How many offenders are named; the rest shows once these are dealt with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Every accepted message is in exactly one of these; `accepted` is counted on its own."""

    accepted: int
    answered: int
    declined: int
    parked: int
    cancelled: int
    dead: int
    in_flight: int

    @property
    def balanced(self) -> bool:
        """Whether nothing disappeared: a message in none of the states is a message lost."""
        accounted = self.answered + self.declined + self.parked + self.cancelled + self.dead + self.in_flight
        return self.accepted == accounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """The head of a conversation, or something it owes, that should have moved on long ago."""

    conversation_id: str
    id: str
    state: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The figures, and whatever is wrong by name."""

    counts: Ledger
    lost: Sequence[str]
    """Messages that are in none of the states."""
    stuck: Sequence[Stuck]

    @property
    def sound(self) -> bool:
        """Whether an operator may sleep."""
        return self.counts.balanced and not self.stuck


_ANSWERS = (
    select(
        deliveries.c.turn_id,
        func.max(case((deliveries.c.state == "dead", 1), else_=0)).label("dead"),
        func.max(case((deliveries.c.state.in_(("pending", "sending", "unknown")), 1), else_=0)).label("live"),
    )
    .where(deliveries.c.kind == "answer", deliveries.c.copy == 0)
    .group_by(deliveries.c.turn_id)
)
_owed = _ANSWERS.subquery()

# Every state is named; what fits none of them (a turn without a row, say) is counted nowhere.
_state = case(
    (messages.c.admission.like("declined:%"), "declined"),
    (messages.c.admission.like("parked:%"), "parked"),
    (messages.c.admission.like("cancelled:%"), "cancelled"),
    (turns.c.state == "cancelled", "cancelled"),
    (turns.c.state == "dead", "dead"),
    (turns.c.state.in_(("queued", "running", "paused")), "in_flight"),
    ((turns.c.state == "answered") & (func.coalesce(_owed.c.dead, 0) == 1), "dead"),
    ((turns.c.state == "answered") & (func.coalesce(_owed.c.live, 0) == 1), "in_flight"),
    (turns.c.state == "answered", "answered"),
    else_=literal("lost"),
).label("state")

_JOURNEYS = (
    select(messages.c.id, _state)
    .select_from(messages)
    .outerjoin(turns, turns.c.id == messages.c.turn_id)
    .outerjoin(_owed, _owed.c.turn_id == messages.c.turn_id)
    .where(messages.c.act == "say")  # what is only done to a message (an edit) is no message
)
_journeys = _JOURNEYS.subquery()
_LOST = select(_journeys.c.id).where(_journeys.c.state == "lost").order_by(_journeys.c.id).limit(SHOWN)

VERDICTS = tuple(field.name for field in fields(Ledger) if field.name != "accepted")
"""The states a message is counted in."""


def in_verdict(verdict: str) -> Any:
    """A condition on `messages.id`: what the ledger counts as `verdict`."""
    return messages.c.id.in_(select(_journeys.c.id).where(_journeys.c.state == verdict))


def unsettled(connection: Connection, turn_ids: Sequence[str]) -> dict[str, str]:
    """Of these answered turns those whose messages do not count as answered, and what they count as."""
    if not turn_ids:
        return {}
    rows = connection.execute(_ANSWERS.where(deliveries.c.turn_id.in_(set(turn_ids))))
    return {row.turn_id: "dead" if row.dead else "in_flight" for row in rows if row.dead or row.live}


def ledger(connection: Connection) -> Ledger:
    """Count every message once."""
    counted: dict[str, dict[str, int]] = {"journeys": {}, "arrivals": {}, "said": {}}
    for of, state, count in connection.execute(_FIGURES):
        counted[of][state] = count
    found, waiting = counted["journeys"], counted["arrivals"]
    unread, parked = waiting.get("unread", 0), waiting.get("parked", 0)
    return Ledger(
        accepted=counted["said"][""] + unread + parked,
        answered=found.get("answered", 0),
        declined=found.get("declined", 0),
        parked=found.get("parked", 0) + parked,
        cancelled=found.get("cancelled", 0),
        dead=found.get("dead", 0),
        in_flight=found.get("in_flight", 0) + unread,
    )


# One statement: between two of them, PostgreSQL shows what was committed meanwhile, and the figures would not add up.
_FIGURES = union_all(
    select(literal("journeys"), _journeys.c.state, func.count()).group_by(_journeys.c.state),
    select(literal("arrivals"), arrivals.c.state, func.count())
    .where(arrivals.c.state.in_(("unread", "parked")))
    .group_by(arrivals.c.state),
    select(literal("said"), literal(""), func.count()).select_from(messages).where(messages.c.act == "say"),
)


def books(connection: Connection, *, stuck_before: datetime) -> Books:
    """The figures with every offender by name: what is lost, and what has not moved since `stuck_before`."""
    counts = ledger(connection)
    return Books(
        counts=counts,
        lost=() if counts.balanced else tuple(connection.execute(_LOST).scalars()),
        stuck=stuck(connection, before=stuck_before),
    )


def stuck(connection: Connection, *, before: datetime) -> Sequence[Stuck]:
    """Heads that began, or were due, before then and are not over; likewise deliveries.

    A pause has a limit of its own, and so has waiting for an agent that is away. What waits behind a head is not
    named: it moves on with its head.
    """
    both = union_all(
        select(_heads).where(_heads.c.since < before),
        select(_late).where(_late.c.since < before),
    ).subquery()
    query = select(both.c.conversation_id, both.c.id, both.c.state, both.c.since).order_by(both.c.since).limit(SHOWN)
    return [Stuck(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name for it


_other = turns.alias("other")
_ahead = (
    select(_other.c.id)
    .where(
        _other.c.conversation_id == turns.c.conversation_id,
        _other.c.seq < turns.c.seq,
        _other.c.state.in_(LIVE_TURN_STATES),
    )
    .exists()
)
# Since when: a running turn since its first call, a waiting one since it was due, or since the one before it ended.
_before_it = (
    select(func.max(_other.c.finished_at))
    .where(_other.c.conversation_id == turns.c.conversation_id, _other.c.seq < turns.c.seq)
    .scalar_subquery()
)
_waiting_since = func.coalesce(
    turns.c.not_before,
    case((_before_it > turns.c.created_at, _before_it), else_=turns.c.created_at),
    type_=turns.c.created_at.type,
)
_heads = (
    select(
        turns.c.conversation_id,
        turns.c.id,
        turns.c.state,
        case((turns.c.state == "running", func.coalesce(turns.c.started_at, turns.c.created_at)), else_=_waiting_since)
        .cast(turns.c.created_at.type)
        .label("since"),
    )
    .where(
        turns.c.state.in_(LIVE_TURN_STATES),
        or_(turns.c.state == "running", and_(turns.c.state == "queued", turns.c.agent.not_in(AWAY))),
        ~_ahead,
    )
    .subquery()
)
_late = (
    select(
        deliveries.c.conversation_id,
        deliveries.c.id,
        deliveries.c.state,
        func.coalesce(deliveries.c.not_before, deliveries.c.created_at, type_=deliveries.c.created_at.type).label(
            "since"
        ),
    )
    .where(deliveries.c.state.in_(LIVE_DELIVERY_STATES))
    .subquery()
)


def report(found: Books) -> dict[str, Any]:
    """The figures, the verdict and the offenders under their public names."""
    counts = {field.name: getattr(found.counts, field.name) for field in fields(found.counts)}
    return {**counts, "balanced": found.counts.balanced, "lost": found.lost, "stuck": found.stuck}
