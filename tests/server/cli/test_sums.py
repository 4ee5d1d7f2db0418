"""One page of numbers for several workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from server.cli.link import Numbers, for_supervisor, line_of
from server.cli.sums import Sums, families_of
from server.telemetry import Metrics

if TYPE_CHECKING:
    from server.cli.link import Family


class Worker:
    """One's numbers."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.sent = Counter("sent", "Sent.", ["door"], registry=registry)
        self.sockets = Gauge("sockets", "Open.", registry=registry)
        self.late = Gauge("late_seconds", "How late.", registry=registry)
        self.took = Histogram("took_seconds", "How long.", buckets=(1, 10), registry=registry)

    def says(self) -> list[Family]:
        return families_of(self.registry)


def read(sums: Sums) -> dict[str, float]:
    """As Prometheus reads the page."""
    read = {}
    for family in text_string_to_metric_families(sums.page().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}"
            assert key not in read, f"{key} is there twice"
            read[key] = sample.value
    return read


def test_counts_add_up_and_of_seconds_the_worst_is_told() -> None:
    one, two, sums = Worker(), Worker(), Sums()
    one.sent.labels("chat").inc(3)
    one.sockets.set(5)
    one.late.set(0.5)
    one.took.observe(0.1)
    one.took.observe(20)
    two.sent.labels("desk").inc(1)
    two.sent.labels("chat").inc(4)
    two.sockets.set(7)
    two.late.set(0.25)
    two.took.observe(5)
    for name, worker in (("1", one), ("2", two)):
        sums.heard(name, worker.says())
    page = read(sums)
    assert page["sent_total{door=chat}"] == 7
    assert page["sent_total{door=desk}"] == 1
    assert page["sockets{}"] == 12
    assert page["late_seconds{}"] == 0.5
    assert [page[f"took_seconds_bucket{{le={le}}}"] for le in ("1.0", "10.0", "+Inf")] == [1, 2, 3]
    assert page["took_seconds_count{}"] == 3
    assert page["took_seconds_sum{}"] == 25.1
    assert not [name for name in page if "_created" in name]


def test_newer_numbers_take_the_place_of_older_ones() -> None:
    worker, sums = Worker(), Sums()
    for _ in range(3):
        worker.sent.labels("chat").inc()
        sums.heard("1", worker.says())
    assert read(sums)["sent_total{door=chat}"] == 3


def test_a_counter_never_goes_down_when_a_worker_begins_anew() -> None:
    sums, other = Sums(), Worker()
    other.sent.labels("chat").inc(10)
    sums.heard("2", other.says())
    page = read(sums)
    for life in range(1, 4):
        worker = Worker()
        sums.heard("1", worker.says())
        worker.sent.labels("chat").inc(5)
        worker.sockets.set(2)
        worker.took.observe(0.1)
        sums.heard("1", worker.says())
        before = read(sums)
        assert before["sockets{}"] == 2
        assert before["sent_total{door=chat}"] == 10 + 5 * life
        sums.ended("1")
        page = read(sums)
        assert page["sent_total{door=chat}"] == 10 + 5 * life
        assert page["took_seconds_count{}"] == life
        assert page["sockets{}"] == 0, "what is open now is not kept"
    sums.ended("1")  # of whom nothing was heard since
    assert read(sums) == page


def test_what_the_system_says_of_a_process_is_told_of_each() -> None:
    sums = Sums()
    for name in ("1", "2"):
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        sums.heard(name, families_of(registry))
    sums.ended("2")
    page = read(sums)
    assert page["process_resident_memory_bytes{worker=1}"] > 1_000_000
    assert "process_cpu_seconds_total{worker=2}" not in page
    assert "process_cpu_seconds_total{}" not in page


def test_the_numbers_of_a_server_survive_the_way_to_the_supervisor() -> None:
    metrics, sums = Metrics(), Sums()
    metrics.connections.labels("chat").set(3)
    metrics.outbox_oldest.set(1.5)
    line = line_of(Numbers(families_of(metrics.registry)))
    assert line.count(b"\n") == 1
    said = for_supervisor().decode(line)
    assert isinstance(said, Numbers)
    sums.heard("1", said.families)
    sums.heard("2", said.families)
    page = read(sums)
    assert page["deskbell_connections{door=chat}"] == 6
    assert page["deskbell_outbox_oldest_seconds{}"] == 1.5
    alone = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    assert {name.partition("{")[0] for name in page} == alone
