"""The gateway's metrics: counted as things happen, or read when they are scraped."""

import asyncio
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from app import __version__
from app.errors import ConnectionShedReason, ShedReason
from app.telemetry import log
from app.telemetry.metrics.catalog import METRICS, caches, process, requests, workers
from app.telemetry.metrics.declaration import Declaration

# Workers whose metrics are written while requests wait.
_MOST_AT_ONCE = 50


class Metrics:
    """The metrics of one gateway, in a registry of their own so that one process can have two gateways."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        # A `_created` series for every counter would double what a scrape costs, and nobody reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in the library
        self.registry = CollectorRegistry()
        self.worker_registry = CollectorRegistry()
        # Gauges appear when somebody says what to read: Redis has none where there is no Redis.
        counted = [one for one in METRICS if one.kind != "gauge" and one is not process.LOG_LINES_DROPPED]
        self._metrics = {one: self._metric(one) for one in counted}
        self._owners: dict[str, object] = {}
        # To be found when their worker leaves: the library would go through the series of all workers.
        self._worker_series: defaultdict[str, set[tuple[Any, tuple[str, ...]]]] = defaultdict(set)
        self.registry.register(_DroppedLines())
        ProcessCollector(registry=self.registry)
        # Children by their labels: the library's look-up costs four times as much as counting.
        self._child = cache(self._bind)
        self._begin_at_zero()
        self.read(process.BUILD_INFO, lambda: 1, __version__, platform.python_version())

    def request(self, route: str, dialect: str, status: int, seconds: float) -> None:
        """Count a request that was answered; status 499 is a client that left before."""
        self._child(requests.REQUESTS, route, dialect, str(status)).inc()
        self._child(requests.REQUEST_DURATION, route).observe(seconds)

    def shed(self, reason: ShedReason) -> None:
        """Count a request that was refused with 429."""
        self._child(requests.SHED, reason).inc()

    def connection_shed(self, reason: ConnectionShedReason) -> None:
        """Count a client connection that the gateway closed."""
        self._child(requests.CONNECTIONS_SHED, reason).inc()

    def documents(self, source: requests.Source, count: int) -> None:
        """Count documents, maybe none, that got their scores from `source`."""
        if count:
            self._child(requests.DOCUMENTS, source).inc(count)

    def asked_for(self, model: str, documents: int) -> None:
        """Count the documents of a request for a model of the settings, whatever becomes of it."""
        self._child(requests.MODEL_DOCUMENTS, model).inc(documents)

    def document_errors(self, count: int) -> None:
        """Count documents, maybe none, that no worker would score."""
        if count:
            self._child(requests.DOCUMENT_ERRORS).inc(count)

    def passages(self, scored: int, dropped: int) -> None:
        """Count passages, maybe none, that long documents were cut into, and those that weren't scored."""
        if scored:
            self._child(requests.PASSAGES).inc(scored)
            self._child(requests.PASSAGES_DROPPED).inc(dropped)

    def degraded(self, documents: int) -> None:
        """Count a request, with its documents, that the fallback answered."""
        self._child(requests.DEGRADED).inc()
        self.documents("fallback", documents)

    def queued(self, seconds: float) -> None:
        """Record the seconds a chunk waited for its slot."""
        self._child(requests.QUEUE_WAIT).observe(seconds)

    def attempt(self, worker: str, kind: workers.Kind, outcome: str, *, documents: int, seconds: float) -> None:
        """Record a call to a worker. `outcome`: ok, cancelled or that of a `WorkerError`."""
        self._child(workers.CHUNK_DOCUMENTS).observe(documents)
        if kind == "hedge":
            self._child(workers.HEDGES, "won" if outcome == "ok" else "lost").inc()
        # A call may outlive its worker, whose series must not come back.
        if worker in self._owners:
            self._child(workers.ATTEMPTS, worker, kind, outcome).inc()
            if outcome == "ok":
                self._child(workers.ATTEMPT_DURATION, worker).observe(seconds)

    def retry_denied(self) -> None:
        """Count a retry that wasn't made because the budget was empty."""
        self._child(workers.RETRIES_DENIED).inc()

    def probe(self, worker: str, outcome: str) -> None:
        """Count a probe. `outcome`: ok, model_changed or that of a `WorkerError`."""
        if worker in self._owners:
            self._child(workers.PROBES, worker, outcome).inc()

    def evicted(self, pairs: int) -> None:
        """Count pairs, maybe none, that left the cache of this process to make room."""
        if pairs:
            self._child(caches.EVICTIONS).inc(pairs)

    def redis_call(self, operation: caches.Operation, seconds: float) -> None:
        """Record the seconds of a call to Redis."""
        self._child(caches.REDIS_DURATION, operation).observe(seconds)

    def redis_failed(self, reason: caches.Failure) -> None:
        """Count a call that Redis didn't do."""
        self._child(caches.REDIS_FAILURES, reason).inc()

    def task_failed(self, task: process.Task) -> None:
        """Count a failure of a background task that nobody foresaw."""
        self._child(process.TASK_FAILURES, task).inc()

    def declare(self, declared: Declaration) -> None:
        """Show a gauge that has no series yet."""
        if declared not in self._metrics:
            self._metrics[declared] = self._metric(declared)

    def read(self, declared: Declaration, value: Callable[[], float], *labels: str) -> None:
        """Read `value` at every scrape for the series of a gauge with these labels, so that nobody has to keep it.

        A worker's are read by a thread, so their `value` may look at attributes, but go through no collection.
        """
        self.declare(declared)
        self._child(declared, *labels).set_function(value)

    def begin_worker(self, name: str, *, owner: object) -> None:
        """Start the series of a worker, which has none before; `owner` tells it from a later one of the same name."""
        self._owners[name] = owner

    def forget_worker(self, name: str, *, owner: object) -> None:
        """Remove the series of a worker that left, unless a new one has its name by now."""
        if self._owners.get(name) is not owner:
            return
        del self._owners[name]
        for metric, labels in self._worker_series.pop(name, ()):
            metric.remove(*labels)
        self._child.cache_clear()

    def samples(self, declared: Declaration) -> Iterator[Sample]:
        """The series of a counter or histogram, with the values they have now."""
        return (sample for family in self._metrics[declared].collect() for sample in family.samples)

    async def render(self) -> bytes:
        """All metrics in Prometheus's text format.

        Requests wait meanwhile: 8 ms with 50 workers, which have 1,200 series. A writer of our own saved 4 of them,
        which at a scrape every 15 s is 0.03 % of a core: too little to keep one. Those of more workers, which take
        0.14 s for 1,000, a thread writes.
        """
        if len(self._owners) <= _MOST_AT_ONCE:
            return self.render_at_once()
        of_workers = asyncio.to_thread(generate_latest, self.worker_registry)
        return generate_latest(self.registry) + await of_workers

    def render_at_once(self) -> bytes:
        """The same, while everything else waits."""
        return generate_latest(self.registry) + generate_latest(self.worker_registry)

    def _metric(self, declared: Declaration) -> Counter | Gauge | Histogram:
        registry = self.worker_registry if _is_of_worker(declared) else self.registry
        labels = [label.name for label in declared.labels]
        if declared.kind == "histogram":
            return Histogram(declared.name, declared.meaning, labels, buckets=declared.buckets, registry=registry)
        kind = Counter if declared.kind == "counter" else Gauge
        return kind(declared.name, declared.meaning, labels, registry=registry)

    def _bind(self, declared: Declaration, *labels: str) -> Any:
        metric = self._metrics[declared]
        if _is_of_worker(declared):
            self._worker_series[labels[0]].add((metric, labels))
        return metric.labels(*labels) if labels else metric

    def _begin_at_zero(self) -> None:
        """Start all series at 0: Prometheus sees no increase in one that appears with its first event at 1."""
        for declared in self._metrics:
            if declared.kind == "counter" and len(declared.labels) == 1:
                for value in declared.labels[0].values:
                    self._child(declared, value)


class _DroppedLines(Collector):
    """The lines that the log, which is older than any metrics, had to discard."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        declared = process.LOG_LINES_DROPPED
        yield CounterMetricFamily(declared.name, declared.meaning, value=log.dropped_lines())


def _is_of_worker(declared: Declaration) -> bool:
    return declared.labels[:1] == (workers.WORKER,)
