import pytest

from bridge.metrics import ARRIVALS, METRICS, OLDEST_SECONDS, TURN_SECONDS, Metrics


def test_what_is_counted_is_shown() -> None:
    metrics = Metrics()
    metrics.count(ARRIVALS, "orders", "stored")
    metrics.count(ARRIVALS, "orders", "stored", by=2)
    metrics.observe(TURN_SECONDS, 0.3, "support")
    metrics.show(OLDEST_SECONDS, 7)
    body, media_type = metrics.exposition()
    text = body.decode()
    assert media_type.startswith("text/plain")
    assert 'bridge_arrivals_total{outcome="stored",source="orders"} 3.0' in text
    assert 'bridge_turn_seconds_bucket{agent="support",le="0.5"} 1.0' in text
    assert "bridge_oldest_turn_seconds 7.0" in text


def test_two_bridges_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.count(ARRIVALS, "orders", "stored")
    assert b'source="orders"' not in other.exposition()[0]


def test_a_metric_is_used_as_what_it_is() -> None:
    metrics = Metrics()
    with pytest.raises(AssertionError):
        metrics.count(TURN_SECONDS, "support")
    with pytest.raises(ValueError, match="label"):
        metrics.count(ARRIVALS, "orders")


def test_every_name_says_whose_and_what_it_is() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("bridge_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.endswith("_seconds") or metric.kind != "histogram"
