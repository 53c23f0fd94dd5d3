"""The gauges: states of the gateway, read at every scrape, so that nobody has to keep them up to date.

So are counts that something else keeps.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app.telemetry.metrics.declaration import Declaration

Read = Callable[[], float]


class Gauges(Collector):
    """What is read at a scrape, by metric and label values."""

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
        """Whether a worker of this name is watched."""
        return worker in self._owners

    def begin_worker(self, name: str, *, owner: object) -> None:
        """Count what a worker of this name does from now on; `owner` tells it from a later one of its name."""
        self._owners[name] = owner

    def forget_worker(self, name: str, *, owner: object) -> bool:
        """Read the worker's state no more; False when it isn't watched, or another one of its name is."""
        if self._owners.get(name) is not owner:
            return False
        del self._owners[name]
        for reads in self._reads.values():
            for labels in [labels for labels in reads if labels[:1] == (name,)]:
                del reads[labels]
        return True
