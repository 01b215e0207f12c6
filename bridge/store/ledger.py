"""The conservation check: what became of every accepted message, counted from the rows."""

from dataclasses import dataclass, fields

from sqlalchemy import Connection, case, func, literal, select

from bridge.store.tables import arrivals, deliveries, messages, turns


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


_owed = (
    select(
        deliveries.c.turn_id,
        func.max(case((deliveries.c.state == "dead", 1), else_=0)).label("dead"),
        func.max(case((deliveries.c.state.in_(("pending", "sending", "unknown")), 1), else_=0)).label("live"),
    )
    .where(deliveries.c.kind == "answer")
    .group_by(deliveries.c.turn_id)
    .subquery()
)

# Every state is named; what fits none of them (a turn without a row, say) is counted nowhere.
_state = case(
    (messages.c.admission.like("declined:%"), "declined"),
    (messages.c.admission.like("parked:%"), "parked"),
    (turns.c.state == "cancelled", "cancelled"),
    (turns.c.state == "dead", "dead"),
    (turns.c.state.in_(("queued", "running", "paused")), "in_flight"),
    ((turns.c.state == "answered") & (func.coalesce(_owed.c.dead, 0) == 1), "dead"),
    ((turns.c.state == "answered") & (func.coalesce(_owed.c.live, 0) == 1), "in_flight"),
    (turns.c.state == "answered", "answered"),
    else_=literal("lost"),
).label("state")

_COUNTS = (
    select(_state, func.count())
    .select_from(messages)
    .outerjoin(turns, turns.c.id == messages.c.turn_id)
    .outerjoin(_owed, _owed.c.turn_id == messages.c.turn_id)
    .group_by(_state)
)


def ledger(connection: Connection) -> Ledger:
    """Count every message once. One read transaction, so the figures belong together."""
    found = {row[0]: row[1] for row in connection.execute(_COUNTS)}
    unread = connection.execute(
        select(func.count()).select_from(arrivals).where(arrivals.c.state == "unread")
    ).scalar_one()
    parked = connection.execute(
        select(func.count()).select_from(arrivals).where(arrivals.c.state == "parked")
    ).scalar_one()
    total = connection.execute(select(func.count()).select_from(messages)).scalar_one()
    return Ledger(
        accepted=total + unread + parked,
        answered=found.get("answered", 0),
        declined=found.get("declined", 0),
        parked=found.get("parked", 0) + parked,
        cancelled=found.get("cancelled", 0),
        dead=found.get("dead", 0),
        in_flight=found.get("in_flight", 0) + unread,
    )


def report(counts: Ledger) -> dict[str, int | bool]:
    """The figures and the verdict under their public names."""
    return {**{field.name: getattr(counts, field.name) for field in fields(counts)}, "balanced": counts.balanced}
