"""Each service counts for itself, and remembers which trace it saw."""

from clusterkit.telemetry.metrics import Metrics, exemplar
from clusterkit.telemetry.tracing import Trace, use_trace


def test_services_in_one_process_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.counter("orders", "Orders.").inc()
    assert one.value("orders_total") == 1
    assert other.value("orders_total") == 0
    other.counter("orders", "Orders, again.").inc(5)
    assert one.value("orders_total") == 1


def test_labels_tell_samples_apart() -> None:
    metrics = Metrics()
    gauge = metrics.gauge("ovens", "Ovens.", ("state",))
    gauge.labels("hot").set(3)
    assert metrics.value("ovens", {"state": "hot"}) == 3
    assert metrics.value("ovens", {"state": "cold"}) == 0


async def test_an_exemplar_names_the_trace_if_there_is_one() -> None:
    assert exemplar() is None
    use_trace(Trace("ab" * 16, "cd" * 8))
    assert exemplar() == {"trace_id": "ab" * 16}


def test_the_process_is_measured_too() -> None:
    assert Metrics().value("process_resident_memory_bytes") > 1e6
