"""What is counted, as data, and the counting: a dictionary look-up and an addition."""

from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One family of numbers. Label values come from the configuration or from a fixed set, never from outside."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    what: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SLOW


ARRIVALS: Final = Metric(
    name="bridge_arrivals_total",
    kind="counter",
    what="Arrivals: stored, duplicate, unavailable, or the status they were refused with.",
    labels=("source", "outcome"),
)
UNVERIFIED: Final = Metric(
    name="bridge_unverified_total",
    kind="counter",
    what="Arrivals whose signature did not hold: header, encoding, mismatch, stale, body.",
    labels=("source", "reason"),
)
ACKNOWLEDGED: Final = Metric(
    name="bridge_ack_seconds",
    kind="histogram",
    what="From the arrival of a request to its answer, the commit included.",
    labels=("source",),
    buckets=FAST,
)
MESSAGES: Final = Metric(
    name="bridge_messages_total",
    kind="counter",
    what="Messages by admission: admitted, declined, parked.",
    labels=("source", "admission"),
)
TURNS: Final = Metric(
    name="bridge_turns_total",
    kind="counter",
    what="Turns by the state they ended in; stopped: as a person wished, to end or to begin anew.",
    labels=("agent", "state"),
)
TURN_SECONDS: Final = Metric(
    name="bridge_turn_seconds",
    kind="histogram",
    what="From a turn's place in line to its end.",
    labels=("agent",),
)
DELIVERIES: Final = Metric(
    name="bridge_deliveries_total",
    kind="counter",
    what="Tries of deliveries by the state they led to.",
    labels=("source", "kind", "state"),
)
DELIVERY_SECONDS: Final = Metric(
    name="bridge_delivery_seconds",
    kind="histogram",
    what="One call to a platform.",
    labels=("source",),
    buckets=(*FAST, 5.0, 10.0, 30.0),
)
AGENT_ERRORS: Final = Metric(
    name="bridge_agent_errors_total",
    kind="counter",
    what="Calls to agents that brought no result: unreachable, interrupted, busy, refused.",
    labels=("agent", "kind"),
)
LEDGER: Final = Metric(
    name="bridge_ledger_messages",
    kind="gauge",
    what="What became of every message, in the whole installation; accepted is counted on its own.",
    labels=("state",),
)
BALANCED: Final = Metric(
    name="bridge_ledger_balanced", kind="gauge", what="1 if every accepted message is accounted for, else 0."
)
STUCK: Final = Metric(
    name="bridge_stuck",
    kind="gauge",
    what="Heads of conversations and deliveries that have not moved for limits.stuck.",
)
LANES: Final = Metric(
    name="bridge_lanes",
    kind="gauge",
    what="Conversations this node is at work on, or holds for an agent that is away (standby).",
    labels=("stage",),
)
WRITES_WAITING: Final = Metric(
    name="bridge_writes_waiting", kind="gauge", what="Writes of this node that wait for a commit.", labels=("lane",)
)
OPEN_TURNS: Final = Metric(
    name="bridge_turns_open",
    kind="gauge",
    what="Turns not ended yet, by state, in the whole installation.",
    labels=("state",),
)
DESTINATIONS: Final = Metric(
    name="bridge_destinations",
    kind="gauge",
    what="Callback targets that fail, or are not called any more, in the whole installation.",
    labels=("state",),
)
OPEN_DELIVERIES: Final = Metric(
    name="bridge_deliveries_open",
    kind="gauge",
    what="Deliveries not ended yet, by state, in the whole installation.",
    labels=("state",),
)
OLDEST_SECONDS: Final = Metric(
    name="bridge_oldest_turn_seconds", kind="gauge", what="The age of the oldest turn that has not ended."
)

METRICS: Final = (
    ARRIVALS,
    UNVERIFIED,
    ACKNOWLEDGED,
    MESSAGES,
    TURNS,
    TURN_SECONDS,
    DELIVERIES,
    DELIVERY_SECONDS,
    AGENT_ERRORS,
    LEDGER,
    BALANCED,
    STUCK,
    LANES,
    WRITES_WAITING,
    OPEN_TURNS,
    OPEN_DELIVERIES,
    DESTINATIONS,
    OLDEST_SECONDS,
)

_Child = Counter | Gauge | Histogram


class Metrics:
    """The numbers of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._families = {metric.name: self._family(metric) for metric in METRICS}
        self._children: dict[tuple[str, tuple[str, ...]], _Child] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter. Labels are values in the order of the metric's names."""
        child = self._child(metric, labels)
        assert isinstance(child, Counter), f"{metric.name} is no counter"
        child.inc(by)

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Put one measured time into a histogram."""
        child = self._child(metric, labels)
        assert isinstance(child, Histogram), f"{metric.name} is no histogram"
        child.observe(seconds)

    def show(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        child = self._child(metric, labels)
        assert isinstance(child, Gauge), f"{metric.name} is no gauge"
        child.set(value)

    def exposition(self) -> tuple[bytes, str]:
        """The body of `/metrics` and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _family(self, metric: Metric) -> _Child:
        if metric.kind == "histogram":
            return Histogram(metric.name, metric.what, metric.labels, buckets=metric.buckets, registry=self._registry)
        kind = Counter if metric.kind == "counter" else Gauge
        return kind(metric.name, metric.what, metric.labels, registry=self._registry)

    def _child(self, metric: Metric, labels: tuple[str, ...]) -> _Child:
        child = self._children.get((metric.name, labels))
        if child is None:
            family = self._families[metric.name]
            child = family if not metric.labels and not labels else family.labels(*labels)
            self._children[metric.name, labels] = child
        return child
