"""Gauges, which are read at every scrape so that nobody has to keep them up to date.

Counters that are kept elsewhere are read the same way.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app.telemetry.metrics.declaration import Declaration

Read = Callable[[], float]


class Gauges(Collector):
    """The collector of values that are read at a scrape, by metric and label values."""

    def __init__(self) -> None:
        self._reads: defaultdict[Declaration, dict[tuple[str, ...], Read]] = defaultdict(dict)
        self._owners: dict[str, object] = {}

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """All gauges with the values they have now."""
        for declared, reads in self._reads.items():
            family_of = GaugeMetricFamily if declared.kind == "gauge" else CounterMetricFamily
            family = family_of(declared.name, declared.meaning, labels=[label.name for label in declared.labels])
            for labels, read in reads.items():
                family.add_metric(labels, read())
            yield family

    def read(self, declared: Declaration, value: Read, *labels: str) -> None:
        """Read `value` at every scrape for the series with these labels."""
        self._reads[declared][labels] = value

    def watches(self, worker: str) -> bool:
        """True if a worker of this name has series."""
        return worker in self._owners

    def begin_worker(self, name: str, *, owner: object) -> None:
        """Start the series of a worker; `owner` tells it from a later worker of the same name."""
        self._owners[name] = owner

    def forget_worker(self, name: str, *, owner: object) -> bool:
        """Remove a worker's gauges. Returns False when it has none, or they belong to another worker of its name."""
        if self._owners.get(name) is not owner:
            return False
        del self._owners[name]
        for reads in self._reads.values():
            for labels in [labels for labels in reads if labels[:1] == (name,)]:
                del reads[labels]
        return True
