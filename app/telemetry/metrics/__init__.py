"""The gateway's metrics: counted as things happen, or read when they are scraped."""

import platform
from collections.abc import Iterator
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.samples import Sample

from app import __version__
from app.errors import ConnectionShedReason, ShedReason
from app.telemetry import log
from app.telemetry.metrics.catalog import METRICS, caches, process, requests, workers
from app.telemetry.metrics.declaration import Declaration
from app.telemetry.metrics.exposition import exposition
from app.telemetry.metrics.gauges import Gauges, Read


class Metrics:
    """One gateway's metrics, in a registry of their own so that two gateways can live in one process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        # A `_created` series for every counter would double what a scrape costs, and nobody reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in the library
        self.registry = CollectorRegistry()
        self._gauges = Gauges()
        self.registry.register(self._gauges)
        counted = (one for one in METRICS if one.kind != "gauge" and not one.is_read)
        self._counted = {one: _counted(one, self.registry) for one in counted}
        ProcessCollector(registry=self.registry)
        # Looking a child up by its labels costs four times what counting costs.
        self._child = cache(self._bind)
        self._begin_at_zero()
        self._gauges.read(process.BUILD_INFO, lambda: 1, __version__, platform.python_version())
        self._gauges.read(process.LOG_LINES_DROPPED, log.dropped_lines)

    def request(self, route: str, dialect: str, status: int, seconds: float) -> None:
        """A request was answered; status 499 is a client that left before."""
        self._child(requests.REQUESTS, route, dialect, str(status)).inc()
        self._child(requests.REQUEST_DURATION, route).observe(seconds)

    def shed(self, reason: ShedReason) -> None:
        """A request was refused with 429."""
        self._child(requests.SHED, reason).inc()

    def connection_shed(self, reason: ConnectionShedReason) -> None:
        """A client's connection was closed against its will."""
        self._child(requests.CONNECTIONS_SHED, reason).inc()

    def documents(self, source: requests.Source, count: int) -> None:
        """`count` documents, which may be 0, got their scores from `source`."""
        if count:
            self._child(requests.DOCUMENTS, source).inc(count)

    def document_errors(self, count: int) -> None:
        """No worker would score `count` documents, which may be 0."""
        if count:
            self._child(requests.DOCUMENT_ERRORS).inc(count)

    def degraded(self, documents: int) -> None:
        """A request of so many documents was answered by the fallback."""
        self._child(requests.DEGRADED).inc()
        self.documents("fallback", documents)

    def queued(self, seconds: float) -> None:
        """A chunk got its slot after `seconds`."""
        self._child(requests.QUEUE_WAIT).observe(seconds)

    def attempt(self, worker: str, kind: workers.Kind, outcome: str, *, documents: int, seconds: float) -> None:
        """A call to a worker ended. `outcome`: ok, cancelled or that of a `WorkerError`."""
        self._child(workers.CHUNK_DOCUMENTS).observe(documents)
        if kind == "hedge":
            self._child(workers.HEDGES, "won" if outcome == "ok" else "lost").inc()
        # A call may outlive its worker, whose series must not come back.
        if self._gauges.watches(worker):
            self._child(workers.ATTEMPTS, worker, kind, outcome).inc()
            if outcome == "ok":
                self._child(workers.ATTEMPT_DURATION, worker).observe(seconds)

    def retry_denied(self) -> None:
        """A retry wasn't made, since the budget was empty."""
        self._child(workers.RETRIES_DENIED).inc()

    def probe(self, worker: str, outcome: str) -> None:
        """A probe ended. `outcome`: ok, model_changed or that of a `WorkerError`."""
        if self._gauges.watches(worker):
            self._child(workers.PROBES, worker, outcome).inc()

    def evicted(self, pairs: int) -> None:
        """`pairs`, which may be 0, left the cache of this process for others."""
        if pairs:
            self._child(caches.EVICTIONS).inc(pairs)

    def redis_call(self, operation: caches.Operation, seconds: float) -> None:
        """The shared cache was asked."""
        self._child(caches.REDIS_DURATION, operation).observe(seconds)

    def redis_failed(self, reason: caches.Failure) -> None:
        """The shared cache didn't do what it was asked."""
        self._child(caches.REDIS_FAILURES, reason).inc()

    def task_failed(self, task: process.Task) -> None:
        """A background task failed in a way nobody foresaw."""
        self._child(process.TASK_FAILURES, task).inc()

    def read(self, declared: Declaration, value: Read, *labels: str) -> None:
        """Read `value` at every scrape for the series with these labels."""
        self._gauges.read(declared, value, *labels)

    def begin_worker(self, name: str, *, owner: object) -> None:
        """Begin to count what a worker does; of one that wasn't begun nothing is shown."""
        self._gauges.begin_worker(name, owner=owner)

    def forget_worker(self, name: str, *, owner: object) -> None:
        """Show nothing more of a worker that left, unless another of its name has come meanwhile."""
        if not self._gauges.forget_worker(name, owner=owner):
            return
        for declared, metric in self._counted.items():
            if workers.WORKER in declared.labels:
                metric.remove_by_labels({workers.WORKER.name: name})
        self._child.cache_clear()

    def samples(self, declared: Declaration) -> Iterator[Sample]:
        """The series of a counter or histogram, with the values they have now."""
        return (sample for family in self._counted[declared].collect() for sample in family.samples)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return exposition(self.registry)

    def _bind(self, declared: Declaration, *labels: str) -> Any:
        metric = self._counted[declared]
        return metric.labels(*labels) if labels else metric

    def _begin_at_zero(self) -> None:
        """A series that begins with its first event at 1 has no increase that Prometheus could see."""
        for declared in self._counted:
            if declared.kind == "counter" and len(declared.labels) == 1:
                for value in declared.labels[0].values:
                    self._child(declared, value)


def _counted(declared: Declaration, registry: CollectorRegistry) -> Counter | Histogram:
    labels = [label.name for label in declared.labels]
    if declared.kind == "counter":
        return Counter(declared.name, declared.meaning, labels, registry=registry)
    return Histogram(declared.name, declared.meaning, labels, buckets=declared.buckets, registry=registry)
