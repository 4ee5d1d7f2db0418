"""The numbers of several workers as one page of `/metrics` (docs/operations.md, "Numbers").

A scrape reaches whichever worker the kernel gives it to, so each page has to speak for all: counts are summed, of
seconds (ages, delays) the worst is told, and what the system says of a process keeps the worker as a label. A counter
must never go down, or Prometheus takes all of it for new; so what a worker had said when it ended stays in the sum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from server.cli.link import Family, Number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""


def families_of(registry: CollectorRegistry) -> list[Family]:
    """All that a registry holds, without the `_created` twins (telemetry.py)."""
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [
                Number(sample.name, dict(sample.labels), float(sample.value))
                for sample in metric.samples
                if math.isfinite(sample.value) and not sample.name.endswith("_created")
            ],
        )
        for metric in registry.collect()
    ]


class Sums:
    """What the workers have said, by their numbers, and what those said who are gone."""

    def __init__(self) -> None:
        self._said: dict[str, list[Family]] = {}
        self._gone: dict[str, _Sum] = {}

    def heard(self, worker: str, families: list[Family]) -> None:
        """Its newest numbers."""
        self._said[worker] = families

    def ended(self, worker: str) -> None:
        """It is gone: its counts stay, its gauges go."""
        for family in self._said.pop(worker, []):
            if family.kind != "gauge" and not _of_process(family):
                _sum_for(self._gone, family).add(family.numbers)

    def page(self) -> bytes:
        """In the Prometheus text format."""
        # The gone ones first: they are a start to go on from, not to be changed by being told.
        sums = {name: kept.copy() for name, kept in self._gone.items()}
        for worker, families in self._said.items():
            for family in families:
                numbers: Iterable[Number] = family.numbers
                if _of_process(family):
                    numbers = (Number(each.name, each.labels | {"worker": worker}, each.value) for each in numbers)
                _sum_for(sums, family).add(numbers)
        registry = CollectorRegistry()
        registry.register(_Collected([each.metric() for each in sums.values()]))
        return prometheus_client.generate_latest(registry)


class _Sum:
    """One metric over all workers."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._worst = family.kind == "gauge" and family.name.endswith("_seconds")
        self._values: dict[Key, float] = {}

    def copy(self) -> _Sum:
        copied = _Sum(self._family)
        copied._values = dict(self._values)
        return copied

    def add(self, numbers: Iterable[Number]) -> None:
        for number in numbers:
            key = (number.name, tuple(number.labels.items()))
            before = self._values.get(key)
            if before is None:
                self._values[key] = number.value
            else:
                self._values[key] = max(before, number.value) if self._worst else before + number.value

    def metric(self) -> Metric:
        metric = Metric(self._family.name, self._family.help, self._family.kind)
        for (name, labels), value in self._values.items():
            metric.add_sample(name, dict(labels), value)
        return metric


class _Collected(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def _of_process(family: Family) -> bool:
    return family.name.startswith("process_")


def _sum_for(sums: dict[str, _Sum], family: Family) -> _Sum:
    if family.name not in sums:
        sums[family.name] = _Sum(family)
    return sums[family.name]
