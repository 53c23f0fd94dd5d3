"""The gauges: states of the gateway, read at every scrape, so that nobody has to keep them up to date.

So are counts that something else keeps.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app.errors import Misconfigured
from app.metrics.catalog import workers
from app.metrics.declaration import Declaration
from app.policy.breaker import State

if TYPE_CHECKING:
    from app.fleet.worker import Worker

Read = Callable[[], float]


class Gauges(Collector):
    """What is read at a scrape, by metric and label values."""

    def __init__(self) -> None:
        self._reads: defaultdict[Declaration, dict[tuple[str, ...], Read]] = defaultdict(dict)
        self._workers: dict[str, Worker] = {}

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
        return worker in self._workers

    def watch_worker(self, worker: "Worker") -> None:
        """Read the worker's state from now on."""
        name = worker.name
        self._workers[name] = worker
        self.read(workers.CALLS, lambda: worker.calls, name)
        self.read(workers.DOCUMENTS, lambda: worker.documents, name)
        self.read(workers.LIMIT, lambda: worker.limit.documents, name)
        self.read(workers.USABLE, lambda: worker.is_usable, name)
        self.read(workers.DRAINED, lambda: worker.is_drained, name)
        self.read(workers.MISCONFIGURED, lambda: isinstance(worker.trouble, Misconfigured), name)
        for state in State:
            self.read(workers.BREAKER, partial(_is_in, worker, state), name, state.value)

    def forget_worker(self, worker: "Worker") -> bool:
        """Read the worker's state no more; False when it isn't watched, or another one of its name is."""
        if self._workers.get(worker.name) is not worker:
            return False
        del self._workers[worker.name]
        for reads in self._reads.values():
            for labels in [labels for labels in reads if labels[:1] == (worker.name,)]:
                del reads[labels]
        return True


def _is_in(worker: "Worker", state: State) -> bool:
    return worker.breaker.state is state
