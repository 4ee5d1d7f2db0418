"""What `/metrics` says about the bus between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class BusNumbers:
    """Counts of one bus, on the registry of its process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.published = Counter("deskbell_bus_hints_published", "Hints that Redis took.", registry=registry)
        self.received = Counter("deskbell_bus_hints_received", "Hints of other nodes.", registry=registry)
        dropped = Counter(
            "deskbell_bus_hints_dropped",
            "Hints given up; the sweep makes up for them. full: more than the queue holds; late: waited too long; "
            "lost: Redis went away or refused; unreadable: of another version, or damaged.",
            ["why"],
            registry=registry,
        )
        self.full = dropped.labels("full")
        self.late = dropped.labels("late")
        self.lost = dropped.labels("lost")
        self.unreadable = dropped.labels("unreadable")
        self.connections = Counter("deskbell_bus_connections", "Subscriber connections made.", registry=registry)
        self.missed_probes = Counter("deskbell_bus_probes_missed", "Probes that did not come back.", registry=registry)
        self.probe_seconds = Gauge("deskbell_bus_probe_seconds", "How long the last probe took.", registry=registry)
